"""Emits a model of the `mil` dialect as an ML Program, through coremltools' builder.

The graph is emitted op by op; none of coremltools' own passes runs: the graph is finished, and they cost time and rename
things. In half precision every float is float16 and is cast at the program's inputs and outputs, except where a node asks for
float32 (`ir.keeps_float`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphrewrite.errors import InternalError
from graphrewrite.ir import (
    Array,
    DataType,
    Graph,
    Model,
    Node,
    Value,
    about,
    constant_array,
    is_constant,
    keeps_float,
    quant,
    stores_half,
)
from graphrewrite.targets.coreml.availability import accepted_types, op_class
from graphrewrite.targets.coreml.builder import CARRIERS, MIL_NAMES
from graphrewrite.targets.coreml.classifier import CLASSIFY, LABEL, classified
from graphrewrite.targets.coreml.dialect import CARRY, DOMAIN, target_op
from graphrewrite.targets.coreml.flexible import FlexibleShape, flexible_shapes
from graphrewrite.targets.coreml.options import CoreMLOptions, deployment_target
from graphrewrite.targets.coreml.packed import packed_weights
from graphrewrite.targets.coreml.ports import Names, Port, port, scores_port

_FLOATS = (DataType.FLOAT, DataType.FLOAT16)
_SMALLEST = np.finfo(np.float16).smallest_subnormal


class Emitter:
    """Turns one graph into a pymil program, and keeps how its inputs and outputs appear there."""

    def __init__(self, options: CoreMLOptions) -> None:
        self.options = options
        self.target = deployment_target(options.minimum_deployment_target)
        self.half = options.precision == "fp16"
        self.names = Names()
        self.builder = _builder(self.names)
        self.operators: Counter[str] = Counter()
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.vars: dict[Value, Any] = {}
        self.constants: dict[tuple[Value, str], Any] = {}
        self.casts: dict[tuple[Any, str], Any] = {}
        self.symbols: dict[str, Any] = {}
        self.given: set[Any] = set()
        self.flexible: dict[int, FlexibleShape] = {}
        """Shapes of those inputs that have several, by position."""
        self.classes: tuple[str, ...] = ()
        self.label = self.scores = ""
        """The outputs of a classifier."""

    # -- the whole -----------------------------------------------------------------------------------------------------

    def program(self, model: Model) -> Any:
        """A coremltools Program with the function `main`."""
        import coremltools
        from coremltools.converters.mil.mil import Function, Program

        graph = model.graph
        self.names.keep(value.name or "" for value in (*graph.inputs, *graph.outputs))
        self.inputs = [
            port(value, self.names.unique(value.name or "input"), self.target) for value in graph.inputs
        ]
        self.outputs = [
            port(value, self.names.unique(value.name or "output"), self.target) for value in graph.outputs
        ]
        self.flexible = flexible_shapes(graph.inputs, self.target)
        self._name_classes(model)
        placeholders = {
            item.name: self._placeholder(item, value)
            for item, value in zip(self.inputs, graph.inputs, strict=True)
        }
        with Function(placeholders, opset_version=getattr(coremltools.target, self.target)) as function:
            for item, value in zip(self.inputs, graph.inputs, strict=True):
                self.vars[value] = self._received(item, value, function.inputs[item.name])
            self._nodes(graph)
            results = [
                self._given(item, self._operand(value))
                for item, value in zip(self.outputs, graph.outputs, strict=True)
            ]
            function.set_outputs(self._classified(results))
        program = Program()
        program.add_function("main", function)
        program.default_function_name = "main"
        return program

    def _name_classes(self, model: Model) -> None:
        """Make one output a dictionary, where the model has labels."""
        labels = about(model).labels
        if labels is None:
            return
        self.classes, self.label = labels.names, self.names.unique(LABEL)
        for index, value in enumerate(model.graph.outputs):
            if value.name == labels.output:
                self.outputs[index] = scores_port(self.outputs[index])
                self.scores = self.outputs[index].name

    def _classified(self, results: list[Any]) -> list[Any]:
        """The outputs of the program, with a classifier's in place of its scores."""
        if not self.label:
            return results
        index = next(index for index, item in enumerate(self.outputs) if item.scores)
        self.operators[CLASSIFY] += 1
        scores = results[index]
        scores.name = self.names.unique(f"{self.scores}_tensor")
        label, results[index] = classified(self.builder, scores, self.classes, self.label, self.scores)
        return [*results, label]

    def _placeholder(self, item: Port, value: Value) -> Any:
        dims = value.shape.dims if value.shape is not None else ()
        shape = [dim if isinstance(dim, int) else self._symbol(str(dim.value)) for dim in dims]
        return self.builder.placeholder(
            shape=[1] if item.scalar else shape, dtype=_builtin(MIL_NAMES[item.stored])
        )

    def _symbol(self, name: str) -> Any:
        from coremltools.converters.mil.mil import get_new_symbol

        if name not in self.symbols:
            self.symbols[name] = get_new_symbol()
        return self.symbols[name]

    def _received(self, item: Port, value: Value, var: Any) -> Any:
        """The placeholder as the graph's value: as scalar, as bool, in the precision of the program or of those who read it."""
        if item.scalar:
            var = self._op("squeeze", item.name, x=var, axes=[0])
        if item.dtype == DataType.BOOL:
            return self._op("cast", item.name, x=var, dtype="bool")
        half = self.half and item.dtype in _FLOATS and not any(keeps_float(use.node) for use in value.uses())
        return self._as(var, "fp16" if half else MIL_NAMES[_carrier(item.dtype)], item.name)

    def _given(self, item: Port, var: Any) -> Any:
        """A graph output in the type and under the name that it has in the file."""
        if item.scalar:
            var = self._op("expand_dims", item.source, x=var, axes=[0])
        if _dtype_name(var) != MIL_NAMES[item.stored]:
            var = self._op("cast", item.source, x=var, dtype=MIL_NAMES[item.stored])
        if var.op is None or var.op.op_type == "const" or var in self.given:
            var = self.builder.identity(x=var, name=item.name)
        var.name = item.name
        self.given.add(var)
        return var

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _nodes(self, graph: Graph) -> None:
        for node in graph:
            if node.domain != DOMAIN:
                raise InternalError(f"{node.domain}.{node.op_type} '{node.name}' is no op of the mil dialect")
            if node.op_type == CARRY:
                self.vars[node.outputs[0]] = self._operand(_only(node))
            elif node.op_type == "cast":
                self._cast(node)
            elif node.op_type in ("cond", "while_loop"):
                self._control_flow(node)
            else:
                self._node(node)

    def _cast(self, node: Node) -> None:
        """A cast to the type that the value has already is none: int64 and int32 are one, and so are floats in half precision."""
        source = self._operand(_only(node))
        wanted = node.attributes["dtype"].as_string()
        if self.half and wanted in ("fp32", "fp16") and not keeps_float(node):
            wanted = "fp16"
        self.vars[node.outputs[0]] = self._as(source, wanted, node.outputs[0].name or node.name or "cast")

    def _node(self, node: Node) -> None:
        entry = target_op(node.op_type)
        floating = self._precision(node)
        arguments: dict[str, Any] = {}
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            slot = entry.slot(index)
            if (node.op_type, slot) in _OWN and is_constant(value):
                var = self._own(value)
            else:
                var = self._operand(value, floating if index in entry.data_of(len(node.inputs)) else "")
            if entry.variadic and index >= len(entry.operands) - 1:
                arguments.setdefault(slot, []).append(var)
            else:
                arguments[slot] = var
        for name, attribute in node.attributes.items():
            arguments[name] = self._parameter(node, name, attribute.value, floating)
        result = self._op(node.op_type, node.outputs[0].name or node.op_type, **arguments)
        results = result if isinstance(result, list | tuple) else [result]
        self.vars.update(zip(node.outputs, results, strict=True))

    def _control_flow(self, node: Node) -> None:
        """cond and while_loop, whose blocks read outer values as their graphs do."""
        operands = [self._operand(value) for value in node.inputs if value is not None]
        if node.op_type == "cond":
            branches = {
                argument: self._branch(node.attributes[name].as_graph(), node)
                for argument, name in (("_true_fn", "then_branch"), ("_false_fn", "else_branch"))
            }
            result = self._op("cond", node.name or "cond", pred=operands[0], **branches)
        else:
            states = [
                self._as(var, self._boundary(value), value.name or "state")
                for var, value in zip(operands, node.outputs, strict=True)
            ]
            loop = {
                f"_{name}": self._branch(node.attributes[name].as_graph(), node if name == "body" else None)
                for name in ("cond", "body")
            }
            result = self._op("while_loop", node.name or "loop", loop_vars=tuple(states), **loop)
        results = result if isinstance(result, list | tuple) else [result]
        self.vars.update(zip(node.outputs, results, strict=True))

    def _branch(self, graph: Graph, node: Node | None) -> Callable[..., Any]:
        """A function that emits `graph` into the block that coremltools has open; its results fit the outputs of `node`."""

        def emit(*inputs: Any) -> Any:
            outer = self.constants, self.casts  # what is made inside a block is not seen outside of it
            self.constants, self.casts = dict(self.constants), dict(self.casts)
            self.vars.update(zip(graph.inputs, inputs, strict=True))
            self._nodes(graph)
            results = []
            for index, value in enumerate(graph.outputs):
                var = self._operand(value)
                if node is not None:
                    var = self._as(var, self._boundary(node.outputs[index]), value.name or "result")
                if var.op is None or var.op.op_type == "const" or var in results:
                    var = self._op("identity", value.name or "result", x=var)
                results.append(var)
            self.constants, self.casts = outer
            return results[0] if len(results) == 1 else tuple(results)

        return emit

    def _boundary(self, value: Value) -> str:
        """The type in which a value enters or leaves a block."""
        if value.dtype in _FLOATS:
            return "fp16" if self.half else MIL_NAMES[value.dtype]
        return MIL_NAMES[_carrier(value.dtype)]

    def _precision(self, node: Node) -> str:
        """The float type that `node` is computed in, "" where its operands have another type."""
        entry = target_op(node.op_type)
        first = next((i for i in entry.data_of(len(node.inputs)) if node.inputs[i] is not None), None)
        value = node.inputs[first] if first is not None else None
        if value is None or value.dtype not in _FLOATS:
            return ""
        if not self.half:
            return MIL_NAMES[value.dtype]
        accepted = accepted_types(node.op_type, entry.slot(first or 0), self.target)
        wide = keeps_float(node) or (accepted is not None and DataType.FLOAT16 not in accepted)
        return "fp32" if wide else "fp16"

    def _operand(self, value: Value, floating: str = "") -> Any:
        """The variable of `value`; floats as `floating`, where that is given."""
        if is_constant(value):
            default = "fp16" if self.half else MIL_NAMES[_carrier(value.dtype or DataType.FLOAT)]
            is_float = value.dtype in _FLOATS
            return self._constant(
                value, (floating or default) if is_float else MIL_NAMES[_carrier(value.dtype)]
            )
        var = self.vars[value]
        return self._as(var, floating, value.name or "value") if floating else var

    def _constant(self, value: Value, dtype: str) -> Any:
        known = self.constants.get((value, dtype))
        if known is None:
            array = constant_array(value)
            assert array is not None
            wanted = _NUMPY[dtype]
            known = self._quantized(value, array, dtype)
            if known is None and dtype == "fp32" and self.half and stores_half(value):
                known = self._widened(value, array)
            if known is None:
                content = array if array.dtype == wanted else _converted(array, wanted)
                scalar = content[()] if content.ndim == 0 else content
                known = self.builder.const(val=scalar, name=self.names.unique(value.name or "const"))
            self.constants[value, dtype] = known
        return known

    def _quantized(self, value: Value, array: Array, dtype: str) -> Any:
        """Weights that the source stores in 8 bits as an op that unpacks them; None where that would change them."""
        if quant(value) is None or op_class(_UNPACK, self.target) is None:
            return None
        packed = packed_weights(value, array, _NUMPY[dtype])
        return None if packed is None else self._op(_UNPACK, value.name or "weights", **packed)

    def _widened(self, value: Value, array: Array) -> Any:
        """Weights that are stored in float16 and loaded as float32; None where the target is too old for that."""
        if op_class(_WIDEN, self.target) is None:
            return None
        half = array.astype(np.float16)
        return self._op(_WIDEN, value.name or "weights", source_val=half, output_dtype="fp32")

    def _own(self, value: Value) -> Any:
        """A constant of its own for one operand, in the type that it has."""
        array = constant_array(value)
        assert array is not None
        content = array.copy() if array.ndim else array[()]
        return self.builder.const(val=content, name=self.names.unique(value.name or "const"))

    def _as(self, var: Any, dtype: str, name: str) -> Any:
        """`var` cast to a MIL type; itself where it is that, and one cast for all who want it."""
        if _dtype_name(var) == dtype:
            return var
        known = self.casts.get((var, dtype))
        if known is None:
            known = self.casts[var, dtype] = self._op("cast", f"{name}_{dtype}", x=var, dtype=dtype)
        return known

    def _op(self, op_type: str, name: str, **arguments: Any) -> Any:
        self.operators[op_type] += 1
        try:
            return getattr(self.builder, op_type)(name=self.names.unique(name), **arguments)
        except Exception as error:  # coremltools raises many types for arguments that are not legal
            raise InternalError(f"Core ML's {op_type} '{name}' can't be built: {error}") from error

    def _parameter(self, node: Node, name: str, value: Any, floating: str) -> Any:
        """An attribute in the type that the op wants: IR attributes know no bool, and floats are of the op's precision."""
        found = op_class(node.op_type, self.target)
        accepted = accepted_types(node.op_type, name, self.target)
        if found is None or name not in found.input_spec.input_types:
            raise InternalError(f"Core ML's {node.op_type} has no parameter '{name}' ({node.name})")
        if accepted is None or isinstance(value, str):
            return value
        if accepted == {DataType.BOOL}:
            return [bool(item) for item in value] if isinstance(value, Sequence) else bool(value)
        if isinstance(value, float):
            half = floating == "fp16" and DataType.FLOAT16 in accepted
            if half and name == "epsilon" and 0 < value < _SMALLEST:
                return _SMALLEST  # an epsilon that became 0 would make NaN of a row of equal elements
            return np.float16(value) if half else np.float32(value)
        if isinstance(value, Sequence):
            return [int(item) for item in value]
        return np.uint32(value) if accepted == {DataType.UINT32} else np.int32(value)


def _builder(names: Names) -> Any:
    """coremltools' builder; what it names itself is unique in the program, where its own counter is one of the process."""
    from coremltools.converters.mil import Builder

    named = classmethod(lambda cls, name: names.unique(name))
    return type("Builder", (Builder,), {"_get_free_name": named})


_UNPACK = "constexpr_affine_dequantize"
_WIDEN = "constexpr_cast"
_OWN = frozenset(
    {
        ("slice_by_index", "begin"),
        ("slice_by_index", "end"),
        ("quantize", "zero_point"),
        ("dequantize", "zero_point"),
    }
)
"""Operands whose constants no other reads: coremltools changes bounds in place (it counts negative ones from the front), and the
zero points are the one place where 8 bits are not widened."""
_NUMPY = {"bool": np.bool_, "fp16": np.float16, "fp32": np.float32, "int32": np.int32}


def _converted(array: Array, wanted: Any) -> Array:
    with np.errstate(over="ignore"):  # beyond float16's range: infinity, as a cast would give
        return array.astype(wanted)


def _carrier(dtype: DataType | None) -> DataType:
    found = dtype or DataType.FLOAT
    return CARRIERS.get(found, found)


def _builtin(name: str) -> Any:
    from coremltools.converters.mil.mil import types

    return types.string_to_builtin(name)


def _dtype_name(var: Any) -> str:
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(var.dtype))


def _only(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None
    return value
