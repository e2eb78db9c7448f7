"""The one-line rules say what ONNX's own say, and nothing where they can't tell."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir
import pytest

from graphrewrite.ir import OPSET, DataType, Node, Shape, TensorType, Value, schema
from graphrewrite.ir.known_rules import _RULES, plain_type, result_type
from graphrewrite.ir.type_protos import proto_fact, tensor_proto

FLOAT, INT32, INT64, BOOL = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "INT32", "INT64", "BOOL"))


def _onnx(op_type, operands, attributes, contents):
    names = [f"i{index}" for index in range(len(operands))]
    node = onnx.helper.make_node(op_type, names, ["out"], **attributes)
    types = {name: tensor_proto(*operand) for name, operand in zip(names, operands, strict=True)}
    data = {name: tensor for name, tensor in zip(names, contents, strict=True) if tensor is not None}
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    found = onnx.shape_inference.infer_node_outputs(schema(op_type), node, types, data, opset_imports=opsets)
    return proto_fact(found["out"])


def _int64(*items: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(items, np.int64))


SHAPES = [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (4, 2, 3), (1, 1, 1), (2, 0, 3)]
CASES = [
    *((op, [(FLOAT, shape)], {}) for op in ("Relu", "Tanh") for shape in SHAPES),
    *(
        (op, [(FLOAT, (2, 3))], {})
        for op in ("Sigmoid", "Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal", "Erf")
    ),
    *(
        (op, [(FLOAT, (2, 3))], {})
        for op in ("Sin", "Cos", "LeakyRelu", "Elu", "Softmax", "Gelu", "HardSwish")
    ),
    ("Clip", [(FLOAT, (2, 3)), (FLOAT, ()), (FLOAT, ())], {}),
    *(
        (op, [(dtype, left), (dtype, right)], {})
        for op in ("Add", "Sub", "Mul", "Div")
        for dtype in (FLOAT, INT32, INT64)
        for left in SHAPES[:7]
        for right in SHAPES[:7]
        if all(a == b or 1 in (a, b) for a, b in zip(left[::-1], right[::-1], strict=False))
    ),
    *(("Identity", [(dtype, shape)], {}) for dtype in (FLOAT, BOOL, INT32) for shape in SHAPES),
    *(("Cast", [(FLOAT, shape)], {"to": INT32}) for shape in SHAPES),
    ("Transpose", [(INT32, (4, 2, 3))], {"perm": [2, 0, 1]}),
    ("Transpose", [(FLOAT, (4, 2))], {"perm": (1, 0)}),
    ("Transpose", [(BOOL, (3,))], {"perm": [0]}),
    ("Constant", [], {"value": _int64(1, 2, 3)}),
]


@pytest.mark.parametrize(("op_type", "operands", "attributes"), CASES)
def test_as_onnx(op_type, operands, attributes) -> None:
    contents = [None] * len(operands)
    found = result_type(op_type, operands, attributes, contents)
    assert found is not None
    assert found == _onnx(op_type, operands, attributes, contents)


def test_every_rule_is_compared() -> None:
    assert {op_type for op_type, _, _ in CASES} | {"Reshape"} == _RULES.keys()


@pytest.mark.parametrize("target", [(6,), (3, 2), (-1,), (2, -1), (1, 6, 1), (-1, 3)])
def test_reshape_as_onnx(target) -> None:
    operands, contents = [(FLOAT, (2, 3)), (INT64, (len(target),))], [None, _int64(*target)]
    found = result_type("Reshape", operands, {}, contents)
    assert found is not None
    assert found == _onnx("Reshape", operands, {}, contents)


@pytest.mark.parametrize(
    ("op_type", "operands", "attributes", "contents"),
    [
        ("Relu", [(FLOAT, None)], {}, [None]),
        ("Relu", [(FLOAT, ("n", 3))], {}, [None]),
        ("Relu", [(BOOL, (3,))], {}, [None]),
        ("Add", [(FLOAT, (2,)), (INT32, (2,))], {}, [None, None]),
        ("Add", [(BOOL, (2,)), (BOOL, (2,))], {}, [None, None]),
        ("Add", [(FLOAT, (2,)), (FLOAT, (3,))], {}, [None, None]),
        ("Transpose", [(FLOAT, (2, 3))], {}, [None]),
        ("Transpose", [(FLOAT, (2, 3))], {"perm": [0, 0]}, [None]),
        ("Reshape", [(FLOAT, (2, 3)), (INT64, (1,))], {}, [None, None]),
        ("Reshape", [(FLOAT, (2, 3)), (INT64, (1,))], {}, [None, _int64(5)]),
        ("Reshape", [(FLOAT, (2, 3)), (INT64, (2,))], {}, [None, _int64(0, 3)]),
        ("Reshape", [(FLOAT, (2, 3)), (INT64, (2,))], {}, [None, _int64(-1, -1)]),
        ("Reshape", [(FLOAT, (2, 3)), (INT64, (2,))], {}, [None, _int64(-1, 4)]),
        ("Conv", [(FLOAT, (1, 1, 3, 3)), (FLOAT, (1, 1, 1, 1))], {}, [None, None]),
    ],
)
def test_left_to_onnx(op_type, operands, attributes, contents) -> None:
    assert result_type(op_type, operands, attributes, contents) is None


def _node(op_type: str, *shapes: tuple[int, ...], **attributes: object) -> Node:
    inputs = [
        Value(name=f"i{i}", type=TensorType(DataType.FLOAT), shape=Shape(s)) for i, s in enumerate(shapes)
    ]
    return Node("", op_type, inputs, onnx_ir.convenience.convert_attributes(attributes))


def test_a_source_model_may_break_any_rule() -> None:
    assert plain_type(_node("Relu", (2, 3))) == (FLOAT, (2, 3))
    assert plain_type(_node("Relu", (2, 3), (2, 3))) is None
    assert plain_type(_node("Add", (2, 3), (1, 3))) == (FLOAT, (2, 3))
    assert plain_type(_node("Add", (2, 3), (2, 3), (2, 3))) is None
    assert plain_type(_node("Softmax", (2, 3), axis=7)) is None
    assert plain_type(_node("Transpose", (2, 3), perm=[1, 0])) == (FLOAT, (3, 2))
    assert plain_type(_node("Transpose", (2, 3), perm=[1.0, 0.0])) is None
