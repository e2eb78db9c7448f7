"""What MIL ops take, by operator set: read from coremltools' own registry."""

from __future__ import annotations

import functools
from typing import Any

from graphrewrite.ir import DataType
from graphrewrite.targets.coreml.options import DEPLOYMENT_TARGETS

_DTYPES = {
    "bool": DataType.BOOL,
    "fp16": DataType.FLOAT16,
    "fp32": DataType.FLOAT,
    "int8": DataType.INT8,
    "uint8": DataType.UINT8,
    "int16": DataType.INT16,
    "uint16": DataType.UINT16,
    "int32": DataType.INT32,
    "uint32": DataType.UINT32,
}


@functools.cache
def op_class(name: str, target: str) -> Any:
    """coremltools' class of an op in the operator set of `target`, None where that has no such op."""
    import coremltools
    import coremltools.converters.mil.mil.ops.defs
    from coremltools.converters.mil.mil.ops.helper import _get_version_of_op
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    versions = SSAOpRegistry.core_ops.get(name)
    if versions is None:
        return None
    try:
        return _get_version_of_op(versions, getattr(coremltools.target, target))
    except ValueError:  # none is as old as that
        return None


def available_from(name: str) -> str | None:
    """The oldest deployment target that has the op, None where none has."""
    return next((target for target in DEPLOYMENT_TARGETS if op_class(name, target) is not None), None)


@functools.cache
def accepted_types(name: str, operand: str, target: str) -> frozenset[DataType] | None:
    """Element types that an operand may have; None where the registry does not restrict them."""
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.input_type import TensorInputType

    found = op_class(name, target)
    spec = found.input_spec.input_types.get(operand) if found is not None else None
    if not isinstance(spec, TensorInputType):
        return None
    if spec.type_domain_id is not None:
        domain = found.type_domains[spec.type_domain_id]
    else:
        domain = spec.type_domain
    names = (types.builtin_to_string(item) for item in domain)
    return frozenset(_DTYPES[item] for item in names if item in _DTYPES)


def is_compile_time(name: str, operand: str, target: str) -> bool:
    """True where the operand must be a constant."""
    found = op_class(name, target)
    spec = found.input_spec.input_types.get(operand) if found is not None else None
    return spec is not None and bool(spec.const)
