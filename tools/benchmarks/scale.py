"""Cost against size: time of the default pipeline over nodes, peak memory over bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tools.benchmarks.environments import ROOT

_MEMORY = """
import json, resource, sys
def peak():
    # VmHWM is of this program alone; ru_maxrss begins with what the process that started it had.
    try:
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
import graphrewrite.api
from graphrewrite.pipeline import known_passes
from graphrewrite.registry import rows
import graphrewrite.targets.tflite.target, graphrewrite.targets.tflite.emit, graphrewrite.targets.tflite.validate
import graphrewrite.targets.tflite.builder, onnxruntime
known_passes(), rows()
before = peak()
if len(sys.argv) > 2:
    graphrewrite.api.run(sys.argv[1], "tflite", output=sys.argv[2], check=False)
print(json.dumps({"megabytes": peak() / 1024, "empty": before / 1024}))
"""


def deep_model(nodes: int) -> onnx.ModelProto:
    """A chain of convolutional blocks (Conv, BatchNormalization, Relu, Add) of about `nodes` nodes, small weights."""
    rng = np.random.default_rng(0)
    inits = [
        onnx.numpy_helper.from_array((rng.standard_normal((8, 8, 3, 3)) * 0.1).astype(np.float32), "w"),
        *(
            onnx.numpy_helper.from_array(rng.uniform(0.5, 1.5, 8).astype(np.float32), name)
            for name in ("scale", "bias", "mean", "var")
        ),
    ]
    made = []
    value = "x"
    for index in range(nodes // 4):
        names = [f"{stem}{index}" for stem in ("c", "n", "r", "a")]
        made += [
            onnx.helper.make_node("Conv", [value, "w"], [names[0]], pads=[1, 1, 1, 1], name=f"conv{index}"),
            onnx.helper.make_node(
                "BatchNormalization", [names[0], "scale", "bias", "mean", "var"], [names[1]]
            ),
            onnx.helper.make_node("Relu", [names[1]], [names[2]]),
            onnx.helper.make_node("Add", [names[2], value], [names[3]]),
        ]
        value = names[3]
    graph = onnx.helper.make_graph(
        made,
        "deep",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8, 8, 8])],
        [onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, [1, 8, 8, 8])],
        inits,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def wide_model(folder: Path, megabytes: int = 500, width: int = 4096) -> Path:
    """A stack of Gemm layers whose weights, `megabytes` of them, lie in an external file."""
    path = folder / f"external_{megabytes}.onnx"
    layers = max(megabytes * 1_000_000 // (width * width * 4), 1)
    data = folder / f"{path.name}.data"
    rng = np.random.default_rng(0)
    inits, made, value = [], [], "x"
    with open(data, "wb") as file:
        for index in range(layers):
            weight = (rng.standard_normal((width, width)) / width**0.5).astype(np.float32)
            tensor = onnx.TensorProto(name=f"w{index}", data_type=onnx.TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, content in (("location", data.name), ("offset", file.tell()), ("length", weight.nbytes)):
                tensor.external_data.add(key=key, value=str(content))
            file.write(weight.tobytes())
            inits.append(tensor)
            made.append(onnx.helper.make_node("Gemm", [value, f"w{index}"], [f"y{index}"], transB=index % 2))
            value = f"y{index}"
    graph = onnx.helper.make_graph(
        made,
        "wide",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, width])],
        [onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, [1, width])],
        inits,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def peak_memory(model: Path, output: Path) -> tuple[float, float]:
    """Peak resident megabytes of a conversion without check, and of the process before it."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(model), str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return float(found["megabytes"]), float(found["empty"])
