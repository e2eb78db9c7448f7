"""What each operator asks of its operands and the interpreter does not check, or checks by aborting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from graphrewrite.targets.tflite.kernels import MEASURED
from graphrewrite.targets.tflite.read import OperatorRecord, SubgraphRecord, TensorRecord

_Faults = Iterator[tuple[str, str]]
_IsConstant = Callable[[TensorRecord], bool]


def registered_versions(op: str) -> Sequence[int]:
    """The versions of an operator that LiteRT has kernels for; empty if it has none."""
    versions: Sequence[int] = MEASURED.get(op, {}).get("versions", ())
    return versions


# The operand whose dtype chooses the kernel, where it is not the first.
_DATA_OPERAND: Mapping[str, int] = {
    "CONV_3D_TRANSPOSE": 2,
    "EMBEDDING_LOOKUP": 1,
    "FILL": 1,
    "ONE_HOT": 2,
    "SCATTER_ND": 1,
    "SELECT": 1,
    "SELECT_V2": 1,
    "SPARSE_TO_DENSE": 2,
    "SPLIT": 1,
    "TRANSPOSE_CONV": 2,
}

# Operators that take float16 constants beside float32 operands, or do not compute with them.
_TAKES_FLOAT16 = frozenset({"DEQUANTIZE", "CAST", "SHAPE", "RANK", "IF", "WHILE"})


def check_operator(operator: OperatorRecord, graph: SubgraphRecord, is_constant: _IsConstant) -> _Faults:
    """The faults of one operator as (check, message) pairs.

    Args:
        operator: its indices are in range.
        graph: the subgraph it stands in.
        is_constant: whether a tensor's content is in the file.
    """
    inputs = [None if index < 0 else graph.tensors[index] for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    yield from _dtype(operator.op, inputs, outputs)
    yield from _float16(operator.op, inputs, outputs, is_constant)
    if operator.op == "DEQUANTIZE" and set(operator.outputs) & set(graph.outputs):
        constant = inputs[0] is not None and is_constant(inputs[0]) and inputs[0].dtype == "FLOAT16"
        if constant:
            yield "float16", "XNNPACK can't give the DEQUANTIZE of a constant as an output of the graph"
    specific = _SPECIFIC.get(operator.op)
    if specific is not None:
        yield from specific(operator, inputs, outputs)


def _dtype(op: str, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]) -> _Faults:
    """No operand dtype that aborts or computes rubbish without quantisation parameters."""
    position = _DATA_OPERAND.get(op, 0)
    data = inputs[position] if position < len(inputs) else None
    if data is not None and 0 in data.shape and MEASURED.get(op, {}).get("empty") == "aborts":
        yield "empty", f"on the empty shape {list(data.shape)} LiteRT aborts the process"
    if data is None or data.quantized or any(tensor.quantized for tensor in outputs):
        return
    outcome = MEASURED.get(op, {}).get("rejected", {}).get(data.dtype.lower())
    if outcome in ("aborts", "wrong values"):
        what = "aborts the process" if outcome == "aborts" else "computes wrong values"
        yield "dtype", f"on {data.dtype} without quantisation parameters LiteRT {what}"


def _float16(
    op: str, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord], is_constant: _IsConstant
) -> _Faults:
    """float16 constants go through DEQUANTIZE: as a filter of a float32 kernel they give NaN."""
    if op in _TAKES_FLOAT16 or op.startswith("STABLEHLO"):
        return
    present = [tensor for tensor in inputs if tensor is not None]
    if not any(tensor.dtype == "FLOAT32" for tensor in (*present, *outputs)):
        return
    for tensor in present:
        if tensor.dtype == "FLOAT16" and is_constant(tensor):
            yield "float16", f"the float16 constant '{tensor.name}' needs a DEQUANTIZE before it"


def _operand(inputs: Sequence[TensorRecord | None], index: int) -> TensorRecord | None:
    return inputs[index] if index < len(inputs) else None


def _bias(bias: TensorRecord | None, channels: int) -> _Faults:
    if bias is not None and bias.shape != (channels,):
        yield "bias", f"a bias of shape {list(bias.shape)} for {channels} output channels"


def _ranks(inputs: Sequence[TensorRecord | None], expected: Mapping[int, int]) -> _Faults:
    for index, rank in expected.items():
        tensor = _operand(inputs, index)
        if tensor is None:
            yield "operands", f"operand {index} is missing"
        elif len(tensor.shape) != rank:
            yield "shape", f"operand {index} has shape {list(tensor.shape)}, not {rank} dimensions"


def _conv_2d(
    operator: OperatorRecord, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]
) -> _Faults:
    depthwise = operator.op == "DEPTHWISE_CONV_2D"
    faults = list(_ranks(inputs, {0: 4, 1: 4}))
    yield from faults
    data, weights, bias = _operand(inputs, 0), _operand(inputs, 1), _operand(inputs, 2)
    if faults or data is None or weights is None or -1 in weights.signature:
        return
    channels = weights.shape[3] if depthwise else weights.shape[0]
    if bias is None and not depthwise:
        yield "bias", "no bias, which LiteRT asks for"
    yield from _bias(bias, channels)
    yield from _channels(outputs, channels)
    depth = data.signature[3]
    if depthwise and depth > 0 and (channels % depth or weights.shape[0] != 1):
        yield "shape", f"a filter {list(weights.shape)} for {depth} input channels"
    if depthwise and depth > 0 and operator.options.get("depth_multiplier") != channels // depth:
        yield "options", f"depth_multiplier is not {channels // depth}"
    if not depthwise and depth > 0 and weights.shape[3] and depth % weights.shape[3]:
        yield "shape", f"a filter {list(weights.shape)} for {depth} input channels"
    yield from _strides(operator)


def _transpose_conv(
    operator: OperatorRecord, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]
) -> _Faults:
    faults = list(_ranks(inputs, {0: 1, 1: 4, 2: 4}))
    yield from faults
    weights, data = _operand(inputs, 1), _operand(inputs, 2)
    if faults or data is None or weights is None or -1 in weights.signature:
        return
    yield from _bias(_operand(inputs, 3), weights.shape[0])
    yield from _channels(outputs, weights.shape[0])
    if data.signature[3] > 0 and weights.shape[3] != data.signature[3]:
        depth = data.signature[3]
        yield "shape", f"a filter {list(weights.shape)} for {depth} input channels; it can't be grouped"
    yield from _strides(operator)


def _fully_connected(
    operator: OperatorRecord, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]
) -> _Faults:
    faults = list(_ranks(inputs, {1: 2}))
    yield from faults
    weights = _operand(inputs, 1)
    if not faults and weights is not None and -1 not in weights.signature:
        yield from _bias(_operand(inputs, 2), weights.shape[0])
        yield from _channels(outputs, weights.shape[0])


def _channels(outputs: Sequence[TensorRecord], channels: int) -> _Faults:
    for tensor in outputs[:1]:
        if tensor.signature and tensor.signature[-1] not in (-1, channels):
            yield "shape", f"declares {tensor.signature[-1]} output channels, and computes {channels}"


def _strides(operator: OperatorRecord) -> _Faults:
    for field in ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor"):
        if operator.options.get(field, 1) < 1:
            yield "options", f"{field} is {operator.options[field]}"


def _pool(
    operator: OperatorRecord, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]
) -> _Faults:
    yield from _ranks(inputs, {0: 4})
    yield from _strides(operator)
    for field in ("filter_height", "filter_width"):
        if operator.options.get(field, 1) < 1:
            yield "options", f"{field} is {operator.options[field]}"


def _cast(
    operator: OperatorRecord, inputs: Sequence[TensorRecord | None], outputs: Sequence[TensorRecord]
) -> _Faults:
    if len(inputs) != 1 or len(outputs) != 1:
        yield "operands", f"{len(inputs)} inputs and {len(outputs)} outputs"


_SPECIFIC: Mapping[
    str,
    Callable[[OperatorRecord, Sequence[TensorRecord | None], Sequence[TensorRecord]], _Faults],
] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _conv_2d,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "L2_POOL_2D": _pool,
    "CAST": _cast,
}
