"""The graph: a thin facade over onnx_ir. Everything else in graphrewrite imports the IR from here."""

from __future__ import annotations

from onnx_ir import (
    Attr,
    AttributeType,
    DataType,
    Graph,
    LazyTensor,
    Model,
    Node,
    Shape,
    Tensor,
    TensorType,
    Value,
)

from graphrewrite.ir.constants import Array, constant_array, constant_ints, constant_scalar, is_constant
from graphrewrite.ir.dimensions import DimensionRange, dimension_ranges, set_dimension_ranges
from graphrewrite.ir.evaluate import evaluate, is_pure
from graphrewrite.ir.facets import (
    Layout,
    Quant,
    keep_float,
    keeps_float,
    layout,
    origin,
    quant,
    set_layout,
    set_origin,
    source_name,
)
from graphrewrite.ir.infer import ShapeConflict, infer_graph, infer_node, refine, schema
from graphrewrite.ir.io import Source, load, save, to_runnable_proto
from graphrewrite.ir.meaning import OPSET, Body, BodyBuilder, has_meaning, meaning_of, register_meaning
from graphrewrite.ir.printer import graph_lines, node_line, operand, value_type
from graphrewrite.ir.shapes import Dim, Dims, dims, rank, shape_data, static_dims
from graphrewrite.ir.type_protos import type_proto
from graphrewrite.ir.uses import is_used, sole_reader, use_count
from graphrewrite.ir.verifier import fingerprint, verify
from graphrewrite.ir.walk import all_graphs, all_nodes, bodies

__all__ = [
    "OPSET",
    "Array",
    "Attr",
    "AttributeType",
    "Body",
    "BodyBuilder",
    "DataType",
    "Dim",
    "DimensionRange",
    "Dims",
    "Graph",
    "Layout",
    "LazyTensor",
    "Model",
    "Node",
    "Quant",
    "Shape",
    "ShapeConflict",
    "Source",
    "Tensor",
    "TensorType",
    "Value",
    "all_graphs",
    "all_nodes",
    "bodies",
    "constant_array",
    "constant_ints",
    "constant_scalar",
    "dimension_ranges",
    "dims",
    "evaluate",
    "fingerprint",
    "graph_lines",
    "has_meaning",
    "infer_graph",
    "infer_node",
    "is_constant",
    "is_pure",
    "is_used",
    "keep_float",
    "keeps_float",
    "layout",
    "load",
    "meaning_of",
    "node_line",
    "operand",
    "origin",
    "quant",
    "rank",
    "refine",
    "register_meaning",
    "save",
    "schema",
    "set_dimension_ranges",
    "set_layout",
    "set_origin",
    "shape_data",
    "sole_reader",
    "source_name",
    "static_dims",
    "to_runnable_proto",
    "type_proto",
    "use_count",
    "value_type",
    "verify",
]
