"""A small model and passes for the tests of goldens, and the changes that they must catch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import pytest

from graphrewrite.cli.main import main

TRANSPOSING = '''
"""A pass that makes a file slower without making it wrong."""

import dataclasses

import numpy as np

from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import op, value


@dataclasses.dataclass(frozen=True)
class NegateSideways(PatternPass):
    stage = Stage.FINISH
    targets = frozenset({"tflite"})
    patterns = (op("NEG", value("x"), domain="tflite"),)

    def rewrite(self, match, rewriter):
        order = rewriter.constant(np.array([1, 0], np.int32))
        minus = rewriter.constant(np.array(-1, np.float32))
        turned = rewriter.op("TRANSPOSE", match["x"], order, domain="tflite")
        negated = rewriter.op("MUL", turned, minus, domain="tflite", fused_activation_function="NONE")
        return rewriter.op("TRANSPOSE", negated, order, domain="tflite")
'''

TURNING = '''
"""A pass that turns one value and turns it back."""

import dataclasses

import numpy as np

from graphrewrite.ir import rank
from graphrewrite.pipeline import Pass, Stage
from graphrewrite.rewrite import Rewriter


@dataclasses.dataclass(frozen=True)
class TurnAndReturn(Pass):
    stage = Stage.STORE

    def run(self, model, rewriter):
        lowered = [node.domain for node in model.graph if node.domain in ("tflite", "mil")]
        domain = lowered[0] if lowered else ""
        for node in model.graph:
            for index, value in enumerate(node.inputs):
                if value is None or value.producer() is None or (rank(value) or 0) < 2 or not value.dtype.is_floating_point():
                    continue
                order = list(reversed(range(rank(value))))
                with rewriter.rewrite("turn", node):
                    for _ in range(2):
                        if domain == "tflite":
                            value = rewriter.op("TRANSPOSE", value, rewriter.constant(np.array(order, np.int32)), domain=domain)
                        else:
                            value = rewriter.op("transpose" if domain else "Transpose", value, domain=domain, perm=order)
                    rewriter.set_input(node, index, value)
                return {}
        return {}
'''

WRONG = '''
"""A pass that is wrong for negative numbers."""

import dataclasses

from graphrewrite.pipeline import PatternPass, Stage
from graphrewrite.rewrite import op, value


@dataclasses.dataclass(frozen=True)
class ReluToAbs(PatternPass):
    stage = Stage.FUSE
    patterns = (op("Relu", value("x")),)

    def rewrite(self, match, rewriter):
        return rewriter.op("Abs", match["x"])
'''


def net(folder: Path) -> Path:
    """A convolution with an activation, a mean, a product, a negation: `net.onnx`."""
    rng = np.random.default_rng(7)
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
    g (float[1,3,8,8] x) => (float[1,5] y) {
      ["conv"] a = Conv<pads = [1,1,1,1]>(x, w)
      ["act"] b = Relu(a)
      ["mean"] c = GlobalAveragePool(b)
      ["flat"] d = Flatten(c)
      ["fc"] e = Gemm(d, v, bias)
      ["neg"] y = Neg(e)
    }""")
    for name, shape in (("w", (4, 3, 3, 3)), ("v", (4, 5)), ("bias", (5,))):
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = folder / "net.onnx"
    onnx.save(model, path)
    return path


def recorded_net(folder: Path) -> Path:
    """`folder` with `net` and its golden."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        net(folder)
        assert main(["golden", "record", "goldens", "net.onnx"]) == 0
    return folder


def change_weight(path: Path) -> bool:
    """Every second element of the largest weight grows by 1 %; False where the model has no weight.

    A constant that holds few different numbers is a mask or a filter. All elements at once would leave a model as it is whose
    weights are normalised.
    """
    model = onnx.load(path)
    weights = {
        item.name: onnx.numpy_helper.to_array(item)
        for item in model.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT and len(item.dims) > 1
    }
    weights = {name: array for name, array in weights.items() if 2 * np.unique(array).size > array.size}
    if not weights:
        return False
    largest = max(weights, key=lambda name: weights[name].size)
    array = weights[largest].copy()
    array.flat[::2] *= np.float32(1.01)
    (tensor,) = (item for item in model.graph.initializer if item.name == largest)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, largest))
    onnx.save(model, path)
    return True


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Rewrite a text file; the change must change something."""
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)
