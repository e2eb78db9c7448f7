"""DFT and STFT as products with constant cosines and sines; windows and mel weights are constants where their sizes are."""

from __future__ import annotations

import numpy as np

from graphrewrite.ir import Array, Value, constant_array
from graphrewrite.registry import Onnx, OpNode, expansion, refusal

_BASIS_BYTES = 32 << 20
"""Largest basis that is written into a file: a one-sided transform of 2,800 samples."""


def _basis(length: int, bins: int, *, used: int, components: int, inverse: bool, real: bool) -> Array:
    """[used * components, bins * (1 or 2)]: what turns `used` samples of `length` into `bins`, components interleaved."""
    angle = 2 * np.pi / length * (np.outer(np.arange(used), np.arange(bins)) % length)
    cosine, sine = np.cos(angle), np.sin(angle)
    if not inverse:
        sine = -sine
    else:
        cosine, sine = cosine / length, sine / length
    full = np.zeros((used, components, bins, 2))
    full[:, 0, :, 0], full[:, 0, :, 1] = cosine, sine
    if components == 2:
        full[:, 1, :, 0], full[:, 1, :, 1] = -sine, cosine
    if real:
        full = full[..., :1]
    return full.reshape(used * components, -1)


def _mirrored(length: int, used: int) -> Array:
    """[2 * used, length]: the real signal that a one-sided spectrum stands for; middle bins count twice."""
    basis = _basis(length, length, used=used, components=2, inverse=True, real=True)
    weight = np.full(used, 2.0)
    weight[0] = 1.0
    if length % 2 == 0 and used > length // 2:
        weight[length // 2] = 1.0
    scaled: Array = basis * np.repeat(weight, 2)[:, None]
    return scaled


def _scalar(node: OpNode, index: int, what: str) -> int:
    content = node.ints(index)
    if not content:
        node.refuse(
            f"{what} is known only at run time, and the transform is a constant matrix", "make it a constant"
        )
    return content[0]


@expansion("DFT")
def dft(node: OpNode, b: Onnx) -> Value:
    """The axis and the components are flattened to one, which is multiplied by the basis."""
    x, rank = node.input(0), node.rank()
    axis = (_scalar(node, 2, "the axis") if node.has(2) else -2) % rank
    known = node.dims()
    samples, components = known[axis], known[-1]
    if not isinstance(samples, int) or not isinstance(components, int):
        node.refuse("the length of the signal is known only at run time", "fix it with --shape")
    inverse, onesided = bool(node.attr("inverse")), bool(node.attr("onesided"))
    default = 2 * (samples - 1) if inverse and onesided else samples
    length = _scalar(node, 1, "the transform's length") if node.has(1) else default
    if inverse and onesided:
        used = min(samples, length // 2 + 1)
        bins, parts = length, 1
        basis = _mirrored(length, used)
    else:
        used = min(samples, length)
        bins, parts = (length // 2 + 1, 2) if onesided else (length, 2)
        basis = _basis(length, bins, used=used, components=components, inverse=inverse, real=False)
    _check_size(node, basis)
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    turned = b.op("Transpose", x, perm=order)
    if used < samples:
        turned = b.op("Slice", turned, b.i64([0]), b.i64([used]), b.i64([-2]))
    keep = [0] * (rank - 2)
    flat = b.reshape(turned, [*keep, used * components])
    y = b.reshape(b.op("MatMul", flat, b.like(basis, x)), [*keep, bins, parts])
    return b.op("Transpose", y, perm=[order.index(i) for i in range(rank)])


def _check_size(node: OpNode, basis: Array) -> None:
    if basis.size * 4 > _BASIS_BYTES:
        node.refuse(
            f"as a constant matrix the transform would take {basis.size * 4 >> 20} MB",
            "shorten it, or move it out of the model: TFLite has no kernel for it",
        )


@expansion("STFT")
def stft(node: OpNode, b: Onnx) -> Value:
    """A convolution along the signal, whose filters are the basis times the window."""
    x, known = node.input(0), node.dims()
    step = _scalar(node, 1, "the step between frames")
    if len(known) == 2:
        x, components = b.op("Unsqueeze", x, b.i64([-1])), 1
    else:
        given = known[2]
        if not isinstance(given, int):
            node.refuse(
                "whether the signal is complex is known only at run time", "fix its shape with --shape"
            )
        components = given
    window = node.optional(2)
    length = _frame_length(node, window)
    onesided = bool(node.attr("onesided"))
    bins = length // 2 + 1 if onesided and components == 1 else length
    basis = _basis(length, bins, used=length, components=components, inverse=False, real=False)
    _check_size(node, basis)
    filters = basis.reshape(length, components, 2 * bins).transpose(2, 1, 0)
    content = constant_array(window)
    weights = b.like(filters if content is None else filters * content, x)
    if window is not None and content is None:
        weights = b.op("Mul", weights, window)
    frames = b.op("Conv", b.op("Transpose", x, perm=[0, 2, 1]), weights, strides=[step])
    return b.reshape(b.op("Transpose", frames, perm=[0, 2, 1]), [0, 0, bins, 2])


def _frame_length(node: OpNode, window: Value | None) -> int:
    if node.has(3):
        return _scalar(node, 3, "the length of a frame")
    found = node.dims(2)[0] if window is not None else node.dims()[1]
    if not isinstance(found, int):
        node.refuse("the length of a frame is known only at run time", "make it a constant")
    return found


@expansion("MelWeightMatrix")
def mel_weight_matrix(node: OpNode, b: Onnx) -> Value:
    """Folded where its operands are constants, as they are in every model that was traced."""
    node.refuse("its sizes are computed at run time", "make the operands constants")


refusal(
    "tflite",
    ["TfIdfVectorizer", "StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "LabelEncoder"],
    "TFLite has no kernels for text",
    "do this step before the model, and feed it numbers",
)
refusal(
    "tflite", "ImageDecoder", "TFLite has no kernel that decodes images", "decode the image before the model"
)
