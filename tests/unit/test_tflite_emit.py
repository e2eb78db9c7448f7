"""Files of the `tflite` dialect, written and run in LiteRT with XNNPACK and without."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphrewrite.errors import InternalError
from graphrewrite.ir import Quant
from graphrewrite.targets.tflite.emit import replacing, write
from graphrewrite.targets.tflite.op_version import _RULES, operator_version
from graphrewrite.targets.tflite.plan import VARIABLE
from graphrewrite.targets.tflite.read import read
from graphrewrite.targets.tflite.runtime import runner
from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, options_table
from graphrewrite.targets.tflite.validate import validate
from op_check import lowered

RNG = np.random.default_rng(0)
BOTH = pytest.mark.parametrize("xnnpack", [True, False], ids=["xnnpack", "builtin"])


def value(name: str, shape: Sequence[Any] | None, dtype: Any = np.float32) -> ir.Value:
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    return ir.Value(name=name, shape=None if shape is None else ir.Shape(shape), type=ir.TensorType(kind))


def const(name: str, array: Any, dtype: Any = None) -> ir.Value:
    array = np.asarray(array, dtype)
    result = value(name, array.shape, array.dtype)
    result.const_value = ir.tensor(array, name=name)
    return result


def node(
    op: str, inputs: Sequence[ir.Value | None], outputs: Sequence[ir.Value], **attributes: Any
) -> ir.Node:
    attrs = [
        ir.AttrGraph(name, item)
        if isinstance(item, ir.Graph)
        else ir.convenience.convert_attribute(name, item)
        for name, item in attributes.items()
    ]
    return ir.Node("tflite", op, inputs, attrs, outputs=outputs)


def graph(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], nodes: Sequence[ir.Node]) -> ir.Graph:
    return ir.Graph(inputs, outputs, nodes=nodes, name="g", opset_imports={"": 25, "tflite": 1})


def model(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], nodes: Sequence[ir.Node]) -> ir.Model:
    return ir.Model(graph(inputs, outputs, nodes), ir_version=10)


def run(written: ir.Model, path: Path, xnnpack: bool, **inputs: Any) -> Mapping[str, np.ndarray]:
    write(written, path)
    assert validate(path, runner=runner) == []
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    return runner.run(path, arrays, xnnpack=xnnpack).outputs


def conv_net(channels: int = 4) -> tuple[ir.Model, np.ndarray, np.ndarray]:
    weights = RNG.standard_normal((channels, 1, 1, 3), np.float32)
    bias = RNG.standard_normal(channels, np.float32)
    x, y, z = (
        value(name, ["batch", 5, 6, size]) for name, size in (("x", 3), ("y", channels), ("z", channels))
    )
    conv = node(
        "CONV_2D",
        [x, const("weights", weights), const("bias", bias)],
        [y],
        padding="SAME",
        stride_h=1,
        stride_w=1,
        fused_activation_function="RELU",
    )
    return model([x], [z], [conv, node("ADD", [y, const("one", np.float32(1))], [z])]), weights, bias


@BOTH
@pytest.mark.parametrize("inline_limit", [1 << 30, 0], ids=["inline", "behind"])
@pytest.mark.parametrize("batch", [1, 3])
def test_conv_net_with_dynamic_batch(tmp_path: Path, xnnpack: bool, inline_limit: int, batch: int) -> None:
    written, weights, bias = conv_net()
    report = write(written, tmp_path / "m.tflite", inline_limit=inline_limit)
    assert report.weights_behind == (inline_limit == 0)
    assert report.operators == {"CONV_2D": 1, "ADD": 1}
    assert report.size == (tmp_path / "m.tflite").stat().st_size
    assert validate(tmp_path / "m.tflite", runner=runner) == []
    x = RNG.standard_normal((batch, 5, 6, 3), np.float32)
    result = runner.run(tmp_path / "m.tflite", {"x": x}, xnnpack=xnnpack)
    expected = np.maximum(x @ weights[:, 0, 0].T + bias, 0) + 1
    np.testing.assert_allclose(result.outputs["z"], expected, rtol=1e-5, atol=1e-5)
    assert result.operators == 2
    assert result.partitions == int(xnnpack)
    assert read(tmp_path / "m.tflite").subgraphs[0].tensors[0].signature == (-1, 5, 6, 3)


def test_two_writes_give_the_same_bytes(tmp_path: Path) -> None:
    written, _, _ = conv_net()
    for name in ("a", "b"):
        write(written, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_inputs_and_outputs_keep_the_order_of_the_source(tmp_path: Path) -> None:
    source = """<ir_version: 10, opset_import: ["" : 21]>
        agraph (float[3] z, float[2] a, float[4] m) => (float[4] v, float[3] u, float[2] w, float[4] b) {
            w = Neg(a)
            u = Exp(z)
            b = Abs(m)
            v = Neg(m)
        }"""
    write(lowered(source), tmp_path / "m.tflite")
    main = read(tmp_path / "m.tflite").subgraphs[0]
    assert [main.tensors[index].name for index in main.inputs] == ["z", "a", "m"]
    assert [main.tensors[index].name for index in main.outputs] == ["v", "u", "w", "b"]


@BOTH
def test_outputs_that_are_inputs_constants_or_twice_there(tmp_path: Path, xnnpack: bool) -> None:
    x, y, c = value("x", [2, 3]), value("y", [2, 3]), const("c", np.arange(6, dtype=np.float32))
    written = model([x], [x, y, c, y], [node("ADD", [x, x], [y])])
    a = np.full((2, 3), 2, np.float32)
    outputs = run(written, tmp_path / "m", xnnpack, x=a)
    assert set(outputs) == {"c", "x", "y"}
    np.testing.assert_array_equal(outputs["x"], a)
    np.testing.assert_array_equal(outputs["y"], a + a)
    np.testing.assert_array_equal(outputs["c"], np.arange(6))


@BOTH
def test_graph_without_operators(tmp_path: Path, xnnpack: bool) -> None:
    x, c = value("x", [2]), const("c", np.arange(3, dtype=np.float32))
    outputs = run(model([x], [x, c], []), tmp_path / "m", xnnpack, x=np.float32([1, 2]))
    np.testing.assert_array_equal(outputs["x"], [1, 2])
    np.testing.assert_array_equal(outputs["c"], [0, 1, 2])


DTYPES = [
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "bool",
]


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 3)], ids=["scalar", "matrix", "empty"])
def test_every_dtype_goes_through(tmp_path: Path, xnnpack: bool, dtype: str, shape: tuple[int, ...]) -> None:
    x, c = value("x", shape, dtype), const("c", RNG.integers(0, 2, (2, *shape[1:])).astype(dtype))
    y, z = value("y", [1, *shape], dtype), value("z", [1, 2, *shape[1:]], dtype)
    nodes = [node("EXPAND_DIMS", [source, const(name, 0, np.int32)], [target]) for source, name, target in [
        (x, "a", y), (c, "b", z)]]  # fmt: skip
    a = RNG.integers(0, 2, shape).astype(dtype)
    outputs = run(model([x], [y, z], nodes), tmp_path / "m", xnnpack, x=a)
    for name, expected in (("y", a[None]), ("z", c.const_value.numpy()[None])):
        np.testing.assert_array_equal(outputs[name], expected)
        assert outputs[name].dtype == expected.dtype


@BOTH
def test_empty_constant_is_a_constant(tmp_path: Path, xnnpack: bool) -> None:
    """RESHAPE to a scalar has an empty shape operand; seen as run-time, its output would be dynamic."""
    x, y, z = value("x", [1]), value("y", []), value("z", [])
    nodes = [node("RESHAPE", [x, const("s", [], np.int32)], [y]), node("ADD", [y, y], [z])]
    written = model([x], [z], nodes)
    outputs = run(written, tmp_path / "m", xnnpack, x=np.float32([3]))
    assert outputs["z"] == 6
    assert outputs["z"].shape == ()
    assert runner.run(tmp_path / "m", {"x": np.float32([3])}).partitions == 1


def relu_or_double() -> tuple[list[ir.Value], list[ir.Value], list[ir.Node]]:
    shared = const("two", np.float32([2, 2, 2]))
    condition, x, y = value("condition", [], bool), value("x", [3]), value("y", [3])
    x1, y1, x2, y2 = (value(name, [3]) for name in ("x1", "y1", "x2", "y2"))
    then = graph([x1], [y1], [node("RELU", [x1], [y1])])
    other = graph([x2], [y2], [node("MUL", [x2, shared], [y2])])
    z = value("z", [3])
    nodes = [
        node("IF", [condition, x], [y], then_branch=then, else_branch=other),
        node("ADD", [y, shared], [z]),
    ]
    return [condition, x], [z], nodes


@BOTH
@pytest.mark.parametrize("condition", [True, False])
def test_if_with_a_constant_of_the_outer_graph(tmp_path: Path, xnnpack: bool, condition: bool) -> None:
    x = np.float32([-1, 0, 2])
    outputs = run(model(*relu_or_double()), tmp_path / "m", xnnpack, condition=condition, x=x)
    np.testing.assert_array_equal(outputs["z"], (np.maximum(x, 0) if condition else 2 * x) + 2)
    file = read(tmp_path / "m")
    assert len(file.subgraphs) == 3
    assert len(file.buffers) == 2


@BOTH
@pytest.mark.parametrize("condition", [True, False])
def test_if_branches_that_pass_inputs_and_constants_through(
    tmp_path: Path, xnnpack: bool, condition: bool
) -> None:
    c, x, y1, y2 = value("c", [], bool), value("x", [2]), value("y1", [2]), value("y2", [2])
    a1, a2 = value("a1", [2]), value("a2", [2])
    k1, k2 = const("k1", np.float32([7, 8])), const("k2", np.float32([7, 8]))
    branches = {"then_branch": graph([a1], [a1, k1], []), "else_branch": graph([a2], [k2, a2], [])}
    written = model([c, x], [y1, y2], [node("IF", [c, x], [y1, y2], **branches)])
    a = np.float32([1, 2])
    outputs = run(written, tmp_path / "m", xnnpack, c=condition, x=a)
    first, second = (a, [7, 8]) if condition else ([7, 8], a)
    np.testing.assert_array_equal(outputs["y1"], first)
    np.testing.assert_array_equal(outputs["y2"], second)


@BOTH
@pytest.mark.parametrize("trips", [0, 1, 5])
def test_while_loop(tmp_path: Path, xnnpack: bool, trips: int) -> None:
    """Counts to `trips` and doubles; one carried value passes through, two swap."""
    names = ("i", "n", "x", "p", "q")
    shapes: list[list[int]] = [[], [], [3], [2], [2]]
    dtypes = [np.int32, np.int32, np.float32, np.float32, np.float32]

    def carried(suffix: str) -> list[ir.Value]:
        return [value(n + suffix, s, d) for n, s, d in zip(names, shapes, dtypes, strict=True)]

    outer, in_cond, in_body, results = carried(""), carried("_c"), carried("_b"), carried("_r")
    more = value("more", [], bool)
    cond = graph(in_cond, [more], [node("LESS", in_cond[:2], [more])])
    next_i, next_x = value("next_i", [], np.int32), value("next_x", [3])
    body_nodes = [
        node("ADD", [in_body[0], const("one", 1, np.int32)], [next_i]),
        node("ADD", [in_body[2], in_body[2]], [next_x]),
    ]
    body = graph(in_body, [next_i, in_body[1], next_x, in_body[4], in_body[3]], body_nodes)
    written = model(outer, results, [node("WHILE", outer, results, cond=cond, body=body)])
    x, p, q = np.float32([1, 2, 3]), np.float32([1, 1]), np.float32([2, 2])
    outputs = run(written, tmp_path / "m", xnnpack, i=np.int32(0), n=np.int32(trips), x=x, p=p, q=q)
    assert outputs["i_r"] == trips
    np.testing.assert_array_equal(outputs["x_r"], x * 2**trips)
    np.testing.assert_array_equal(outputs["p_r"], q if trips % 2 else p)


@BOTH
def test_scatter_with_a_computation(tmp_path: Path, xnnpack: bool) -> None:
    a, b, c = (value(name, []) for name in "abc")
    x, indices, updates, y = (
        value("x", [4, 2]),
        value("i", [2, 1], np.int32),
        value("u", [2, 2]),
        value("y", [4, 2]),
    )
    scatter = node(
        "STABLEHLO_SCATTER",
        [x, indices, updates],
        [y],
        update_window_dims=[1],
        inserted_window_dims=[0],
        scatter_dims_to_operand_dims=[0],
        index_vector_dim=1,
        update_computation=graph([a, b], [c], [node("STABLEHLO_ADD", [a, b], [c])]),
    )
    # whole numbers: their sums are exact in any order
    base, add = (RNG.integers(-9, 9, (rows, 2)).astype(np.float32) for rows in (4, 2))
    outputs = run(
        model([x, indices, updates], [y], [scatter]),
        tmp_path / "m",
        xnnpack,
        x=base,
        i=np.int32([[2], [2]]),
        u=add,
    )
    base[2] += add[0] + add[1]
    np.testing.assert_array_equal(outputs["y"], base)


@BOTH
def test_quantisation_parameters_per_channel(tmp_path: Path, xnnpack: bool) -> None:
    stored = RNG.integers(-9, 9, (3, 4)).astype(np.int8)
    weights, y, x, z = const("w", stored), value("y", [3, 4]), value("x", [3, 4]), value("z", [3, 4])
    scale = np.float32([0.5, 0.25, 2])
    weights.meta["quant"] = Quant(scale, np.zeros(3, np.int64), axis=0)
    nodes = [node("DEQUANTIZE", [weights], [y]), node("ADD", [x, y], [z])]
    outputs = run(model([x], [z], nodes), tmp_path / "m", xnnpack, x=np.zeros((3, 4), np.float32))
    np.testing.assert_allclose(outputs["z"], stored * scale[:, None], rtol=1e-6)


@BOTH
def test_half_precision_weights(tmp_path: Path, xnnpack: bool) -> None:
    weights = RNG.standard_normal((3, 4)).astype(np.float16)
    x, w, y = value("x", [2, 4]), value("w", [3, 4]), value("y", [2, 3])
    nodes = [node("DEQUANTIZE", [const("w16", weights)], [w]), node("FULLY_CONNECTED", [x, w, None], [y])]
    a = RNG.standard_normal((2, 4), np.float32)
    outputs = run(model([x], [y], nodes), tmp_path / "m", xnnpack, x=a)
    np.testing.assert_allclose(outputs["y"], a @ weights.astype(np.float32).T, rtol=1e-3, atol=1e-3)


@BOTH
def test_unknown_rank_and_values_known_only_at_run_time(tmp_path: Path, xnnpack: bool) -> None:
    x, where, y = value("x", [4], bool), value("where", ["n", 1], np.int64), value("y", None, np.int64)
    shape = value("shape", [1], np.int32)
    nodes = [node("WHERE", [x], [where]), node("RESHAPE", [where, shape], [y])]
    outputs = run(
        model([x, shape], [y], nodes),
        tmp_path / "m",
        xnnpack,
        x=np.array([1, 0, 1, 1], bool),
        shape=np.int32([3]),
    )
    np.testing.assert_array_equal(outputs["y"], [0, 2, 3])


def test_derived_options_and_state(tmp_path: Path) -> None:
    x, parts = value("x", [2, 3]), [value(f"p{i}", [3]) for i in range(2)]
    y, best, n = value("y", [2, 3]), value("best", [2], np.int64), value("n", [2], np.int64)
    state, new_state = value("state", [2, 3]), value("new_state", [2, 3])
    state.meta[VARIABLE] = True
    nodes = [
        node("UNPACK", [x], parts, axis=0),
        node("PACK", parts, [y], axis=0),
        node("ARG_MAX", [x, const("axis", 1, np.int32)], [best]),
        node("SHAPE", [x], [n]),
        node("ADD", [state, y], [new_state]),
    ]
    a = RNG.standard_normal((2, 3), np.float32)
    outputs = run(model([x], [best, n, new_state], nodes), tmp_path / "m", False, x=a)
    np.testing.assert_array_equal(outputs["best"], a.argmax(1))
    np.testing.assert_array_equal(outputs["n"], [2, 3])
    np.testing.assert_array_equal(outputs["new_state"], a)


@pytest.mark.parametrize("kind", ["lazy", "transposed", "external", "int4"])
def test_kinds_of_weights(tmp_path: Path, kind: str) -> None:
    stored = RNG.standard_normal((600, 2000), np.float32)
    (tmp_path / "w.bin").write_bytes(bytes(64) + stored.tobytes())
    external = ir.ExternalTensor(
        "w.bin", 64, stored.nbytes, ir.DataType.FLOAT, shape=ir.Shape(stored.shape), name="w", base_dir=tmp_path
    )  # fmt: skip
    weights = value("w", [2000, 600] if kind == "transposed" else stored.shape)
    if kind == "external":
        weights.const_value = external
    elif kind == "lazy":
        weights.const_value = ir.LazyTensor(
            lambda: ir.tensor(stored), ir.DataType.FLOAT, ir.Shape(stored.shape)
        )
    elif kind == "transposed":
        weights.const_value = ir.LazyTensor(
            lambda: ir.tensor(external.numpy().T), ir.DataType.FLOAT, ir.Shape([2000, 600])
        )
    else:
        import ml_dtypes

        nibbles = RNG.integers(-8, 8, (3, 5)).astype(ml_dtypes.int4)
        weights = ir.Value(name="w", shape=ir.Shape([3, 5]), type=ir.TensorType(ir.DataType.INT4))
        weights.const_value = ir.Tensor(nibbles, ir.DataType.INT4)
        stored = nibbles.astype(np.int32)
    x = value("x", [2])
    write(model([x], [x, weights], []), tmp_path / "m")
    if kind == "int4":  # LiteRT's binding has no array type for it
        buffer = read(tmp_path / "m").buffers[1]
        packed = np.frombuffer((tmp_path / "m").read_bytes()[buffer.position :][: buffer.size], np.uint8)
        low = packed.view(np.int8) << 4 >> 4
        high = packed.view(np.int8) >> 4
        np.testing.assert_array_equal(np.stack([low, high], 1).reshape(-1)[:15].reshape(3, 5), stored)
        return
    outputs = runner.run(tmp_path / "m", {"x": np.zeros(2, np.float32)}).outputs
    np.testing.assert_array_equal(outputs["w"], stored.T if kind == "transposed" else stored)


def unsorted() -> ir.Model:
    x, y, z = value("x", [2]), value("y", [2]), value("z", [2])
    return model([x], [z], [node("ADD", [y, x], [z]), node("RELU", [x], [y])])


def one(domain: str, op: str, **attributes: Any) -> ir.Model:
    x, y = value("x", [2]), value("y", [2])
    written = node(op, [x], [y], **attributes)
    written.domain = domain
    return model([x], [y], [written])


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (unsorted, "not topologically sorted"),
        (lambda: one("", "Relu"), "not a TFLite operator"),
        (lambda: one("tflite", "RELU", alpha=1.0), "no options"),
        (lambda: one("tflite", "GELU", alpha=1.0), "no field 'alpha'"),
        (lambda: one("tflite", "L2_NORMALIZATION", fused_activation_function="GELU"), "no value 'GELU'"),
    ],
)
def test_faults_of_the_graph_are_internal_errors(
    tmp_path: Path, faulty: Callable[[], ir.Model], message: str
) -> None:
    with pytest.raises(InternalError, match=message):
        write(faulty(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("old")
    x, weights = value("x", [2]), value("w", [3])

    def fails() -> ir.Tensor:
        raise RuntimeError("no such weight")

    weights.const_value = ir.LazyTensor(fails, ir.DataType.FLOAT, ir.Shape([3]))
    with pytest.raises(RuntimeError, match="no such weight"):
        write(model([x], [x, weights], []), tmp_path / "m")

    def check_fails() -> None:
        with replacing(tmp_path / "m") as candidate:
            candidate.write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_fails()
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m").read_text() == "old"


def test_versions_are_registered_and_rules_name_operators() -> None:
    kernels = json.loads(resources.files("graphrewrite.targets.tflite").joinpath("kernels.json").read_text())
    for op, rules in _RULES.items():
        versions = kernels[op]["versions"]
        assert op in OPERATOR_CODES
        for version, _ in rules:
            assert version in versions, op


@pytest.mark.parametrize(
    ("op", "dtype", "rank", "attributes", "version"),
    [
        ("ADD", np.float32, 4, {}, 1),
        ("ADD", np.int64, 1, {}, 4),
        ("TRANSPOSE", np.float32, 4, {}, 1),
        ("TRANSPOSE", np.float32, 5, {}, 4),
        ("TRANSPOSE", np.float32, 6, {}, 6),
        ("TRANSPOSE", np.int8, 7, {}, 8),
        ("RESIZE_BILINEAR", np.float32, 4, {"half_pixel_centers": True}, 3),
        ("RESIZE_BILINEAR", np.float32, 4, {"half_pixel_centers": False}, 1),
        ("BROADCAST_TO", np.float32, 4, {}, 2),
        ("CAST", np.float16, 1, {}, 5),
        ("GATHER", np.float32, 2, {"batch_dims": 1}, 5),
        ("MUL", np.int16, 1, {}, 7),
        ("SOFTMAX", np.float32, 2, {"beta": 1.0}, 1),
    ],
)
def test_versions(op: str, dtype: Any, rank: int, attributes: Mapping[str, Any], version: int) -> None:
    a, b, y = (value(name, [1] * rank, dtype) for name in "aby")
    attrs = {name: int(item) if isinstance(item, bool) else item for name, item in attributes.items()}
    assert operator_version(node(op, [a, b], [y], **attrs)) == version


def test_every_operator_has_its_options_table() -> None:
    """All tables of the schema are reached, so no operator is written without its options."""
    from ai_edge_litert import schema_py_generated as schema

    reached = {table.name for op in OPERATOR_CODES if (table := options_table(op))}
    known = {name for union in (schema.BuiltinOptions, schema.BuiltinOptions2) for name in vars(union)}
    assert {name for name in known if not name.startswith("_")} - reached == {"NONE"}


def test_five_thousand_operators_take_a_fraction_of_a_second(tmp_path: Path) -> None:
    x = value("x", [1, 16])
    nodes, current = [], x
    for index in range(5_000):
        following = value(f"layer_{index}/output", [1, 16])
        op = "ADD" if index % 2 else "MUL"
        nodes.append(node(op, [current, const(f"c{index}", np.ones(16, np.float32))], [following]))
        current = following
    written = model([x], [current], nodes)
    start = time.process_time()
    report = write(written, tmp_path / "m")
    assert time.process_time() - start < 3  # 0.3 s on an idle core
    assert report.tensors == 10_001


def test_constants_are_aligned(tmp_path: Path) -> None:
    for limit, sizes in itertools.product([0, 1 << 30], [(1, 2, 3), (5001, 17, 5003, 1)]):
        weights = [const(f"c{i}", np.ones(size, np.int8)) for i, size in enumerate(sizes)]
        x = value("x", [1])
        write(model([x], [x, *weights], []), tmp_path / "m", inline_limit=limit)
        buffers = read(tmp_path / "m").buffers[1:]
        assert [buffer.size for buffer in buffers] == list(sizes)
        assert all(buffer.position is not None and buffer.position % 16 == 0 for buffer in buffers)
