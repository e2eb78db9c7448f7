"""Corrupts saved Core ML packages and looks whether the check notices: python -m tools.mutate_packages [--mutants N]

Each golden model is converted, its package corrupted in one place at a time, and each corrupted package judged as `graphrewrite
verify` does. One that passes must have the outputs of the sound package: by coremltools, not by the evaluator on trial.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import graphrewrite
from graphrewrite.errors import GraphRewriteError, InternalError
from graphrewrite.numeric.inputs import Sample, make_samples
from graphrewrite.numeric.metrics import FP32, Tolerance, compare
from graphrewrite.numeric.noise import NoisePlan
from graphrewrite.pipeline import Stage, build, run_pipeline
from graphrewrite.sources.opening import Opening
from graphrewrite.targets.base import target_of
from graphrewrite.targets.coreml.evaluate import Evaluator
from tools.package_mutants import Package
from tools.second_opinion import NoOpinion, SecondOpinion

MODELS = Path(__file__).resolve().parent.parent / "tests" / "golden" / "models"
PACKAGES = (
    "attention_eager.ts17",
    "bert.ts17",
    "centernet.ts17",
    "convnext.ts17",
    "crnn.ts17",
    "deeplab.ts17",
    "espcn.ts17",
    "gpt.ts17",
    "gru_states.ts17",
    "instance_norm.ts17",
    "mobilenet_v3.ts17",
    "mobilestylegan_mapping.ts17",
    "rms_norm.ts17",
    "rotary_block.ts17",
    "separator.ts17",
    "shufflenet_v2.ts17",
    "ssd.ts17",
    "stylegan2_constant_style.ts17",
    "text_lstm.ts17",
    "unet3d.ts17",
    "unet_bilinear.ts17",
    "unet_transposed.ts17",
    "upfirdn2d_moved_crop.ts17",
    "video.ts17",
)
DIFFER, REFUSED, EQUAL, MISSED = "outputs differ", "refused", "same outputs", "MISSED"
UNSEEN = "not seen"
"""The outputs are the same on the samples of the check, and not on others: weights that only some inputs look up."""
VERDICTS = (DIFFER, REFUSED, EQUAL, UNSEEN, MISSED)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One corrupted package. `verdict` is one of VERDICTS; `reason` says more where the check passed or refused."""

    package: str
    kind: str
    where: str
    change: str
    verdict: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.package}: {self.kind}, {self.where}: {self.change}: {self.verdict} {self.reason}"


class Trial:
    """One golden model as a package, and the check of corrupted copies of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.path = folder / f"{name}.mlpackage"
        source = MODELS / f"{name}.onnx"
        graphrewrite.run(source, target="coreml", output=self.path, precision="fp32", check=False)
        self.original, self.model = Opening.of().begin(source)
        run_pipeline(self.model, [item for item in build("none", "tflite") if item.stage == Stage.IMPORT])
        self.original.draw(self.model, None, 0)
        if not self.passes(self.path):
            raise AssertionError(f"{name}: the sound package fails its check")
        self._others = make_samples(self.model.graph, _OTHERS, seed=1)
        self._second = SecondOpinion(self.path)
        self._inputs = Evaluator(self.path).inputs
        self._sound: dict[int, dict[str, Any]] = {}

    def passes(self, path: Path) -> bool:
        """What `graphrewrite verify` says."""
        runners = target_of(path).runners(path)
        return self.original.compare(self.model, NoisePlan((), {}, {}, {}), runners).passed

    def judge(self, path: Path) -> tuple[str, str]:
        """The verdict on a package, and the reason."""
        try:
            if not self.passes(path):
                return DIFFER, ""
        except InternalError as error:
            return MISSED, f"internal error: {error}"
        except GraphRewriteError as error:
            return REFUSED, str(error).splitlines()[0]
        for samples, verdict in ((self.original.samples, MISSED), (self._others, UNSEEN)):
            reason = self._difference(path, samples)
            if reason:
                return verdict, reason
        return EQUAL, ""

    def _difference(self, path: Path, samples: Sequence[Sample]) -> str:
        """In which way the second opinion on the package is another than that on the sound one; empty where it is none."""
        try:
            opinion = SecondOpinion(path)
            for sample in samples:
                wanted, found = self._sound_opinion(sample), opinion(self._feeds(sample))
                if list(found) != list(wanted):
                    return f"the outputs are {list(found)}"
                for name, array in wanted.items():
                    compared = compare(name, array, found[name].astype(array.dtype), _NEAR)
                    if not compared.passed:
                        return f"'{name}': {compared.problem}"
        except NoOpinion as error:
            return f"no second opinion: {error}"
        return ""

    def _sound_opinion(self, sample: Sample) -> dict[str, Any]:
        """Which must be the original's answer, or it counts for nothing."""
        if id(sample) in self._sound:
            return self._sound[id(sample)]
        found = self._second(self._feeds(sample))
        reference = self.original.open()
        wanted = reference.run({name: sample[name] for name in reference.inputs})
        for (name, array), own in zip(wanted.items(), found.values()):  # more of them are arg-max scores
            compared = compare(name, array, own.astype(array.dtype).reshape(array.shape), FP32)
            if not compared.passed:
                raise AssertionError(
                    f"{self.name}: the second opinion on the sound package: {compared.problem}"
                )
        return self._sound.setdefault(id(sample), found)

    def _feeds(self, sample: Sample) -> dict[str, Any]:
        return {item.name: item.to_file(sample[item.source]) for item in self._inputs}


_NEAR = Tolerance("second opinion", sqnr=FP32.sqnr - 6.0, max_abs=2 * FP32.max_abs)
"""Twice the error that the check allows: the mutant's own, and that of the sound package against the original."""

_OTHERS = 9
"""Samples beside those of the check."""


def shuffled(package: Package, rng: np.random.Generator) -> list[int]:
    """Its places, each kind in its turn, and within a kind each op in its turn."""
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, site in enumerate(package.sites()):
        groups[site.kind][site.where.split(" ")[0]].append(index)
    queues = [
        _in_turn([list(rng.permutation(items)) for items in ops.values()], rng) for ops in groups.values()
    ]
    return [int(index) for index in _in_turn(queues, rng)]


def _in_turn(queues: list[list[Any]], rng: np.random.Generator) -> list[Any]:
    order = [queues[index] for index in rng.permutation(len(queues))]
    longest = max(map(len, order))
    return [queue[turn] for turn in range(longest) for queue in order if turn < len(queue)]


def mutants(name: str, count: int, seed: int = 0) -> Iterator[Mutant]:
    """Convert a golden model and judge `count` corrupted copies of its package."""
    rng = np.random.default_rng([seed, *name.encode()])
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(name, Path(folder))
        made = 0
        for index in shuffled(Package(trial.path), rng):
            package = Package(trial.path)
            site = list(package.sites())[index]
            change = site.change(rng)
            path = Path(folder, f"{made}.mlpackage")
            if package.changed:
                package.save(path)
                made += 1
                yield Mutant(name, site.kind, site.where, change, *trial.judge(path))
                shutil.rmtree(path)
            if made == count:
                return


def table(found: list[Mutant]) -> str:
    """Markdown: a row a kind, a column a verdict."""
    counts = Counter((item.kind, item.verdict) for item in found)
    kinds = sorted({item.kind for item in found})
    rows = [[kind, *(counts[kind, verdict] for verdict in VERDICTS)] for kind in kinds]
    rows.append(["all", *(sum(counts[kind, verdict] for kind in kinds) for verdict in VERDICTS)])
    lines = [
        "| corrupted | mutants | " + " | ".join(VERDICTS) + " |",
        "| --- |" + " --: |" * (1 + len(VERDICTS)),
    ]
    lines += [f"| {row[0]} | {sum(row[1:])} | " + " | ".join(map(str, row[1:])) + " |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    """Print each mutant that passed the check, and the table; 1 where one was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=12, help="of each package (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="packages whose name holds this")
    parser.add_argument("--verbose", action="store_true", help="print every mutant")
    arguments = parser.parse_args()
    found: list[Mutant] = []
    for name in PACKAGES:
        if arguments.only not in name:
            continue
        for item in mutants(name, arguments.mutants, arguments.seed):
            found.append(item)
            if arguments.verbose or item.verdict not in (DIFFER, REFUSED):
                print(item, flush=True)
    print(table(found))
    print(f"{len(found)} mutants of {len({item.package for item in found})} packages, seed {arguments.seed}")
    return int(any(item.verdict == MISSED for item in found))


if __name__ == "__main__":
    raise SystemExit(main())
