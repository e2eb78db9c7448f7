"""Writes a model of the `tflite` dialect as a .tflite file.

The file is metadata first, weights last: the sizes of all weights are known without reading them, so
the metadata is built in memory with every offset in place, and the weights are then streamed behind
it, one tensor at a time and large ones in slices. Below `INLINE_LIMIT` the weights are FlatBuffer
vectors like in any .tflite file; above it the file uses `Buffer.offset` and `Buffer.size`, which only
LiteRT reads (OpenVINO and tf2onnx do not), since a FlatBuffer ends at 2 GiB.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import onnx_ir

from graphrewrite.errors import InternalError
from graphrewrite.ir import about, facets
from graphrewrite.targets.tflite.flatbuffer import UINT32, ForwardWriter, TableShape
from graphrewrite.targets.tflite.plan import (
    VARIABLE,
    OperatorPlan,
    Plan,
    SubgraphPlan,
    plan_model,
    tensor_type,
)
from graphrewrite.targets.tflite.schema_tables import OPERATOR_CODES, OptionsTable, SchemaError, options_table
from graphrewrite.targets.tflite.weights import write_tensor

INLINE_LIMIT = 1_900_000_000
"""Above this many bytes of weights, they lie behind the FlatBuffer instead of in it."""

SMALL = 4096
"""Constants up to this many bytes stay in the FlatBuffer even then: shape operands are read by tools
that never look at weights, and LiteRT takes an offset buffer of 1 byte for an empty one."""

ALIGNMENT = 16
"""Of the first byte of each constant, as TFLite's kernels and `force_align` in the schema ask."""

DESCRIPTION = "graphrewrite"
"""Of a model that has none of its own."""

# Fields by slot number, as in schema.fbs.
_MODEL = TableShape((0, "I"), (1, "I"), (2, "I"), (3, "I"), (4, "I"), (7, "I"))
_OPERATOR_CODE = TableShape((0, "b"), (2, "i"), (3, "i"))
_SUBGRAPH = TableShape((0, "I"), (1, "I"), (2, "I"), (3, "I"), (4, "I"))
_SIGNATURE = TableShape((0, "I"), (1, "I"), (2, "I"), (4, "I"))
_TENSOR_MAP = TableShape((0, "I"), (1, "I"))
_QUANTIZATION = TableShape((2, "I"), (3, "I"), (6, "i"))
_BUFFER_NONE = TableShape()
_BUFFER_INLINE = TableShape((0, "I"))
_BUFFER_BEHIND = TableShape((1, "Q"), (2, "Q"))
_OPERATOR = TableShape((0, "I"), (1, "I"), (2, "I"))
_OPERATOR_1 = TableShape((0, "I"), (1, "I"), (2, "I"), (3, "B"), (4, "I"))
_OPERATOR_2 = TableShape((0, "I"), (1, "I"), (2, "I"), (11, "B"), (12, "I"))
# Tensor: shape, type, buffer, name, [quantization], is_variable, [shape_signature], has_rank.
_TENSORS = {
    (quantized, dynamic): TableShape(
        (0, "I"),
        (1, "b"),
        (2, "I"),
        (3, "I"),
        (5, "?"),
        (8, "?"),
        *([(4, "I")] if quantized else []),
        *([(7, "I")] if dynamic else []),
    )
    for quantized in (False, True)
    for dynamic in (False, True)
}


@dataclass(frozen=True)
class EmitReport:
    """What was written.

    Attributes:
        path: the file.
        size: its bytes.
        weight_bytes: bytes of the constants among them.
        operators: number of operators by name, all subgraphs together.
        versions: the highest version stamped on each operator.
        tensors: number of tensors, all subgraphs together.
        subgraphs: number of subgraphs.
        weights_behind: the weights lie behind the FlatBuffer (see `INLINE_LIMIT`).
    """

    path: Path
    size: int
    weight_bytes: int
    operators: Mapping[str, int]
    versions: Mapping[str, int]
    tensors: int
    subgraphs: int
    weights_behind: bool


def write(
    model: onnx_ir.Model,
    path: str | os.PathLike[str],
    *,
    signature: str = "serving_default",
    inline_limit: int = INLINE_LIMIT,
) -> EmitReport:
    """Write `model` to `path`, atomically: on any failure, what was under `path` before is still there.

    Args:
        model: its main graph holds nodes of domain `tflite` only, topologically sorted, every value
            with a dtype. Symbolic dimensions become -1 in `shape_signature` and 1 in `shape`; a value
            without a shape becomes a tensor of unknown rank. Graphs in attributes (IF, WHILE,
            STABLEHLO_SCATTER, ...) become subgraphs and may use constants of outer graphs.
        path: the file to write.
        signature: key of the one signature; its names are those of the graph's inputs and outputs.
        inline_limit: bytes of weights above which they lie behind the FlatBuffer.

    Raises:
        InternalError: the graph breaks a rule of the dialect.
        OSError: the file can't be written.
    """
    path = Path(path)
    plan = plan_model(model.graph)
    behind = sum(plan.sizes) > inline_limit
    description = about(model).description or DESCRIPTION
    metadata, places = _Encoder(plan, signature, description, SMALL if behind else None).run()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(metadata)
        end = len(metadata)
        for place in places:
            file.write(bytes(place.position - end - len(place.prefix)) + place.prefix)
            value, size = plan.constants[place.constant], plan.sizes[place.constant]
            assert value.const_value is not None
            write_tensor(value.const_value, file)
            end = place.position + size
            if file.tell() != end:
                raise InternalError(f"the constant '{value.name}' is not {size} bytes long")
        file.flush()
        os.fsync(file.fileno())
    return EmitReport(
        path=path,
        size=end,
        weight_bytes=sum(plan.sizes),
        operators=dict(Counter(op.node.op_type for graph in plan.subgraphs for op in graph.operators)),
        versions=dict(sorted(plan.codes)),
        tensors=sum(len(graph.tensors) for graph in plan.subgraphs),
        subgraphs=len(plan.subgraphs),
        weights_behind=behind,
    )


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to `path` when the block ends well, deleted otherwise.

    For a file that must be loaded and compared before it may carry its final name:

        with replacing("model.tflite") as candidate:
            write(model, candidate)
            check(candidate)  # raises if the outputs differ
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Place:
    """Where a constant goes: its number in the plan, its first byte, and what precedes that byte."""

    constant: int
    position: int
    prefix: bytes


class _Encoder:
    """Turns a plan into the metadata bytes and the places of the constants, in file order.

    `inline` is the size up to which constants are FlatBuffer vectors, None for all of them.
    """

    def __init__(self, plan: Plan, signature: str, description: str, inline: int | None) -> None:
        self.plan = plan
        self.signature = signature
        self.description = description
        self.inline = [inline is None or size <= inline for size in plan.sizes]
        self.writer = ForwardWriter(b"TFL3")
        self.options: dict[object, tuple[OptionsTable | None, bytes]] = {}

    def run(self) -> tuple[bytearray, Sequence[_Place]]:
        writer, plan = self.writer, self.plan
        root = writer.table(_MODEL, [3, 0, 0, 0, 0, 0])
        at = {slot: root + place for slot, place in _MODEL.places.items()}
        elements = writer.vector_of(at[1], len(plan.codes))
        for element, (name, version) in zip(elements, plan.codes, strict=True):
            code = OPERATOR_CODES[name]
            writer.point(element, writer.table(_OPERATOR_CODE, [version, code, min(code, 127)]))
        elements = writer.vector_of(at[2], len(plan.subgraphs))
        for element, subgraph in zip(elements, plan.subgraphs, strict=True):
            writer.point(element, self._subgraph(subgraph))
        writer.share_string(at[3], self.description)
        (element,) = writer.vector_of(at[7], 1)
        writer.point(element, self._signature())
        buffers = self._buffers(at[4])
        places = self._place_constants(buffers, writer.place_shared())
        return writer.finish(root), places

    def _subgraph(self, subgraph: SubgraphPlan) -> int:
        writer = self.writer
        position = writer.table(_SUBGRAPH, [0, 0, 0, 0, 0])
        at = {slot: position + place for slot, place in _SUBGRAPH.places.items()}
        writer.share_int32s(at[1], subgraph.inputs)
        writer.share_int32s(at[2], subgraph.outputs)
        writer.share_string(at[4], subgraph.name)
        elements = writer.vector_of(at[0], len(subgraph.tensors))
        for index, (element, value) in enumerate(zip(elements, subgraph.tensors, strict=True)):
            writer.point(element, self._tensor(value, f"tensor_{index}"))
        elements = writer.vector_of(at[3], len(subgraph.operators))
        for element, operator in zip(elements, subgraph.operators, strict=True):
            writer.point(element, self._operator(operator))
        return position

    def _tensor(self, value: onnx_ir.Value, default_name: str) -> int:
        writer = self.writer
        shape = value.shape if value.const_value is None else value.const_value.shape
        sizes = [] if shape is None else [size if isinstance(size, int) else -1 for size in shape.dims]
        quant = facets.quant(value)
        table = _TENSORS[quant is not None, -1 in sizes]
        buffer = self.plan.buffers.get(value, 0)
        offsets = len(table.slots) - 6
        flags = [tensor_type(value), VARIABLE in value.meta, shape is not None]
        position = writer.table(table, [0, buffer, 0, *[0] * offsets, *flags])
        places = table.places
        writer.share_int32s(position + places[0], [1 if size < 0 else size for size in sizes])
        writer.share_string(position + places[3], value.name or default_name)
        if -1 in sizes:
            writer.share_int32s(position + places[7], sizes)
        if quant is not None:
            details = writer.table(_QUANTIZATION, [0, 0, quant.axis])
            writer.point(position + places[4], details)
            writer.share_float32s(details + _QUANTIZATION.places[2], quant.scale.reshape(-1))
            zero_points = [int(item) for item in quant.zero_point.reshape(-1)]
            writer.share_int64s(details + _QUANTIZATION.places[3], zero_points)
        return position

    def _operator(self, operator: OperatorPlan) -> int:
        writer = self.writer
        table, content = self._options(operator)
        if table is None:
            shape, position = _OPERATOR, writer.table(_OPERATOR, [operator.code, 0, 0])
        else:
            shape = _OPERATOR_1 if table.union == 1 else _OPERATOR_2
            position = writer.table(shape, [operator.code, 0, 0, 0, table.code])
            field = position + shape.places[4 if table.union == 1 else 12]
            writer.share(field, content, alignment=8, entry=UINT32.unpack_from(content)[0])
        writer.share_int32s(position + shape.places[1], operator.inputs)
        writer.share_int32s(position + shape.places[2], operator.outputs)
        return position

    def _options(self, operator: OperatorPlan) -> tuple[OptionsTable | None, bytes]:
        """The options table of an operator as a small FlatBuffer of its own, to be embedded."""
        node = operator.node
        values = {
            name: tuple(value) if isinstance(value, (list, tuple)) else value
            for name, value in operator.options.items()
        }
        key = (node.op_type, *sorted(values.items()))
        known = self.options.get(key)
        if known is not None:
            return known
        table = options_table(node.op_type)
        content = b""
        try:
            if table is not None:
                builder = flatbuffers.Builder(64)
                builder.Finish(table.build(values).Pack(builder))
                content = bytes(builder.Output())
            elif values:
                raise SchemaError(f"{node.op_type} has no options, but attributes {', '.join(values)}")
        except (SchemaError, TypeError, struct.error) as error:
            raise InternalError(f"{node.op_type} '{node.name}': {error}") from error
        self.options[key] = table, content
        return table, content

    def _signature(self) -> int:
        writer, main = self.writer, self.plan.subgraphs[0]
        position = writer.table(_SIGNATURE, [0, 0, 0, 0])
        at = {slot: position + place for slot, place in _SIGNATURE.places.items()}
        writer.share_string(at[2], self.signature)
        inputs = {main.tensors[index].name or "": index for index in main.inputs}
        # a value that is output twice is one name in the signature
        outputs = dict(zip(main.output_names, main.outputs, strict=True))
        for field, maps in ((at[0], inputs), (at[1], outputs)):
            for element, (name, index) in zip(writer.vector_of(field, len(maps)), maps.items(), strict=True):
                entry = writer.table(_TENSOR_MAP, [0, index])
                writer.share_string(entry + _TENSOR_MAP.places[0], name)
                writer.point(element, entry)
        return position

    def _buffers(self, field: int) -> Sequence[int]:
        """Write the buffer tables; returns the positions of those of the constants."""
        writer = self.writer
        elements = writer.vector_of(field, 1 + len(self.plan.constants))
        writer.point(elements[0], writer.table(_BUFFER_NONE, []))  # buffer 0: tensors without content
        positions = []
        for element, inline in zip(elements[1:], self.inline, strict=True):
            shape = _BUFFER_INLINE if inline else _BUFFER_BEHIND
            positions.append(writer.table(shape, [0] if inline else [0, 0]))
            writer.point(element, positions[-1])
        return positions

    def _place_constants(self, buffers: Sequence[int], end: int) -> Sequence[_Place]:
        """Lay out the constants from `end` on, those in the FlatBuffer first."""
        writer, places, cursor = self.writer, [], end
        order = sorted(range(len(buffers)), key=lambda constant: not self.inline[constant])
        for constant in order:
            buffer, size, inline = buffers[constant], self.plan.sizes[constant], self.inline[constant]
            prefix = UINT32.pack(size) if inline else b""
            position = -(-(cursor + len(prefix)) // ALIGNMENT) * ALIGNMENT
            if inline:
                writer.point(buffer + _BUFFER_INLINE.places[0], position - len(prefix))
            else:
                for slot, number in ((1, position), (2, size)):
                    struct.pack_into("<Q", writer.data, buffer + _BUFFER_BEHIND.places[slot], number)
            places.append(_Place(constant, position, prefix))
            cursor = position + size
        return places
