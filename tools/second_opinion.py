"""What a saved `.mlpackage` computes, by coremltools: its own reader of the file, and op by op its own `value_inference`.

Shares nothing with the evaluator of `graphrewrite.targets.coreml`. Ops that coremltools can't compute (windows, norms, resizing)
are computed here in numpy, in double precision, from MIL's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class NoOpinion(Exception):
    """coremltools refuses the file, or nobody here knows the op."""


class SecondOpinion:
    """A loaded package. Call it with arrays by input name in the file; it returns arrays by output name.

    Raises:
        NoOpinion: coremltools refuses the file, or, when it is called, nobody here knows an op.
    """

    def __init__(self, path: Path) -> None:
        self._function = _loaded(path).functions["main"]

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs for one set of inputs."""
        function = self._function
        known: dict[Any, Any] = {var: np.asarray(inputs[name]) for name, var in function.inputs.items()}
        for operation in function.operations:
            if operation.op_type == "const" or all(var.val is not None for var in operation.outputs):
                known.update((var, var.val) for var in operation.outputs)
                continue
            operands = {slot: item for slot, item in operation.inputs.items() if item is not None}
            given = {slot: _given(item, known) for slot, item in operands.items()}
            results = _computed(operation, given, function.opset_version)
            known.update(zip(operation.outputs, results, strict=True))
        return {var.name: np.asarray(known[var]) for var in function.outputs}


def _loaded(path: Path) -> Any:
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        spec = coremltools.utils.load_spec(str(path))
        (weights,) = path.rglob("weights")
        program = load(spec, spec.specificationVersion, str(weights))
        described = [item.name for item in spec.description.output]
        if described != [var.name for var in program.functions["main"].outputs]:
            raise ValueError(f"the description's outputs are {described}")
    except Exception as error:  # each of coremltools' types means that it refuses the file
        raise NoOpinion(f"coremltools does not read it: {error}") from error
    return program


def _given(argument: Any, known: Mapping[Any, Any]) -> Any:
    if isinstance(argument, list | tuple):
        return [_given(item, known) for item in argument]
    return known.get(argument, argument.val)


def _computed(operation: Any, given: dict[str, Any], opset: Any) -> Sequence[Any]:
    with np.errstate(all="ignore"):
        if operation.op_type in _FORMULAS:
            dtype = operation.outputs[0].dtype
            result = _FORMULAS[operation.op_type](**given)
            return [result.astype(np.float16 if "16" in dtype.__name__ else np.float32)]
        return _inferred(operation.op_type, given, opset)


def _inferred(op_type: str, given: dict[str, Any], opset: Any) -> Sequence[Any]:
    """Build the op on constants, and read what coremltools makes of it."""
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, types

    placeholder = {"unused": Builder.placeholder(shape=(1,), dtype=types.fp32)}
    try:
        with Function(placeholder, opset_version=opset):
            result = getattr(Builder, op_type)(
                **{slot: _constant(Builder, item) for slot, item in given.items()}
            )
            results = result if isinstance(result, list | tuple) else [result]
            values = [item.val for item in results]
    except Exception as error:
        raise NoOpinion(f"coremltools does not build {op_type}: {error}") from error
    if any(item is None for item in values):
        raise NoOpinion(f"coremltools has no formula for {op_type}")
    return values


def _constant(builder: Any, content: Any) -> Any:
    if isinstance(content, list):
        return tuple(_constant(builder, item) for item in content)
    if isinstance(content, bool | np.bool_):
        return builder.const(val=bool(content))  # as a Python object: numpy's is no index
    return builder.const(
        val=content if isinstance(content, str) or np.ndim(content) else np.asarray(content)[()]
    )


# -- what coremltools has no formula for -------------------------------------------------------------------------------


def _pairs(kind: str, pad: Any, sizes: Any, reach: Sequence[int], strides: Any) -> list[tuple[int, int]]:
    """(before, after) of each axis; `reach` is how far a window spans."""
    if kind == "valid":
        return [(0, 0)] * len(reach)
    if kind == "custom":
        return [(int(a), int(z)) for a, z in zip(pad[::2], pad[1::2], strict=True)]
    totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(sizes, strides, reach)]
    small = [(total // 2, total - total // 2) for total in totals]
    return [(z, a) for a, z in small] if kind == "same_lower" else small


def _windows(x: Array, reach: Sequence[int], strides: Any) -> Array:
    """[N, C, out..., reach...]"""
    found = np.lib.stride_tricks.sliding_window_view(x, tuple(reach), tuple(range(2, x.ndim)))
    return found[(slice(None), slice(None), *(slice(None, None, int(step)) for step in strides))]


def _channels(value: Array, rank: int) -> Array:
    return np.asarray(value, np.float64).reshape(1, -1, *[1] * (rank - 2))


def _conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: int = 1,
    name: str = "",
) -> Array:
    taps = weight.shape[2:]
    strides = [1] * len(taps) if strides is None else strides
    dilations = [1] * len(taps) if dilations is None else dilations
    reach = [(count - 1) * int(step) + 1 for count, step in zip(taps, dilations)]
    pairs = _pairs(pad_type, pad, x.shape[2:], reach, strides)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pairs])
    view = _windows(padded, reach, strides)[(..., *(slice(None, None, int(step)) for step in dilations))]
    count, spatial = int(groups), view.shape[2 : 2 + len(taps)]
    view = view.reshape(x.shape[0], count, -1, *view.shape[2:])
    kernel = weight.astype(np.float64).reshape(count, -1, *weight.shape[1:])
    parts = []
    for group in range(count):
        axes = [1, *range(2 + len(taps), 2 + 2 * len(taps))]
        part = np.tensordot(view[:, group], kernel[group], (axes, list(range(1, kernel.ndim - 1))))
        parts.append(np.moveaxis(part, -1, 1))
    y = np.concatenate(parts, 1).reshape(x.shape[0], weight.shape[0], *spatial)
    return y if bias is None else y + _channels(bias, y.ndim)


def _conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Any = None,
    pad_type: str = "valid",
    pad: Any = None,
    dilations: Any = None,
    groups: int = 1,
    output_shape: Any = None,
    name: str = "",
) -> Array:
    """A convolution of x with zeros between its elements and the kernel turned round."""
    if pad_type == "same_lower" or output_shape is not None:
        raise NoOpinion("conv_transpose with same_lower or an output_shape")
    taps, count = weight.shape[2:], int(groups)
    strides = [1] * len(taps) if strides is None else strides
    dilations = [1] * len(taps) if dilations is None else dilations
    apart = np.zeros((*x.shape[:2], *((n - 1) * int(s) + 1 for n, s in zip(x.shape[2:], strides))))
    apart[(slice(None), slice(None), *(slice(None, None, int(step)) for step in strides))] = x
    turned = np.flip(weight, tuple(range(2, weight.ndim)))
    per_in, per_out = x.shape[1] // count, weight.shape[1]
    kernel = turned.reshape(count, per_in, per_out, *taps).swapaxes(1, 2).reshape(-1, per_in, *taps)
    around = [(size - 1) * int(step) for size, step in zip(taps, dilations)]
    edges = [item for size in around for item in (size, size)]
    y = _conv(apart, kernel, bias, pad_type="custom", pad=edges, dilations=dilations, groups=count)
    cuts = [0] * (2 * len(taps)) if pad_type == "valid" or pad is None else [int(item) for item in pad]
    if pad_type == "same":  # what makes the output `stride` times as large
        over = [size + 1 - int(step) for size, step in zip(around, strides)]
        if min(over) < 0:
            raise NoOpinion("conv_transpose with same and gaps between its windows")
        cuts = [item for total in over for item in (total // 2, total - total // 2)]
    ends = [slice(a, size - z) for a, z, size in zip(cuts[::2], cuts[1::2], y.shape[2:])]
    return y[(slice(None), slice(None), *ends)]


def _pool(x: Array, given: Mapping[str, Any], fill: float) -> Array:
    if given.get("ceil_mode"):
        raise NoOpinion("a pool with ceil_mode")
    taps = [int(count) for count in given["kernel_sizes"]]
    strides = given.get("strides") if given.get("strides") is not None else [1] * len(taps)
    pairs = _pairs(str(given["pad_type"]), given.get("pad"), x.shape[2:], taps, strides)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pairs], constant_values=fill)
    return _windows(padded, taps, strides)


def _max_pool(x: Array, **given: Any) -> Array:
    return _pool(x, given, -np.inf).max(tuple(range(2 - x.ndim, 0)))


def _avg_pool(x: Array, **given: Any) -> Array:
    axes = tuple(range(2 - x.ndim, 0))
    counted = _pool(np.ones_like(x), given, 0.0 if given.get("exclude_padding_from_average") else 1.0)
    return _pool(x, given, 0.0).sum(axes) / counted.sum(axes)


def _batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float = 1e-5,
    name: str = "",
) -> Array:
    y = (x.astype(np.float64) - _channels(mean, x.ndim)) / np.sqrt(_channels(variance, x.ndim) + epsilon)
    y = y if gamma is None else y * _channels(gamma, x.ndim)
    return y if beta is None else y + _channels(beta, x.ndim)


def _instance_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-5, name: str = ""
) -> Array:
    axes = tuple(range(2, x.ndim))
    mean, variance = x.mean(axes, np.float64, keepdims=True), x.var(axes, np.float64, keepdims=True)
    y = (x - mean) / np.sqrt(variance + epsilon)
    y = y if gamma is None else y * _channels(gamma, x.ndim)
    return y if beta is None else y + _channels(beta, x.ndim)


def _nearest(x: Array, scale_factor_height: float, scale_factor_width: float, name: str = "") -> Array:
    if scale_factor_height % 1 or scale_factor_width % 1:
        raise NoOpinion("nearest resizing by a fractional factor")
    return x.repeat(int(scale_factor_height), -2).repeat(int(scale_factor_width), -1)


def _between(size: int, out: int, sampling: str) -> Array:
    """[out, size]: the share of each element in each result."""
    if out == 1 and sampling in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = np.zeros(1)
    elif sampling in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = np.arange(out) * (size - 1) / (out - 1)
    elif sampling == "UNALIGN_CORNERS":
        points = (np.arange(out) + 0.5) * size / out - 0.5
    else:
        raise NoOpinion(f"resizing with sampling_mode '{sampling}'")
    points = np.clip(points, 0, size - 1)
    return np.maximum(0, 1 - np.abs(points[:, None] - np.arange(size)))


def _bilinear(
    x: Array,
    target_size_height: int,
    target_size_width: int,
    sampling_mode: str = "DEFAULT",
    name: str = "",
) -> Array:
    rows = _between(x.shape[-2], int(target_size_height), sampling_mode)
    columns = _between(x.shape[-1], int(target_size_width), sampling_mode)
    return rows @ x.astype(np.float64) @ columns.T


def _upsample(
    x: Array,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
    name: str = "",
) -> Array:
    if not align_corners and half_pixel_centers is False:
        raise NoOpinion("bilinear upsampling on neither grid")
    height, width = x.shape[-2] * scale_factor_height, x.shape[-1] * scale_factor_width
    return _bilinear(x, int(height), int(width), "ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS")


def _pixel_shuffle(x: Array, upscale_factor: int, name: str = "") -> Array:
    n, c, h, w = x.shape
    r = int(upscale_factor)
    return x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, h * r, w * r)


_FORMULAS: dict[str, Callable[..., Array]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "upsample_nearest_neighbor": _nearest,
    "upsample_bilinear": _upsample,
    "resize_bilinear": _bilinear,
    "pixel_shuffle": _pixel_shuffle,
}
