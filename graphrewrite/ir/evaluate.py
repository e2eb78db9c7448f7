"""Computing one ONNX node on known arrays, for constant folding.

Cheap and frequent ops run in numpy; everything else runs in ONNX Runtime, which is the reference anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx_ir
import onnx_ir.serde

from graphrewrite.ir.constants import Array
from graphrewrite.ir.meaning import OPSET

Arrays = Sequence[Array | None]
Attributes = Mapping[str, Any]

IMPURE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def is_pure(node: onnx_ir.Node) -> bool:
    """True where the node's outputs depend on nothing but its inputs and attributes, and it holds no subgraph.

    A BatchNormalization in training mode is pure: standardised weights are exported as one.
    """
    if node.domain != "" or node.op_type in IMPURE or node.op_type in _CONTROL_FLOW:
        return False
    return node.op_type != "Dropout" or len(node.inputs) <= 2


def evaluate(node: onnx_ir.Node, inputs: Arrays) -> list[Array] | None:
    """Outputs of `node` on `inputs` (None = absent); None where they do not go together, or ONNX Runtime can't compute it."""
    attributes = {attribute.name: attribute.value for attribute in node.attributes.data.values()}
    fast = _NUMPY.get(node.op_type)
    if fast is not None and len(node.outputs) == 1:
        try:
            result = fast(inputs, attributes)
        except (ValueError, IndexError, TypeError):  # operands that do not go together: a malformed node
            return None
        if result is not None:
            return [np.asarray(result)]
    return _onnxruntime(node, inputs)


def _onnxruntime(node: onnx_ir.Node, inputs: Arrays) -> list[Array] | None:
    import onnxruntime

    proto = onnx.NodeProto()
    proto.CopyFrom(onnx_ir.serde.serialize_node(node))
    names = [f"i{index}" if array is not None else "" for index, array in enumerate(inputs)]
    outputs = [f"o{index}" for index in range(len(node.outputs))]
    del proto.input[:], proto.output[:], proto.metadata_props[:]
    proto.input.extend(names)
    proto.output.extend(outputs)
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    try:
        graph = onnx.helper.make_graph(
            [proto],
            "fold",
            [
                onnx.helper.make_tensor_value_info(k, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for k, a in feeds.items()
            ],
            [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        result = session.run(None, feeds)
    except Exception:  # a node that ONNX Runtime rejects is simply not folded
        return None
    return [np.asarray(array) for array in result] if all(isinstance(a, np.ndarray) for a in result) else None


def _unary(function: Callable[[Array], Any]) -> Callable[[Arrays, Attributes], Any]:
    def run(inputs: Arrays, attributes: Attributes) -> Any:
        return None if inputs[0] is None else function(inputs[0]).astype(inputs[0].dtype, copy=False)

    return run


def _binary(
    function: Callable[[Array, Array], Any], *, logical: bool = False
) -> Callable[[Arrays, Attributes], Any]:
    def run(inputs: Arrays, attributes: Attributes) -> Any:
        a, b = inputs[0], inputs[1]
        if a is None or b is None:
            return None
        with np.errstate(all="ignore"):
            result = function(a, b)
        return result if logical else result.astype(a.dtype, copy=False)

    return run


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        return np.zeros(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    quotient = np.abs(a.astype(np.int64)) // np.abs(b.astype(np.int64))
    return quotient * np.sign(a.astype(np.int64)) * np.sign(b.astype(np.int64))


def _reshape(inputs: Arrays, attributes: Attributes) -> Any:
    data, target = inputs[0], inputs[1]
    if data is None or target is None:
        return None
    shape = [int(dim) for dim in target]
    if not attributes.get("allowzero", 0):
        shape = [data.shape[i] if dim == 0 else dim for i, dim in enumerate(shape)]
    return data.reshape(shape)


def _axes(inputs: Arrays, rank: int) -> list[int]:
    assert inputs[1] is not None
    return sorted(int(axis) % rank for axis in inputs[1].reshape(-1))


def _unsqueeze(inputs: Arrays, attributes: Attributes) -> Any:
    data = inputs[0]
    if data is None or len(inputs) < 2 or inputs[1] is None:
        return None
    return np.expand_dims(data, tuple(_axes(inputs, data.ndim + inputs[1].size)))


def _squeeze(inputs: Arrays, attributes: Attributes) -> Any:
    data = inputs[0]
    if data is None:
        return None
    return np.squeeze(
        data, tuple(_axes(inputs, data.ndim)) if len(inputs) > 1 and inputs[1] is not None else None
    )


def _transpose(inputs: Arrays, attributes: Attributes) -> Any:
    return None if inputs[0] is None else np.transpose(inputs[0], attributes.get("perm"))


def _concat(inputs: Arrays, attributes: Attributes) -> Any:
    arrays = [array for array in inputs if array is not None]
    return np.concatenate(arrays, int(attributes["axis"]))


def _gather(inputs: Arrays, attributes: Attributes) -> Any:
    data, index = inputs[0], inputs[1]
    return None if data is None or index is None else np.take(data, index, int(attributes.get("axis", 0)))


def _cast(inputs: Arrays, attributes: Attributes) -> Any:
    data = inputs[0]
    dtype = onnx_ir.DataType(int(attributes["to"]))
    if data is None or data.dtype.kind not in "iub" or dtype.numpy().kind not in "iubf":
        return None
    return data.astype(dtype.numpy())


def _expand(inputs: Arrays, attributes: Attributes) -> Any:
    data, target = inputs[0], inputs[1]
    if data is None or target is None:
        return None
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(int(dim) for dim in target))).copy()


def _constant_of_shape(inputs: Arrays, attributes: Attributes) -> Any:
    if inputs[0] is None:
        return None
    value = attributes.get("value")
    fill = value.numpy().reshape(-1)[0] if value is not None else np.float32(0)
    return np.full([int(dim) for dim in inputs[0]], fill)


def _where(inputs: Arrays, attributes: Attributes) -> Any:
    condition, x, y = inputs[0], inputs[1], inputs[2]
    return None if condition is None or x is None or y is None else np.where(condition, x, y)


def _identity(inputs: Arrays, attributes: Attributes) -> Any:
    return inputs[0]


def _range(inputs: Arrays, attributes: Attributes) -> Any:
    start, limit, delta = (None if array is None else array.reshape(-1)[0] for array in inputs)
    if start is None or limit is None or delta is None or delta == 0:
        return None
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)


def _slice(inputs: Arrays, attributes: Attributes) -> Any:
    data, starts, ends, *rest = inputs
    if data is None or starts is None or ends is None:
        return None
    axes = rest[0] if rest and rest[0] is not None else np.arange(starts.size)
    steps = rest[1] if len(rest) > 1 and rest[1] is not None else np.ones(starts.size, np.int64)
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(
        starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True
    ):
        # Python reads a negative end from the back; past the front it must mean "down to the first".
        size = data.shape[axis]
        if step < 0 and start < -size:
            return None
        stop = None if step < 0 and end < -size else end
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


def _pow(inputs: Arrays, attributes: Attributes) -> Any:
    data, exponent = inputs[0], inputs[1]
    if data is None or exponent is None or data.dtype.kind != "f" or exponent.dtype.kind not in "fi":
        return None
    with np.errstate(all="ignore"):
        if exponent.size == 1 and exponent.reshape(-1)[0] == 2 and exponent.ndim <= data.ndim:
            return data * data
        return np.power(data, exponent).astype(data.dtype, copy=False)


def _reduce(function: Callable[..., Any]) -> Callable[[Arrays, Attributes], Any]:
    def run(inputs: Arrays, attributes: Attributes) -> Any:
        data = inputs[0]
        if data is None or data.dtype not in (np.float32, np.float64) or "axes" in attributes:
            return None
        axes = inputs[1] if len(inputs) > 1 else None
        if axes is None or axes.size == 0:
            if attributes.get("noop_with_empty_axes", 0):
                return None
            axis = tuple(range(data.ndim))
        else:
            axis = tuple(int(item) % data.ndim for item in axes.reshape(-1))
        wide = function(data, axis=axis, keepdims=bool(attributes.get("keepdims", 1)), dtype=np.float64)
        return wide.astype(data.dtype)

    return run


_NUMPY: dict[str, Callable[[Arrays, Attributes], Any]] = {
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Equal": _binary(np.equal, logical=True),
    "Less": _binary(np.less, logical=True),
    "Greater": _binary(np.greater, logical=True),
    "Sqrt": _unary(np.sqrt),
    "Neg": _unary(np.negative),
    "Abs": _unary(np.abs),
    "Reciprocal": _unary(lambda a: 1 / a),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Gather": _gather,
    "Cast": _cast,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Where": _where,
    "Identity": _identity,
    "Slice": _slice,
    "Pow": _pow,
    "ReduceSum": _reduce(np.sum),
    "ReduceMean": _reduce(np.mean),
    "Range": _range,
}
