"""Convert full-size golden models with onnx2tf and count what its files transpose.

Run it with a Python that has onnx2tf and ai_edge_litert (onnx2tf calls ``onnxsim`` from the PATH, so put
that environment's ``bin`` there):

    python tools/bench_data/measure_onnx2tf.py MODELS OUT [--only NAME ...]

``MODELS`` holds ``<name>.ts17.onnx`` and ``<name>.npz`` as ``python -m tools.golden_models --full --out``
writes them. The files go to ``OUT/<name>``, the table to ``onnx2tf_transposes.json`` beside this script.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_name("onnx2tf_transposes.json")
NAMES = (
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "efficientnet",
    "unet_bilinear",
    "convnext",
    "densenet",
    "inception_v1",
    "inception_v3",
    "segformer",
    "vit",
    "swin",
    "mobilevit",
    "shufflenet_v2",
    "yolo",
    "yolo_distances",
    "ssd",
)


def count(path: Path) -> dict:
    """Ops, TRANSPOSE ops and the bytes those write, over all subgraphs."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    widths = {schema.TensorType.FLOAT32: 4, schema.TensorType.INT32: 4, schema.TensorType.INT64: 8}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    histogram: collections.Counter[str] = collections.Counter()
    moved = 0
    for graph in model.subgraphs:
        for op in graph.operators:
            code = model.operatorCodes[op.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            histogram[name] += 1
            if name == "TRANSPOSE":
                tensor = graph.tensors[op.outputs[0]]
                moved += int(np.prod(tensor.shape)) * widths[tensor.type]
    return {
        "transposes": histogram["TRANSPOSE"],
        "bytes": moved,
        "ops": sum(histogram.values()),
        "histogram": dict(sorted(histogram.items())),
    }


def error(path: Path, samples: Path) -> float | None:
    """Max abs error over max(1, largest value) against PyTorch; None if a shape can't be told apart.

    onnx2tf turns image inputs into [N, H, W, C], so arrays are transposed where only that fits.
    """
    from ai_edge_litert.interpreter import Interpreter

    data = np.load(samples)
    inputs = [data[key] for key in data.files if key.startswith("sample0.input.")]
    outputs = [data[key] for key in data.files if key.startswith("sample0.output.")]
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        fitted = fit(array, tuple(detail["shape"]))
        if fitted is None:
            return None
        interpreter.set_tensor(detail["index"], fitted)
    interpreter.invoke()
    worst = 0.0
    # The order of several outputs may differ: each expected one is compared with the one of its shape.
    results = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    for expected in outputs:
        matches = [
            float(np.abs(result - fitted).max()) / max(1.0, float(np.abs(expected).max()))
            for result in results
            if (fitted := fit(expected, result.shape)) is not None
        ]
        if not matches:
            return None
        worst = max(worst, min(matches))
    return worst


def fit(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or its channels-last order, whichever has the shape."""
    if array.shape == shape:
        return array
    last = np.moveaxis(array, 1, -1) if array.ndim > 2 else array
    return np.ascontiguousarray(last) if last.shape == shape else None


def measure(name: str, models: Path, out: Path) -> dict:
    """Convert three times in this process; the first pays for imports, the faster of the others is reported.

    onnx2tf starts ``onnxsim`` as a process of its own, up to three times: that share is told apart.
    """
    import onnx2tf

    simplifying = 0.0
    check_output = subprocess.check_output

    def timed(*args, **kwargs):
        nonlocal simplifying
        began = time.perf_counter()
        try:
            return check_output(*args, **kwargs)
        finally:
            simplifying += time.perf_counter() - began

    subprocess.check_output = timed
    source, kept = models / f"{name}.ts17.onnx", out / name
    runs = []
    for _ in range(3):
        shutil.rmtree(kept, ignore_errors=True)
        simplifying = 0.0
        with tempfile.TemporaryDirectory() as scratch:
            # onnx2tf rewrites its input file in place.
            copy = Path(shutil.copy(source, Path(scratch) / f"{name}.onnx"))
            started = time.perf_counter()
            onnx2tf.convert(input_onnx_file_path=str(copy), output_folder_path=str(kept), verbosity="error")
            runs.append((time.perf_counter() - started, simplifying))
    seconds, simplifying = min(runs[1:])
    file = kept / f"{name}_float32.tflite"
    row = {"model": name, **count(file), "file_bytes": file.stat().st_size}
    row["seconds"], row["seconds_onnxsim"] = round(seconds, 2), round(simplifying, 2)
    try:
        found = error(file, models / f"{name}.npz")
        row["error"] = None if found is None else float(f"{found:.2g}")
    except Exception as problem:  # a file that does not run is a result too
        row["error"] = f"{type(problem).__name__}: {str(problem).splitlines()[0][:200]}"
    for leftover in kept.iterdir():
        if leftover != file:
            leftover.unlink()
    return row


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Convert models with onnx2tf and count transposes.")
    parser.add_argument("models", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", default=NAMES)
    args = parser.parse_args()
    rows = {row["model"]: row for row in json.loads(TABLE.read_text())["rows"]} if TABLE.exists() else {}
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for name in args.only:
            try:
                rows[name] = pool.submit(measure, name, args.models, args.out).result()
            except Exception as problem:
                traceback.print_exc()
                rows[name] = {"model": name, "failure": f"{type(problem).__name__}: {str(problem)[:200]}"}
            print({key: value for key, value in rows[name].items() if key != "histogram"}, file=sys.stderr)
    from importlib.metadata import version

    table = {
        "tool": f"onnx2tf {version('onnx2tf')}, defaults",
        "source": "full-size golden models, TorchScript exporter, opset 17, batch 1",
        "bytes": "written by TRANSPOSE ops; image inputs and outputs of the files are channels-last, so none "
        "is needed at either end",
        "error": "max abs / max(1, largest value) against PyTorch, LiteRT with one thread",
        "seconds": "faster of the 2nd and 3rd conversion in one process: onnx2tf's imports excluded, its float16 file "
        "and the processes of onnxsim it starts (seconds_onnxsim of the total) included; two shared cores",
        "rows": [rows[name] for name in sorted(rows)],
    }
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
