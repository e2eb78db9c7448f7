"""Runs the chosen sections and writes their tables into docs/benchmarks.md; sections that were not run keep theirs."""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks.environments import ROOT

DOCS = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Made by `tools/bench`, both sides interleaved in one run on one machine; the ratios are what counts, absolute times are not
comparable between machines. Each section says when and on what it was run.
"""


def main(argv: list[str], description: str) -> int:
    """Entry point of `tools/bench`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section '{unknown[0]}'; there are {', '.join(SECTIONS)}")
    for name in options.sections or list(SECTIONS):
        with tempfile.TemporaryDirectory() as folder:
            lines = SECTIONS[name](Path(folder))
        text = "\n".join([f"_{datetime.date.today()}, {_processor()}; `tools/bench {name}`_", "", *lines])
        print(f"## {name}\n\n{text}\n")
        _store(name, text)
    return 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _store(name: str, text: str) -> None:
    kept: dict[str, str] = {}
    if DOCS.exists():
        for part in DOCS.read_text().split("\n## ")[1:]:
            title, _, body = part.partition("\n")
            kept[title.strip()] = body.strip()
    kept[name] = text.strip()
    sections = [f"## {title}\n\n{kept[title]}\n" for title in SECTIONS if title in kept]
    DOCS.write_text("\n".join([HEAD, *sections]))


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return ["| " + " | ".join(row) + " |" for row in [header, rule, *rows]]


def latency(work: Path) -> list[str]:
    """One thread: our file, the export in ONNX Runtime, onnx2tf's file."""
    from tools.benchmarks import models
    from tools.benchmarks.latency import measure

    jobs = [("mobilestylegan 1024", models.sample(1024), True)]
    for name in ("stylegan2_moved_fused", "stylegan2_kept_fused"):
        path = models.full_size(name)
        if path is not None:
            jobs.append((f"{name} 256", path, False))
    rows = []
    for name, path, peer in jobs:
        found = measure(name.replace(" ", "_"), path, work, onnx2tf=peer)
        cells = [
            f"{found.milliseconds.get(key, float('nan')):.0f}"
            for key in ("graphrewrite", "onnxruntime", "onnx2tf")
        ]
        ratios = [
            f"{found.ratios[key]:.2f}" if key in found.ratios else "-" for key in ("onnxruntime", "onnx2tf")
        ]
        facts = found.facts
        rows.append(
            [
                name,
                *cells,
                *ratios,
                str(facts["operators"]),
                str(facts["partitions"]),
                f"{facts['megabytes']:.1f}",
            ]
        )
    header = [
        "model",
        "ours ms",
        "ORT ms",
        "onnx2tf ms",
        "ours/ORT",
        "ours/onnx2tf",
        "operators",
        "partitions",
        "MB",
    ]
    return ["Median milliseconds an inference, one thread, float32.", "", *_table(header, rows)]


def conversion(work: Path) -> list[str]:
    """Seconds in the converter, imports and checks left out; transposes left in the files."""
    from tools.benchmarks import models
    from tools.benchmarks.conversion import convert_with_graphrewrite, convert_with_onnx2tf
    from tools.benchmarks.transposes import in_file, left_in_ours

    times, transposes = [], []
    for name in models.CONVERSION:
        path = models.full_size(name)
        if path is None:
            continue
        ours = convert_with_graphrewrite(path, work / f"{name}.tflite")
        peer = convert_with_onnx2tf(path, work / name)
        ratio = f"{ours.seconds / peer.seconds:.3f}" if ours.seconds and peer.seconds else "-"
        times.append([name, _seconds(ours.seconds, ours.error), _seconds(peer.seconds, peer.error), ratio])
        kept = in_file(ours.file) if ours.file is not None else (0, 0)
        free = left_in_ours(path, work)
        theirs = [str(item) for item in in_file(peer.file)] if peer.file is not None else ["-", "-"]
        transposes.append([name, *map(str, kept), str(free[0]), str(free[1]), *theirs, free[2] or "-"])
        shutil.rmtree(work / name, ignore_errors=True)
    header = [
        "model",
        "ours",
        "bytes",
        "ours, order of inputs and outputs free",
        "bytes",
        "onnx2tf 2.6.9",
        "bytes",
        "why",
    ]
    return [
        "Seconds from model file to .tflite file, first conversion of a process whose imports are done.",
        "",
        *_table(["model", "ours", "onnx2tf 2.6.9", "ratio"], times),
        "",
        "TRANSPOSE operators left and the bytes they move. onnx2tf makes inputs and outputs channels last; graphrewrite",
        "keeps the source's order unless told otherwise (`assign-layout{io_layout=free}`), which costs one transpose an",
        "image input or output.",
        "",
        *_table(header, transposes),
    ]


def transposes(work: Path) -> list[str]:
    """TRANSPOSE operators left in files of graphs that others wrote."""
    from tools.benchmarks import hugging_face
    from tools.benchmarks.conversion import convert_with_onnx2tf
    from tools.benchmarks.transposes import in_file, left_in_ours, wrapping_each

    rows = []
    for name in hugging_face.NAMES:
        path = hugging_face.export(name, work / f"{name}.onnx")
        ours, moved, why = left_in_ours(path, work)
        peer = convert_with_onnx2tf(path, work / name)
        theirs = [str(item) for item in in_file(peer.file)] if peer.file is not None else ["-", "-"]
        rows.append([name, str(wrapping_each(path)), *theirs, str(ours), str(moved), why or "-"])
    return [
        "TRANSPOSE operators left and the bytes they move, order of inputs and outputs free, in Hugging Face's modules:",
        "SegFormer with one block a stage, ViT of two blocks, Swin of two and one, MobileViT as it is. The first column",
        "is what two around each operator that wants channels last would come to.",
        "",
        *_table(["model", "wrap each", "onnx2tf 2.6.9", "bytes", "ours", "bytes", "why"], rows),
    ]


def _seconds(found: float | None, error: str) -> str:
    return f"{found:.2f}" if found is not None else f"fails: {error[:60]}"


def scale(work: Path) -> list[str]:
    """Nodes against seconds, bytes against memory."""
    import graphrewrite
    from tools.benchmarks.scale import deep_model, peak_memory, wide_model

    graphrewrite.run(deep_model(400), "tflite", output=work / "warm.tflite", check=False)
    seconds = {}
    for nodes in (10_000, 20_000, 40_000):
        model = deep_model(nodes)
        started = time.perf_counter()
        graphrewrite.run(model, "tflite", output=work / "deep.tflite", check=False)
        seconds[nodes] = time.perf_counter() - started
    path = wide_model(work)
    peak, empty = peak_memory(path, work / "wide.tflite")
    weights = (work / f"{path.name}.data").stat().st_size / 2**20
    return [
        *_table(
            ["nodes", "seconds", "to half the nodes"],
            [
                [
                    str(nodes),
                    f"{found:.1f}",
                    f"{found / seconds[nodes // 2]:.2f}" if nodes // 2 in seconds else "-",
                ]
                for nodes, found in seconds.items()
            ],
        ),
        "",
        f"A {weights:.0f} MiB model with external weights: peak {peak:.0f} MiB, {peak - empty:.0f} MiB above the empty process "
        f"({empty:.0f} MiB), {(peak - empty) / weights:.2f} times its weights.",
    ]


def openvino(work: Path) -> list[str]:
    """One thread: our OpenVINO model, and what OpenVINO's own converter makes of the export."""
    from tools.benchmarks import models
    from tools.benchmarks.openvino import measure

    jobs = {"mobilestylegan 1024": models.sample(1024)}
    for name in ("stylegan2_moved_fused", "stylegan2_kept_fused"):
        path = models.full_size(name)
        if path is not None:
            jobs[f"{name} 256"] = path
    rows = []
    for name, path in jobs.items():
        found = measure(path, work)
        milliseconds, megabytes = found["milliseconds"], found["megabytes"]
        cells = [f"{milliseconds[key]:.0f}" for key in ("ours", "raw")]
        sizes = [f"{megabytes[key]:.1f}" for key in ("ours", "half", "raw")]
        rows.append([name, *cells, f"{found['ratio']:.2f}", *sizes])
    header = ["model", "ours ms", "raw ms", "ours/raw", "ours MB", "ours fp16 MB", "raw MB"]
    return [
        "Median milliseconds an inference on OpenVINO's CPU plugin in float32, one thread; megabytes of the `.bin`. `raw` is the",
        "export through OpenVINO's own converter, in float32.",
        "",
        *_table(header, rows),
    ]


def coreml(work: Path) -> list[str]:
    """Seconds to a Core ML package, imports and checks left out."""
    from tools.benchmarks import models
    from tools.benchmarks.coreml import measure

    rows = []
    for name in ("mobilestylegan 1024", "resnet50", "mobilenet_v2"):
        path = models.sample(1024) if name.startswith("mobilestylegan") else models.full_size(name)
        if path is None:
            continue
        ours, theirs, problem = measure(path, work)
        ratio = f"{ours / theirs:.2f}" if ours and theirs else "-"
        rows.append([name, _seconds(ours, problem), _seconds(theirs, problem), ratio])
    return [
        "Seconds from model file to .mlpackage, first conversion of a process whose imports are done, float32.",
        "",
        *_table(["model", "ours", "onnxsim 0.8.1", "ratio"], rows),
    ]


SECTIONS: dict[str, Callable[[Path], list[str]]] = {
    "latency": latency,
    "conversion": conversion,
    "transposes": transposes,
    "scale": scale,
    "openvino": openvino,
    "coreml": coreml,
}
