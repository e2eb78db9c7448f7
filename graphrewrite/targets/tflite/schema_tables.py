"""Names of the TFLite schema: operators, their options tables, and the fields of those tables.

The `tflite` dialect spells everything as the schema file (`schema.fbs`) does: operators in
`UPPER_CASE`, option fields in `snake_case`, enum values by name. This module is the one place that
knows how those spellings map onto LiteRT's generated Python module, so that the emitter, the
validator and the kernel probe stay free of per-operator code.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

Attribute = bool | int | float | str | Sequence[int]
"""What an option field may hold in the `tflite` dialect."""


def _enum(cls: type) -> dict[str, int]:
    return {name: value for name, value in vars(cls).items() if not name.startswith("_")}


OPERATOR_CODES: Mapping[str, int] = _enum(schema.BuiltinOperator)
OPERATOR_NAMES: Mapping[int, str] = {code: name for name, code in OPERATOR_CODES.items()}
TENSOR_TYPES: Mapping[str, int] = _enum(schema.TensorType)
TENSOR_TYPE_NAMES: Mapping[int, str] = {code: name for name, code in TENSOR_TYPES.items()}

_OPTIONS_1: Mapping[str, int] = _enum(schema.BuiltinOptions)
_OPTIONS_2: Mapping[str, int] = _enum(schema.BuiltinOptions2)
OPTIONS_NAMES: Mapping[int, Mapping[int, str]] = {
    union: {code: name for name, code in codes.items()} for union, codes in ((1, _OPTIONS_1), (2, _OPTIONS_2))
}
"""Options table names by union (1 or 2) and number in it."""

# Operators whose options table is not their own name in CamelCase. Capitalisation alone
# (CONV_2D -> Conv2DOptions) is found by a case-insensitive match and needs no line here.
_SHARED_TABLES: Mapping[str, str] = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "MULTINOMIAL": "RandomOptions",
}

# Fields that hold an enum, by field name; `type` only occurs in LSHProjectionOptions.
_FIELD_ENUMS: Mapping[str, Mapping[str, int]] = {
    "fused_activation_function": _enum(schema.ActivationFunctionType),
    "padding": _enum(schema.Padding),
    "in_data_type": TENSOR_TYPES,
    "out_data_type": TENSOR_TYPES,
    "out_type": TENSOR_TYPES,
    "idx_out_type": TENSOR_TYPES,
    "output_type": TENSOR_TYPES,
    "quantized_bias_type": TENSOR_TYPES,
    "key_dtype": TENSOR_TYPES,
    "value_dtype": TENSOR_TYPES,
    "mode": _enum(schema.MirrorPadMode),
    "weights_format": _enum(schema.FullyConnectedOptionsWeightsFormat),
    "kernel_type": _enum(schema.LSTMKernelType),
    "combiner": _enum(schema.CombinerType),
    "reduce_function": _enum(schema.ReduceWindowFunction),
    "comparison_direction": _enum(schema.StablehloComparisonDirection),
    "compare_type": _enum(schema.StablehloComparisonType),
    "algorithm": _enum(schema.RngAlgorithm),
    "type": _enum(schema.LSHProjectionType),
}

# Where the schema's default would be a trap (a stride of 0 is refused, a beta of 0 is a flat
# softmax), an absent attribute means the neutral value instead.
_NEUTRAL: Mapping[str, Attribute] = {
    "stride_d": 1,
    "stride_h": 1,
    "stride_w": 1,
    "depth_multiplier": 1,
    "beta": 1.0,
    "block_size": 1,
}


class SchemaError(ValueError):
    """An operator, attribute or attribute value that the schema does not have."""


@dataclass(frozen=True)
class OptionsTable:
    """The options table of one operator.

    Attributes:
        name: the table's name in the schema, `Conv2DOptions`.
        union: 1 if it is a member of `BuiltinOptions`, 2 of `BuiltinOptions2`.
        code: its number in that union.
        fields: the schema's field names and the member of the generated object that holds each.
    """

    name: str
    union: int
    code: int
    fields: Mapping[str, str]

    def build(self, attributes: Mapping[str, Attribute]) -> Any:
        """The generated options object with `attributes` set and the rest at neutral values.

        Args:
            attributes: values by field name; enums by value name or number.

        Raises:
            SchemaError: for a field the table lacks, or a value its enum lacks.
        """
        options = getattr(schema, self.name + "T")()
        for field, value in {**_NEUTRAL, **attributes}.items():
            member = self.fields.get(field)
            if member is None:
                if field in attributes:
                    known = ", ".join(self.fields) or "no fields"
                    raise SchemaError(f"{self.name} has no field {field!r}; it has {known}")
                continue
            setattr(options, member, self._encode(field, value))
        return options

    def _encode(self, field: str, value: Attribute) -> Any:
        enum = _FIELD_ENUMS.get(field)
        if isinstance(value, bytes):
            value = value.decode()
        if isinstance(value, str) and enum is not None:
            if value not in enum:
                raise SchemaError(f"{self.name}.{field} has no value {value!r}; it has {', '.join(enum)}")
            return enum[value]
        if isinstance(value, (str, bool, int, float)):
            return value
        return [int(item) for item in value]


def _snake(member: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", member).lower()


def _camel_lower(operator: str) -> str:
    return operator.replace("_", "").lower() + "options"


_BY_FOLDED_NAME: Mapping[str, str] = {name.lower(): name for name in (*_OPTIONS_1, *_OPTIONS_2)}


@functools.cache
def options_table(operator: str) -> OptionsTable | None:
    """The options table of `operator`, or None for an operator that has none (FLOOR, RELU, ...).

    Args:
        operator: a name of the schema's `BuiltinOperator`, such as "CONV_2D".

    Raises:
        SchemaError: the schema has no such operator.
    """
    if operator not in OPERATOR_CODES:
        raise SchemaError(f"the TFLite schema has no operator {operator!r}")
    name = _SHARED_TABLES.get(operator) or _BY_FOLDED_NAME.get(_camel_lower(operator))
    if name is None:
        return None
    union, codes = (1, _OPTIONS_1) if name in _OPTIONS_1 else (2, _OPTIONS_2)
    return OptionsTable(name, union, codes[name], option_fields(name))


@functools.cache
def option_fields(table: str) -> Mapping[str, str]:
    """The fields of an options table: the schema's names and the generated object's members.

    Args:
        table: name of the table, such as "Conv2DOptions".
    """
    return {_snake(member): member for member in vars(getattr(schema, table + "T")())}
