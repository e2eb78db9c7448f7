"""The version to stamp on a TFLite operator: the lowest whose kernel is required to do the job.

Runtimes register each operator up to some version and refuse a file with a higher one, so a version
too high locks out phones for nothing, and one too low promises what an old kernel cannot do. The
rules are those of TFLite's own converter (`op_version.cc` in LiteRT). Each line is a version and the
condition that needs it; the highest version whose condition holds wins.

What this interpreter registers is measured in `kernels.json`, and `tests/unit/test_tflite_emit.py`
compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir

from graphrewrite.ir import facets


@dataclass(frozen=True)
class _Signature:
    """What versions depend on. Dtypes are schema names, "" where an operand is absent."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    shapes: Sequence[tuple[object, ...]]
    attributes: Mapping[str, Any]
    node: onnx_ir.Node

    def input(self, index: int) -> str:
        return self.inputs[index] if index < len(self.inputs) else ""

    def rank(self, index: int) -> int:
        return len(self.shapes[index]) if index < len(self.shapes) else 0

    def quantized(self, index: int) -> bool:
        value = self.node.inputs[index]
        return value is not None and facets.quant(value) is not None

    def per_channel(self, index: int) -> bool:
        value = self.node.inputs[index]
        quant = None if value is None else facets.quant(value)
        return quant is not None and quant.scale.size > 1


_Condition = Callable[[_Signature], Any]
_Rules = Sequence[tuple[int, _Condition]]


def _input(index: int, *dtypes: str) -> _Condition:
    return lambda s: s.input(index) in dtypes


def _any(*dtypes: str) -> _Condition:
    return lambda s: any(dtype in dtypes for dtype in (*s.inputs, *s.outputs))


def _types(first: str, second: str, output: str) -> _Condition:
    return lambda s: s.input(0) == first and s.input(1) == second and output in s.outputs[:1]


def _option(name: str, *neutral: Any) -> _Condition:
    return lambda s: s.attributes.get(name, neutral[0] if neutral else 0) not in (neutral or (0, False))


def _rank_over(limit: int) -> _Condition:
    return lambda s: s.rank(0) > limit


def _broadcasts_over_4(s: _Signature) -> bool:
    return len(s.shapes) > 1 and s.shapes[0] != s.shapes[1] and max(map(len, s.shapes)) > 4


def _grouped(s: _Signature) -> bool:
    return s.rank(0) == 4 and s.rank(1) == 4 and s.shapes[0][3] != s.shapes[1][3]


def _by_dtype(index: int = 0, **versions: int) -> _Rules:
    """One version a dtype of one operand: `_by_dtype(int8=2, int16=3)`."""
    return [(version, _input(index, dtype.upper())) for dtype, version in versions.items()]


_HYBRID = _types("FLOAT32", "INT8", "FLOAT32")
_INT8 = _types("INT8", "INT8", "INT8")
_INT16 = _types("INT16", "INT16", "INT16")
_INT8_INT4 = _types("INT8", "INT4", "INT8")
_INT16_BY_INT8 = _types("INT16", "INT8", "INT16")
_WIDE_BIAS = _option("quantized_bias_type", 0, "FLOAT32")

_INT8_2 = _by_dtype(int8=2)
_INT8_2_INT16_3 = _by_dtype(int8=2, int16=3)
_RESIZE = _by_dtype(int8=2, int16=4)
_BLOCKS_ND: _Rules = [*_by_dtype(int8=2, int16=4), (3, lambda s: s.rank(0) != 4)]
_EXTREMA: _Rules = [*_by_dtype(int8=2, int16=4), (3, _broadcasts_over_4)]
_PADS: _Rules = [*_by_dtype(int8=2, int16=3, bool=5, float16=6), (4, _rank_over(4))]

_RULES: Mapping[str, _Rules] = {
    "ABS": [
        *_by_dtype(int8=2, uint8=2, int32=5),
        (3, lambda s: s.input(0) == "INT16" and s.quantized(0)),
        (4, lambda s: s.input(0) == "INT16" and not s.quantized(0)),
    ],
    "ADD": [
        *_by_dtype(int8=2, int64=4, float16=6),
        (3, lambda s: s.input(0) == "INT16" and not s.attributes.get("pot_scale_int16", True)),
        (5, lambda s: s.input(0) == "INT16" and not s.quantized(0)),
    ],
    "ARG_MAX": _by_dtype(int8=2, bool=3),
    "ARG_MIN": _by_dtype(int8=2, bool=3),
    "AVERAGE_POOL_2D": _INT8_2_INT16_3,
    "BATCH_MATMUL": [
        *_INT8_2_INT16_3,
        (4, lambda s: _HYBRID(s) and s.attributes.get("asymmetric_quantize_inputs", False)),
    ],
    "BATCH_TO_SPACE_ND": _BLOCKS_ND,
    "BROADCAST_TO": _by_dtype(int8=3, int16=3, float16=4),
    "CAST": [
        (2, _any("UINT32")),
        (3, _any("INT8")),
        (4, _any("UINT16")),
        (5, _any("FLOAT16", "FLOAT64")),
        (6, _any("INT4")),
        (7, _any("BFLOAT16")),
        (8, _any("UINT4", "INT2")),
    ],
    "CONCATENATION": _by_dtype(int8=2, int16=3, uint32=4, int4=5, float16=6),
    "CONV_2D": [
        (2, _HYBRID),
        (3, _INT8),
        (4, _INT16),
        (5, lambda s: _HYBRID(s) and s.per_channel(1)),
        (6, _grouped),
        (7, _INT8_INT4),
        (8, lambda s: _INT16_BY_INT8(s) and _WIDE_BIAS(s)),
    ],
    "COS": _by_dtype(float16=2),
    "DEPTHWISE_CONV_2D": [
        (2, _option("dilation_w_factor", 1)),
        (2, _option("dilation_h_factor", 1)),
        (3, _INT8),
        (4, _HYBRID),
        (5, _INT16),
        (6, lambda s: _HYBRID(s) and s.per_channel(1)),
        (7, _INT8_INT4),
    ],
    "DEPTH_TO_SPACE": _INT8_2,
    "DEQUANTIZE": [
        *_by_dtype(int8=2, int16=3, float16=3, int4=6, int2=7, uint4=8),
        (5, lambda s: s.input(0) == "INT8" and s.per_channel(0)),
    ],
    "DIV": [(2, _broadcasts_over_4)],
    "DYNAMIC_UPDATE_SLICE": [(2, _input(2, "INT64")), *_by_dtype(float16=3, int16=4, int4=5, bfloat16=6)],
    "EMBEDDING_LOOKUP": [(4, lambda s: s.input(1) == "INT4" or s.per_channel(1)), *_by_dtype(1, int2=5)],
    "EQUAL": _by_dtype(int8=2, int16=5),
    "EXP": _by_dtype(int8=2, int16=2),
    "FAKE_QUANT": [(2, _option("narrow_range"))],
    "FILL": _by_dtype(1, bool=2, int8=3, int16=3, float16=4),
    "FLOOR_DIV": _by_dtype(float32=2, int8=3, int16=3),
    "FLOOR_MOD": _by_dtype(int8=2, int16=2),
    "FULLY_CONNECTED": [
        (2, _option("weights_format", 0, "DEFAULT")),
        (3, _HYBRID),
        (4, _INT8),
        (5, _option("keep_num_dims")),
        (6, lambda s: len(s.inputs) == 2),
        (7, _INT16),
        (9, lambda s: _HYBRID(s) and s.attributes.get("asymmetric_quantize_inputs", False)),
        (10, _INT8_INT4),
        (11, lambda s: _INT16_BY_INT8(s) and _WIDE_BIAS(s)),
        (12, lambda s: _HYBRID(s) and s.per_channel(1)),
        (13, _types("INT16", "INT4", "INT16")),
        (14, _input(1, "INT2")),
    ],
    "GATHER": [
        *_by_dtype(int8=2, bool=3, int16=4, int4=7, float16=8),
        (5, _option("batch_dims")),
        (6, _input(1, "INT16")),
    ],
    "GATHER_ND": [*_by_dtype(int16=3, bool=5, float16=6), (4, _input(1, "INT16"))],
    "GELU": _by_dtype(int8=2, uint8=2, float16=3),
    "GREATER": _INT8_2,
    "GREATER_EQUAL": _INT8_2_INT16_3,
    "L2_NORMALIZATION": _INT8_2,
    "LEAKY_RELU": _by_dtype(int16=2),
    "LESS": _INT8_2_INT16_3,
    "LESS_EQUAL": _INT8_2,
    "LOG": _by_dtype(int8=2, int16=2),
    "LOGISTIC": _INT8_2_INT16_3,
    "LOG_SOFTMAX": _INT8_2,
    "MAXIMUM": _EXTREMA,
    "MAX_POOL_2D": _INT8_2_INT16_3,
    "MEAN": _INT8_2_INT16_3,
    "MINIMUM": _EXTREMA,
    "MIRROR_PAD": _INT8_2_INT16_3,
    "MUL": [
        *_by_dtype(int8=2, int64=5, complex64=6, uint32=7, float16=8),
        (4, _input(0, "INT16")),
        (7, lambda s: s.input(0) == "INT16" and not s.quantized(0)),
    ],
    "NOT_EQUAL": _by_dtype(int8=2, int16=4),
    "PACK": _by_dtype(int8=2, int16=3, uint32=4),
    "PAD": _PADS,
    "PADV2": _PADS,
    "QUANTIZE": [
        (2, lambda s: "INT16" in s.outputs),
        (3, lambda s: s.per_channel(0)),
        (4, _any("INT4")),
        (5, _any("UINT4")),
    ],
    "RANGE": _by_dtype(int64=2),
    "REDUCE_MAX": _INT8_2_INT16_3,
    "REDUCE_MIN": _INT8_2_INT16_3,
    "REDUCE_PROD": _by_dtype(int8=2, int16=2),
    "RELU": _by_dtype(int8=2, uint8=2, int16=3),
    "RELU6": _INT8_2_INT16_3,
    "RESIZE_BILINEAR": [*_RESIZE, (3, _option("half_pixel_centers"))],
    "RESIZE_NEAREST_NEIGHBOR": [
        *_RESIZE,
        (3, _option("half_pixel_centers")),
        (3, _option("align_corners")),
    ],
    "REVERSE_V2": _by_dtype(bool=2, int8=3, float16=4),
    "RSQRT": _INT8_2_INT16_3,
    "SELECT": [
        *_by_dtype(1, int8=2, uint32=4),
        (3, lambda s: any(len(shape) == 5 for shape in s.shapes)),
    ],
    "SELECT_V2": _by_dtype(1, uint32=2),
    "SIGN": _by_dtype(int32=2),
    "SIN": _by_dtype(float16=2),
    "SLICE": [*_by_dtype(int8=2, int16=4, uint32=6, int4=7, float16=8), (5, _rank_over(4))],
    "SOFTMAX": _by_dtype(int8=2, int16=3, float16=4),
    "SPACE_TO_BATCH_ND": _BLOCKS_ND,
    "SPACE_TO_DEPTH": _INT8_2,
    "SPARSE_TO_DENSE": _by_dtype(2, int64=2, int8=3, uint8=3),
    "SPLIT": _by_dtype(1, int8=2, int32=3, int16=4),
    "SPLIT_V": _INT8_2,
    "SQRT": _by_dtype(int8=2, int16=2),
    "SQUARED_DIFFERENCE": _INT8_2,
    "STRIDED_SLICE": [
        *_by_dtype(int8=2, bool=3, uint32=7),
        (4, _rank_over(4)),
        (6, _option("ellipsis_mask")),
        (6, _option("new_axis_mask")),
        (8, _option("offset")),
    ],
    "SUB": [
        *_by_dtype(int8=2, int64=4),
        (3, _broadcasts_over_4),
        (5, lambda s: s.input(0) == "INT16" and not s.attributes.get("pot_scale_int16", True)),
    ],
    "SUM": _INT8_2,
    "TANH": _INT8_2_INT16_3,
    "TILE": _by_dtype(int8=3),
    "TOPK_V2": [*_by_dtype(int8=2, int16=3), (3, lambda s: "INT16" in s.outputs[1:2])],
    "TRANSPOSE": [
        *_by_dtype(int8=2, bool=3, int16=5, int4=7, bfloat16=8, float16=9),
        (4, _rank_over(4)),
        (6, _rank_over(5)),
        (8, _rank_over(6)),
    ],
    "TRANSPOSE_CONV": [
        (2, _input(2, "INT8")),
        (3, lambda s: s.input(3) != ""),
        (4, _option("fused_activation_function", 0, "NONE")),
        (5, lambda s: s.input(2) == "INT16" and s.input(1) == "INT8" and _WIDE_BIAS(s)),
    ],
    "UNIDIRECTIONAL_SEQUENCE_LSTM": [
        (2, lambda s: s.input(0) == "FLOAT32" and s.input(2) == "INT8"),
        (4, _option("diagonal_recurrent_tensors")),
    ],
    "UNPACK": _by_dtype(int8=2, uint8=2, bool=3, int16=4, float16=5, bfloat16=5),
    "WHERE": [(2, lambda s: s.input(0) != "BOOL")],
}
_LOWEST: Mapping[str, int] = {"BROADCAST_TO": 2}


def operator_version(node: onnx_ir.Node) -> int:
    """The lowest operator version that covers `node`'s dtypes, ranks, options and quantisation.

    Args:
        node: a node of the `tflite` dialect with dtypes on its operands and results.
    """
    lowest = _LOWEST.get(node.op_type, 1)
    rules = _RULES.get(node.op_type)
    if rules is None:
        return lowest
    signature = _Signature(
        [_dtype(value) for value in node.inputs],
        [_dtype(value) for value in node.outputs],
        [() if value is None or value.shape is None else tuple(value.shape.dims) for value in node.inputs],
        {name: attribute.value for name, attribute in node.attributes.data.items()},
        node,
    )
    return max((version for version, condition in rules if condition(signature)), default=lowest)


def _dtype(value: onnx_ir.Value | None) -> str:
    if value is None or value.dtype is None:
        return ""
    return schema_dtype(value.dtype)


def schema_dtype(dtype: onnx_ir.DataType) -> str:
    """The schema's name of a dtype: "FLOAT32", "INT8", ..."""
    return _SCHEMA_DTYPES.get(dtype, dtype.name)


_SCHEMA_DTYPES: Mapping[onnx_ir.DataType, str] = {
    onnx_ir.DataType.FLOAT: "FLOAT32",
    onnx_ir.DataType.DOUBLE: "FLOAT64",
    onnx_ir.DataType.FLOAT8E4M3FN: "FLOAT8_E4M3FN",
    onnx_ir.DataType.FLOAT8E5M2: "FLOAT8_E5M2",
}
