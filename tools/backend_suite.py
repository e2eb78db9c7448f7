"""Run the ONNX conformance suite through a target and print the table by operator.

    python tools/backend_suite.py [--target NAME] [--op Conv ...] [--case NAME ...] [--mode shipped|constants] [--list] [--update]

`--list` prints every case that is not right; `--update` rewrites the target's reviewed outcomes in tests/backend/outcomes/, and
its section of docs/conformance.md from them.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def _load(name: str) -> ModuleType:
    path = ROOT / "tests" / "backend" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"backend_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DOCS = ROOT / "docs" / "conformance.md"
HEAD = """# Conformance

The ONNX project's own suite against each target: cases that are right, by operator (the first of each case). `shipped` has all
inputs at run time, `constants` every input but the first as an initializer. The reason of each case that is not right stands in
`tests/backend/outcomes/`. Made by `python tools/backend_suite.py --target NAME --update`.
How operators get on together is asked of random graphs of many of them: `tests/property/test_random_graphs.py`.
"""


Ended = Mapping[str, Mapping[str, tuple[str, str]]]
"""{case: {mode: (kind, why)}}."""


def _tables(
    ended: Ended, operators: Mapping[str, str], modes: Sequence[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """One line a mode, and the cells right/all of each operator, of the cases that are in `operators`."""
    table: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {mode: Counter() for mode in modes})
    for name, operator in operators.items():
        for mode, (kind, _) in ended.get(name, {}).items():
            table[operator][mode][kind] += 1
    lines = []
    for mode in modes:
        total = sum((counts[mode] for counts in table.values()), Counter[str]())
        count = sum(total.values())
        lines.append(
            f"{mode}: {count} cases, right {total['right'] / max(count, 1):.1%}; {dict(sorted(total.items()))}"
        )
    cells = {
        operator: [
            f"{table[operator][mode]['right']}/{sum(table[operator][mode].values())}" for mode in modes
        ]
        for operator in sorted(table)
    }
    return lines, cells


def _write_docs(
    targets: Iterable[str], target: str, cells: Mapping[str, Sequence[str]], summary: Sequence[str]
) -> None:
    """Put the table into the section of `target`; the others keep theirs."""
    kept: dict[str, str] = {}
    for part in DOCS.read_text().split("\n## ")[1:] if DOCS.exists() else ():
        title, _, body = part.partition("\n")
        kept[title] = body.strip()
    lines = ["| operator | shipped | constants |", "| --- | --: | --: |"]
    lines += [f"| {op} | {' | '.join(row)} |" for op, row in cells.items()]
    kept[target] = "\n".join([*(f"- {line}" for line in summary), "", *lines])
    sections = [f"## {name}\n\n{kept[name]}\n" for name in targets if name in kept]
    DOCS.write_text("\n".join([HEAD, *sections]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    outcomes = _load("outcomes")
    parser.add_argument("--target", choices=list(outcomes.SHARES), default="tflite")
    parser.add_argument("--op", nargs="*", default=[], help="only cases that hold one of these operators")
    parser.add_argument("--case", nargs="*", default=[], help="only cases whose name contains one of these")
    parser.add_argument("--mode", choices=("shipped", "constants"), help="one mode only")
    parser.add_argument("--list", action="store_true", help="print every case that is not right")
    parser.add_argument("--update", action="store_true", help="rewrite the reviewed outcomes")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    suite = _load("suite")
    cases = [
        case
        for name, case in sorted(suite.eligible().items())
        if (not options.op or {node.op_type for node in case.model.graph.node} & set(options.op))
        and (not options.case or any(part in name for part in options.case))
    ]
    modes = [options.mode] if options.mode else list(suite.MODES)
    seconds: list[float] = []
    ended: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for number, case in enumerate(cases):
        for mode in modes:
            outcome = suite.run_case(case, mode, options.target)
            seconds.append(outcome.seconds)
            ended[case.name][mode] = (outcome.kind, outcome.why)
            if options.list and outcome.kind != suite.RIGHT:
                print(f"{case.name} [{mode}] {outcome.kind}: {outcome.why}", flush=True)
        if number % 200 == 199:
            print(f"... {number + 1} of {len(cases)} cases", file=sys.stderr, flush=True)
    operators = {name: case.op for name, case in suite.eligible().items()}
    summary, cells = _tables(ended, operators, modes)
    print(f"{'operator':28s} " + "  ".join(f"{mode:>16s}" for mode in modes))
    for op, row in cells.items():
        print(f"{op:28s} " + "  ".join(f"{cell:>16s}" for cell in row))
    print("\n".join(summary))
    if seconds:
        print(f"median {statistics.median(seconds) * 1e3:.0f} ms a case, slowest {max(seconds):.2f} s")
    if options.update:
        outcomes.write(options.target, ended, partial=len(cases) < len(operators) or bool(options.mode))
        summary, cells = _tables(outcomes.read(outcomes.file_of(options.target)), operators, suite.MODES)
        _write_docs(outcomes.SHARES, options.target, cells, summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
