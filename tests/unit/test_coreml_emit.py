"""Writing Core ML packages: names, types, determinism, precision, control flow."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir
import pytest

pytest.importorskip("coremltools")

from coreml_check import check_coreml

import graphrewrite
from graphrewrite.errors import NotExpressible, UsageError
from graphrewrite.ir import DataType, Graph, Model, Node, Shape, Tensor, TensorType, Value, keep_float
from graphrewrite.targets.base import target
from graphrewrite.targets.coreml.evaluate import Evaluator, read_package
from graphrewrite.targets.coreml.options import CoreMLOptions
from graphrewrite.targets.coreml.write import write

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "models"
F = np.float32


def _value(name: str, dtype: DataType, *dims: int) -> Value:
    return Value(name=name, type=TensorType(dtype), shape=Shape(list(dims)))


def _constant(name: str, content: np.ndarray) -> Value:
    tensor = Tensor(content)
    return Value(
        name=name, type=TensorType(tensor.dtype), shape=Shape(list(content.shape)), const_value=tensor
    )


def _model(
    inputs: list[Value], outputs: list[Value], nodes: list[Node], constants: Sequence[Value] = ()
) -> Model:
    graph = Graph(
        inputs, outputs, nodes=nodes, initializers=list(constants), name="g", opset_imports={"": 26, "mil": 1}
    )
    return Model(graph, ir_version=10)


def test_names_types_and_scalars_come_back(tmp_path: Path) -> None:
    """Names that are no identifiers, int64, bool, float16, rank 0, one value output twice, an input that is an output."""
    source = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[2,3] a, int64[2] n, bool[3] flag, float s, float16[2] h)
          => (float[2,3] out, int64[2] twice, bool[3] notflag, float t, float16[2] hh, float[2,3] same) {
          out = Relu(a)
          twice = Add(n, n)
          notflag = Not(flag)
          t = Neg(s)
          hh = Neg(h)
          same = Identity(out)
        }"""
    )
    renamed = {"a": "input.1", "out": "out:0", "n": "2n", "s": "out_0"}
    for item in (*source.graph.input, *source.graph.output):
        item.name = renamed.get(item.name, item.name)
    for node in source.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    sample = {
        "input.1": np.asarray([[-1, 2, 3], [4, -5, 6]], F),
        "2n": np.asarray([-7, 2**30 - 1]),
        "flag": np.asarray([True, False, True]),
        "out_0": np.asarray(2.5, F),
        "h": np.asarray([1.5, -2], np.float16),
    }
    for deployment, half in (("iOS15", "float instead of float16"), ("iOS16", None)):
        path = tmp_path / f"{deployment}.mlpackage"
        found = graphrewrite.run(
            source, "coreml", output=path, samples=[sample], minimum_deployment_target=deployment
        )
        changed = found.report["details"]["features"]
        assert changed["input.1"] == "named 'input_1'"
        assert changed["2n"] == "named '_2n', int32 instead of int64"
        assert changed["t"] == "of shape [1] instead of a scalar"
        assert changed.get("h") == half
        outputs = Evaluator(path)(sample)
        assert list(outputs) == ["out:0", "twice", "notflag", "t", "hh", "same"]
        assert outputs["twice"].dtype == np.int64
        assert outputs["notflag"].tolist() == [False, True, False]
        assert outputs["t"].shape == ()
        assert outputs["hh"].dtype == np.float16


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for item in sorted(path.rglob("*")):
        if item.is_file():
            digest.update(item.relative_to(path).as_posix().encode() + item.read_bytes())
    return digest.hexdigest()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_same_bytes_in_every_process(tmp_path: Path, precision: str) -> None:
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.mlpackage"
        script = (
            "import sys, graphrewrite; graphrewrite.run(sys.argv[1], 'coreml', output=sys.argv[2], "
            "precision=sys.argv[3], check=False)"
        )
        model = GOLDEN / "mobilenet_v1.dyn.onnx"
        subprocess.run(
            [sys.executable, "-c", script, str(model), str(path), precision],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(GOLDEN.parent.parent.parent)},
            check=True,
            capture_output=True,
        )
        digests.add(_digest(path))
    assert len(digests) == 1


def test_half_precision_rounds_after_each_op(tmp_path: Path) -> None:
    """4096 + 1 is 4096 in float16: two additions of 1 change nothing, where one of 2 would not be lost."""
    x = _value("x", DataType.FLOAT, 3)
    one = _constant("one", np.asarray(1, F))
    first, second = _value("first", DataType.FLOAT, 3), _value("y", DataType.FLOAT, 3)
    nodes = [
        Node("mil", "add", [x, one], outputs=[first], name="a"),
        Node("mil", "add", [first, one], outputs=[second], name="b"),
    ]
    model = _model([x], [second], nodes, [one])
    sample = {"x": np.asarray([4096, 0.1, 1], F)}
    for precision, wanted in (("fp32", 4098), ("fp16", 4096)):
        path = tmp_path / f"{precision}.mlpackage"
        write(model, path, CoreMLOptions(precision=precision))
        found = Evaluator(path)(sample)["y"]
        assert found[0] == wanted
        if precision == "fp16":
            step = np.float16(np.float16(0.1) + np.float16(1))
            assert found[1] == F(np.float16(step + np.float16(1)))


def test_a_node_can_stay_in_float32(tmp_path: Path) -> None:
    """exp(12) overflows float16; kept in float32 together with the logarithm it comes back."""
    x = _value("x", DataType.FLOAT, 1)
    power, y = _value("power", DataType.FLOAT, 1), _value("y", DataType.FLOAT, 1)
    nodes = [
        Node("mil", "exp", [x], outputs=[power], name="exp"),
        Node("mil", "log", [power], outputs=[y], name="log"),
    ]
    model = _model([x], [y], nodes)
    for kept, finite in ((False, False), (True, True)):
        for node in nodes if kept else ():
            keep_float(node)
        path = tmp_path / f"{kept}.mlpackage"
        write(model, path, CoreMLOptions(precision="fp16"))
        assert np.isfinite(Evaluator(path)({"x": np.asarray([12], F)})["y"]).all() == finite


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_control_flow(tmp_path: Path, precision: str) -> None:
    """while (x < limit) x = x * 2; then 2 x or -x, with values read from outside of the blocks."""
    x, two, limit = (
        _value("x", DataType.FLOAT),
        _constant("two", np.asarray(2, F)),
        _constant("limit", np.asarray(100, F)),
    )
    inner, go = _value("c_in", DataType.FLOAT), _value("go", DataType.BOOL)
    condition = Graph(
        [inner], [go], nodes=[Node("mil", "less", [inner, limit], outputs=[go], name="less")], name="c"
    )
    state, doubled = _value("b_in", DataType.FLOAT), _value("doubled", DataType.FLOAT)
    body = Graph(
        [state], [doubled], nodes=[Node("mil", "mul", [state, two], outputs=[doubled], name="mul")], name="b"
    )
    end, flag, y = _value("end", DataType.FLOAT), _value("flag", DataType.BOOL), _value("y", DataType.FLOAT)
    up, down = _value("up", DataType.FLOAT), _value("down", DataType.FLOAT)
    minus = _constant("minus", np.asarray(-1, F))
    then = Graph([], [up], nodes=[Node("mil", "mul", [end, two], outputs=[up], name="up")], name="t")
    other = Graph([], [down], nodes=[Node("mil", "mul", [end, minus], outputs=[down], name="down")], name="e")

    bound = _constant("bound", np.asarray(150, F))
    loop = [onnx_ir.AttrGraph("cond", condition), onnx_ir.AttrGraph("body", body)]
    branches = [onnx_ir.AttrGraph("then_branch", then), onnx_ir.AttrGraph("else_branch", other)]
    nodes = [
        Node("mil", "while_loop", [x], loop, outputs=[end], name="loop"),
        Node("mil", "greater", [end, bound], outputs=[flag], name="flag"),
        Node("mil", "cond", [flag], branches, outputs=[y], name="if"),
    ]
    model = _model([x], [y], nodes, [two, limit, minus, bound])
    path = tmp_path / "m.mlpackage"
    write(model, path, CoreMLOptions(precision=precision))
    run = Evaluator(path)
    for start, wanted in ((3.0, 2 * 192.0), (7.0, -112.0), (500.0, 1000.0)):
        assert run({"x": np.asarray(start, F)})["y"] == wanted


def test_older_systems_refuse_newer_ops() -> None:
    """A transposed convolution with weights that are computed at run time needs iOS17, and the message says so."""
    model = """<ir_version: 10, opset_import: ["" : 21]>
        g (float[1,2,4,4] x, float[2,3,2,2] w, float[3] b) => (float[1,3,8,8] y) {
          y = ConvTranspose<strides = [2, 2]>(x, w, b)
        }"""
    feeds = {"x": np.ones((1, 2, 4, 4), F), "w": np.ones((2, 3, 2, 2), F), "b": np.ones(3, F)}
    with pytest.raises(NotExpressible, match="constant before iOS17"):
        check_coreml(model, feeds)
    graph = check_coreml(model, feeds, deployment="iOS17")
    assert [node.op_type for node in graph.graph][:1] == ["conv_transpose"]


def test_bias_apart_from_run_time_weights() -> None:
    model = """<ir_version: 10, opset_import: ["" : 21]>
        g (float[1,2,4,4] x, float[3,2,2,2] w) => (float[1,3,3,3] y) <float[3] b = {1, 2, 3}> { y = Conv(x, w, b) }"""
    graph = check_coreml(model, {"x": np.ones((1, 2, 4, 4), F), "w": np.ones((3, 2, 2, 2), F)})
    (conv,) = [node for node in graph.graph if node.op_type == "conv"]
    assert len(conv.inputs) == 2


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_small_integers_wrap(dtype: str) -> None:
    model = f"""<ir_version: 10, opset_import: ["" : 21]>
        g ({dtype}[4] x, {dtype}[4] y) => ({dtype}[4] z, {dtype}[4] s) {{ z = Mul(x, y)  s = Sub(x, y) }}"""
    numbers = np.asarray([3, 100, 120, 77]).astype(dtype)
    check_coreml(model, {"x": numbers, "y": numbers[::-1].copy()})


def test_a_package_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    for _ in range(2):
        graphrewrite.run(GOLDEN / "mobilenet_v1.dyn.onnx", "coreml", output=path)
    assert [item.name for item in tmp_path.iterdir()] == ["m.mlpackage"]


def test_unknown_options() -> None:
    with pytest.raises(UsageError, match="minimum deployment target"):
        target("coreml{minimum_deployment_target=iOS3}")
    with pytest.raises(UsageError, match="precision"):
        target("coreml{precision=fp8}")
    assert target("coreml{minimum_deployment_target=newest}").write is not None


def test_no_coremltools_pass_renames_what_is_inside(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    graphrewrite.run(GOLDEN / "mobilenet_v1.dyn.onnx", "coreml", output=path)
    model = read_package(path).model
    assert {node.op_type for node in model.graph} >= {"conv", "linear"}


@pytest.mark.parametrize("size", ["40", "N"])
def test_masks_are_spread_when_the_model_runs(size: str, tmp_path: Path) -> None:
    """select wants one shape: a causal mask for every head would take 16 times its bytes, the value put in its place more."""
    model = f"""<ir_version: 10, opset_import: ["" : 21]>
        g (float[1,16,{size},{size}] x, bool[{size},{size}] m) => (float[1,16,{size},{size}] y)
          <float low = {{-1e9}}> {{ y = Where(m, x, low) }}"""
    x = np.random.default_rng(0).standard_normal((1, 16, 40, 40)).astype(F)
    graph = check_coreml(model, {"x": x, "m": np.tril(np.ones((40, 40), np.bool_))})
    kinds = [node.op_type for node in graph.graph]
    assert kinds[-1] == "select"
    assert kinds.count("tile") == kinds.count("fill") == 1
    write(graph, tmp_path / "m.mlpackage", CoreMLOptions())
    assert sum(item.stat().st_size for item in tmp_path.rglob("*") if item.is_file()) < 10_000


def test_selection_of_shapes_that_only_the_run_tells() -> None:
    model = """<ir_version: 10, opset_import: ["" : 21]>
        g (bool[A,1] c, float[B] x, float[C,D,1] y) => (float[E,F,G] z) { z = Where(c, x, y) }"""
    rng = np.random.default_rng(0)
    feeds = {
        "c": np.asarray([[True], [False], [True]]),
        "x": rng.standard_normal(4).astype(F),
        "y": rng.standard_normal((2, 3, 1)).astype(F),
    }
    check_coreml(model, feeds)


def test_names_that_are_identifiers_stay(tmp_path: Path) -> None:
    """Of three names that become one, the one that is it already keeps it, wherever it stands."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] "a:0", float[2] "a/0", float[2] a_0) => '
        '(float[2] "b/0", float[2] b_0) { "b/0" = Add("a:0", "a/0")  b_0 = Mul("b/0", a_0) }'
    )
    graphrewrite.run(model, "coreml", output=tmp_path / "m.mlpackage")
    inputs, outputs = read_package(tmp_path / "m.mlpackage").ports
    assert [(item.source, item.name) for item in inputs] == [
        ("a:0", "a_0_1"),
        ("a/0", "a_0_2"),
        ("a_0", "a_0"),
    ]
    assert [(item.source, item.name) for item in outputs] == [("b/0", "b_0_1"), ("b_0", "b_0")]
