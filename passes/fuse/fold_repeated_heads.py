"""Products with repeated matrices are products of more rows with each one."""

from __future__ import annotations

import dataclasses

import numpy as np

from graphrewrite.ir import DataType, Dim, Dims, Node, Value, constant_scalar, dims
from graphrewrite.pipeline import RewritePass, Stage
from graphrewrite.rewrite import Match, MatchFailure, Rewriter


@dataclasses.dataclass
class _Found(Match):
    """The right operand is `scale` times `x`, of which each matrix is repeated, and transposed where `swapped`."""

    repeats: int = 1
    swapped: bool = False
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class FoldRepeatedHeads(RewritePass):
    """Use each key and value head of grouped-query attention once, for the rows of all its queries.

        %e = Expand(%v:float[1,2,1,16,8], [1, 2, 4, 16, 8])      %a = Reshape(%q, [0, 2, -1, 16])
        %h = Reshape(%e, [1, 8, 16, 8])                    --->  %b = MatMul(%a, Reshape(%v, [1, 2, 16, 8]))
        %y = MatMul(%q:float[1,8,5,16], %h)                      %y = Reshape(%b, [0, 8, 5, -1])

    Wherever the copies are made of the last axis before the matrices, also where they are transposed, scaled by a number
    or given other leading dimensions afterwards. Rows and columns of the result may not both be unknown. Exact.
    """

    stage = Stage.FUSE
    after = ("tidy", "scale-smaller-operand")
    roots = ("MatMul",)

    def match(self, node: Node) -> Match:
        """What is repeated, as `x`."""
        a, b = node.inputs
        left, right, out = dims(a), dims(b), dims(node.outputs[0])
        if left is None or right is None or out is None or len(left) != len(right) or len(left) < 3:
            raise MatchFailure("the ranks are not known, or differ", node)
        heads = right[-3]
        known = None not in left[:-2] and isinstance(heads, int) and isinstance(left[-1], int)
        if left[:-2] != right[:-2] or not known:
            raise MatchFailure("the leading dimensions of the operands differ, or are not known", node)
        if not isinstance(out[-2], int) and not isinstance(out[-1], int):
            raise MatchFailure("neither rows nor columns of the result are known", node)
        if 0 in left or 0 in out:
            raise MatchFailure("the product is empty", node)
        found = _repeated(b)
        assert isinstance(heads, int)
        if heads % found.repeats:
            raise MatchFailure("the copies spread over several leading dimensions", b)
        once = _once(found, right)
        if _viewed(found["x"], once) is None and sum(not isinstance(dim, int) for dim in once) > 1:
            raise MatchFailure("two dimensions of the matrices are not known", b)
        return dataclasses.replace(found, root=node, nodes=(*found.nodes, node))

    def rewrite(self, match: Match, rewriter: Rewriter) -> Value:
        """The product with each matrix once."""
        assert isinstance(match, _Found)
        a, b = match.root.inputs
        left, right, out = dims(a), dims(b), dims(match.root.outputs[0])
        assert a is not None
        assert left is not None
        assert right is not None
        assert out is not None
        once = _once(match, right)
        x = _viewed(match["x"], once)
        if x is None:
            x = _reshaped(rewriter, match["x"], [dim if isinstance(dim, int) else -1 for dim in once])
        if match.swapped:
            order = list(range(len(right)))
            x = rewriter.op("Transpose", x, perm=[*order[:-2], order[-1], order[-2]])
        if match.scale != 1.0:
            dtype = (x.dtype or DataType.FLOAT).numpy()
            x = rewriter.op("Mul", x, rewriter.constant(np.asarray(match.scale, dtype)))
        kept = [0] * (len(left) - 3)
        rows = _reshaped(rewriter, a, [*kept, once[-3], -1, left[-1]])
        product = rewriter.op("MatMul", rows, x)
        ends = [out[-2], -1] if isinstance(out[-2], int) else [-1, out[-1]]
        return _reshaped(rewriter, product, [*kept, right[-3], *ends])


def _repeated(value: Value | None) -> _Found:
    """Walk from an operand up to the Expand that repeats matrices; everything between moves no matrix."""
    nodes: list[Node] = []
    swapped, scale = False, 1.0
    while value is not None:
        node = value.producer()
        if node is None or node.domain != "":
            break
        nodes.append(node)
        x = node.inputs[0]
        before, after = dims(x), dims(value)
        if before is None or after is None:
            break
        if node.op_type == "Expand":
            if (
                len(before) != len(after)
                or len(before) < 3
                or before[-3] != 1
                or not isinstance(after[-3], int)
            ):
                break
            if before[:-3] != after[:-3] or before[-2:] != after[-2:] or None in before or after[-3] == 1:
                break
            return _Found(node, {"x": x}, {}, tuple(nodes), after[-3], swapped, scale)
        if node.op_type in ("Mul", "Div"):
            number = constant_scalar(node.inputs[1])
            if number is None or number == 0 or len(before) != len(after):
                break
            scale = scale * number if node.op_type == "Mul" else scale / number
        elif node.op_type == "Transpose":
            perm = node.attributes.get_ints("perm", None)
            order = list(range(len(before)))
            if perm is None or list(perm[:-2]) != order[:-2]:
                break
            swapped ^= list(perm) != order
        elif (
            node.op_type not in ("Reshape", "Squeeze", "Unsqueeze")
            or before[-2:] != after[-2:]
            or None in after
        ):
            break
        value = x
    raise MatchFailure("the right operand is not repeated", value)


def _once(found: _Found, right: Dims) -> Dims:
    """The shape of the matrices without copies, as they are before they are transposed."""
    heads = right[-3]
    assert isinstance(heads, int)
    matrix = (right[-1], right[-2]) if found.swapped else right[-2:]
    return (*right[:-3], heads // found.repeats, *matrix)


def _viewed(x: Value, shape: Dims) -> Value | None:
    """`x`, or what it is a view of, where that has the shape."""
    node = x.producer()
    if node is not None and node.domain == "" and node.op_type in ("Reshape", "Unsqueeze"):
        inner = node.inputs[0]
        return inner if inner is not None and dims(inner) == shape and None not in shape else None
    return None


def _reshaped(rewriter: Rewriter, x: Value, shape: list[Dim]) -> Value:
    return rewriter.op("Reshape", x, rewriter.constant(np.array(shape, np.int64)))
