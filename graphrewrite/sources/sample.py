"""Sample networks, written without any training framework: something real-sized to convert at once.

MobileStyleGAN (Belousov 2021, Apache-2.0 reference implementation) from its mathematics, with seeded random
weights: the image is texture, but every operation, shape and size of the published network. The nodes
are spelled as PyTorch's current ONNX exporter spells them at opset 20: the demodulation is left as a chain on
constants, the weights' scales are multiplied at run time, the inverse wavelet transform is six grouped
ConvTransposes and three Adds, and no `+ 1e-8` is left before a square root.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphrewrite.errors import UsageError

MOBILESTYLEGAN_CHANNELS = (512, 512, 512, 512, 512, 256, 128, 64)
"""Channels at 4x4, then of each block: at 8x8, 16x16, ... 512x512."""

STYLE_WIDTH = 512
"""Numbers in a style, as in the published networks."""

_Floats = npt.NDArray[np.float32]

_INT64_MAX = 2**63 - 1


def build_mobilestylegan(size: int = 1024, *, seed: int = 0, mapping: bool = False) -> onnx.ModelProto:
    """Return MobileStyleGAN's synthesis network for images of `size` x `size` pixels.

    Input `style` [1, 3 * blocks + 2, 512] float32, one style a layer, about N(0, 1); output `image`
    [1, 3, size, size] float32 of O(1). With `mapping`, the input is `z` [1, 512] instead and the network begins
    with the eight-layer mapping network and truncation to 0.5.

    Sizes are the powers of two from 64 to 1024: `log2(size) - 3` blocks, the first ones of the full network. At
    1024 the published synthesis network has 8.86 M parameters. 1.55 M of them are the heads that give images of
    the lower resolutions in training; the image does not depend on them, exporters drop them, and they are not
    here: 7.31 M parameters, 0.7 M values of noise, 33 MB. The mapping network adds 2.1 M parameters.

    The same arguments give the same bytes. Raises UsageError for any other size.
    """
    blocks = size.bit_length() - 4
    if size != 8 << max(blocks, 0) or not 3 <= blocks <= 7:
        raise UsageError(f"MobileStyleGAN has no size {size}; choose 64, 128, 256, 512 or 1024")
    channels = MOBILESTYLEGAN_CHANNELS[: blocks + 1]
    layers = 3 * blocks + 2
    graph = _Graph(seed)
    if mapping:
        source = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, STYLE_WIDTH])
        style = _mapping(graph, "z", layers)
    else:
        source = helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, layers, STYLE_WIDTH])
        style = "style"
    image = _synthesis(graph, style, channels)
    graph.rename_output(image, "image")
    target = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "mobilestylegan", [source], [target], graph.initializers),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
        producer_name="graphrewrite",
    )
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


class _Graph:
    """Nodes and initializers in the making; the random parameters come from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._random = np.random.default_rng(seed)

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        """Append a node of one output and return the output's name."""
        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def rename_output(self, old: str, new: str) -> None:
        """Rename the output of the last node, which nothing reads yet."""
        assert list(self.nodes[-1].output) == [old]
        self.nodes[-1].output[0] = new

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Add an initializer and return its name."""
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def normal(
        self, name: str, shape: Sequence[int], *, mean: float | _Floats = 0.0, scale: float = 1.0
    ) -> str:
        """Add an initializer of N(mean, scale^2) values; `mean` broadcasts to `shape`."""
        return self.constant(name, self.draw(shape, mean=mean, scale=scale))

    def draw(self, shape: Sequence[int], *, mean: float | _Floats = 0.0, scale: float = 1.0) -> _Floats:
        """Return the generator's next N(mean, scale^2) values."""
        values = self._random.standard_normal(tuple(shape), dtype=np.float32)
        values *= np.float32(scale)
        values += np.asarray(mean, np.float32)
        return values

    def scalar(self, value: float) -> str:
        """Return a rank-0 float32 constant."""
        return self._shared(np.array(value, np.float32))

    def index(self, value: int) -> str:
        """Return a rank-0 int64 constant."""
        return self._shared(np.array(value, np.int64))

    def ints(self, *values: int) -> str:
        """Return an int64 vector."""
        return self._shared(np.array(values, np.int64))

    def _shared(self, values: npt.NDArray[np.generic]) -> str:
        """Return the one initializer of these small values, as exporters share equal constants."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._names:
            self._names[key] = self.constant(f"val_{len(self._names)}", values)
        return self._names[key]


def _mapping(graph: _Graph, z: str, layers: int) -> str:
    """Pixel norm, eight scaled linear layers, truncation; the same style [1, layers, 512] for every layer."""
    width = STYLE_WIDTH
    mean = graph.add(
        "ReduceMean",
        graph.add("Pow", z, graph.scalar(2.0)),
        graph.ints(1),
        keepdims=1,
        noop_with_empty_axes=0,
    )
    w = graph.add("Mul", z, graph.add("Reciprocal", graph.add("Sqrt", mean)))
    for i in range(8):
        # Stored 100 times larger than used: the learning rate multiplier of the mapping network is 0.01.
        weight = graph.normal(f"mapping.{i}.weight", [width, width], scale=100.0)
        weight = graph.add("Mul", weight, graph.scalar(0.01 / math.sqrt(width)))
        w = graph.add("Gemm", w, weight, alpha=1.0, beta=1.0, transA=0, transB=1)
        w = graph.add("Add", w, graph.normal(f"mapping.{i}.bias", [1, width], scale=0.1))
        w = graph.add("Mul", graph.add("LeakyRelu", w, alpha=0.2), graph.scalar(math.sqrt(2)))
    average = graph.normal("mapping.average", [1, width], scale=0.2)
    offset = graph.add("Mul", graph.add("Sub", w, average), graph.scalar(0.5))
    w = graph.add("Unsqueeze", graph.add("Add", average, offset), graph.ints(1))
    return graph.add("Tile", graph.add("Expand", w, graph.ints(1, 1, 1)), graph.ints(1, layers, 1))


def _synthesis(graph: _Graph, style: str, channels: Sequence[int]) -> str:
    """Styles [1, 3 * blocks + 2, 512] to the image; the head at 4x4 would take the style of index 1."""
    w = graph.add("Gather", style, graph.index(0), axis=1)
    x = graph.normal("input", [1, channels[0], 4, 4])
    x = _styled_conv(graph, "conv", x, w, channels[0], channels[0], 4, separable=False)
    for i, (c_in, c_out) in enumerate(itertools.pairwise(channels)):
        name = f"blocks.{i}"
        first = 3 * i + 2
        styles = graph.add("Slice", style, *(graph.ints(n) for n in (first, first + 3, 1, 1)))
        w = graph.add("Gather", styles, graph.index(0), axis=1)
        # Weak high bands keep the structure of the lower resolutions; alone, they would leave white noise.
        bands = np.repeat(np.array([1.8, 0.4], np.float32), [c_in // 4, c_in - c_in // 4])
        x = graph.add("Mul", _modulation(graph, name, w, c_in, mean=bands), x)
        x = _inverse_wavelet(graph, f"{name}.wavelet", x, c_in // 4, 4 << i)
        x = _styled_conv(graph, f"{name}.conv1", x, w, c_in // 4, c_out, 8 << i)
        w = graph.add("Gather", styles, graph.index(1), axis=1)
        x = _styled_conv(graph, f"{name}.conv2", x, w, c_out, c_out, 8 << i)
    w = graph.add("Gather", styles, graph.index(2), axis=1)
    x = _to_wavelets(graph, f"{name}.to_wavelets", x, w, channels[-1])
    return _inverse_wavelet(graph, "wavelet", x, 3, 2 << len(channels))


def _modulation(graph: _Graph, name: str, w: str, channels: int, *, mean: float | _Floats) -> str:
    """The style's factor of every channel, [1, C, 1, 1], about `mean` each."""
    weight = graph.normal(f"{name}.affine.weight", [channels, STYLE_WIDTH], scale=0.25)
    weight = graph.add("Mul", weight, graph.scalar(1 / math.sqrt(STYLE_WIDTH)))
    bias = graph.normal(f"{name}.affine.bias", [channels], mean=mean, scale=0.2)
    s = graph.add("Gemm", w, weight, bias, alpha=1.0, beta=1.0, transA=0, transB=1)
    return graph.add("Reshape", s, graph.ints(1, -1, 1, 1), allowzero=1)


def _styled_conv(
    graph: _Graph, name: str, x: str, w: str, c_in: int, c_out: int, size: int, *, separable: bool = True
) -> str:
    """3x3 convolution of `x * style`, constant demodulation, noise, bias and leaky ReLU: [1, Co, H, W]."""
    scale = 1 / math.sqrt(9 * c_in)
    # Leaky ReLU without gain loses about half of the power; styles of 1.3 against style_inv of 1 make up for it.
    s = graph.add("Mul", _modulation(graph, name, w, c_in, mean=1.3), graph.scalar(scale))
    x = graph.add("Mul", s, x)
    if separable:
        depthwise = graph.normal(f"{name}.depthwise", [c_in, 1, 3, 3])
        pointwise = graph.normal(f"{name}.pointwise", [c_out, c_in, 1, 1])
        x = _conv(graph, x, depthwise, kernel=3, group=c_in)
        x = _conv(graph, x, pointwise, kernel=1)
        transposed = graph.add("Transpose", depthwise, perm=[1, 0, 2, 3])
        weight = graph.add("Mul", transposed, pointwise)
    else:
        weight = graph.normal(f"{name}.weight", [c_out, c_in, 3, 3])
        x = _conv(graph, x, weight, kernel=3)
    style_inv = graph.constant(
        f"{name}.style_inv", np.float32(scale) * graph.draw([1, 1, c_in, 1, 1], mean=1.0, scale=0.2)
    )
    demodulation = graph.add("Mul", graph.add("Unsqueeze", weight, graph.ints(0)), style_inv)
    demodulation = graph.add("Pow", demodulation, graph.scalar(2.0))
    demodulation = graph.add(
        "ReduceSum", demodulation, graph.ints(2, 3, 4), keepdims=0, noop_with_empty_axes=0
    )
    demodulation = graph.add("Reciprocal", graph.add("Sqrt", demodulation))
    demodulation = graph.add("Reshape", demodulation, graph.ints(1, -1, 1, 1), allowzero=1)
    x = graph.add("Mul", demodulation, x)
    noise = graph.add(
        "Mul",
        graph.normal(f"{name}.noise.strength", [1], mean=0.12, scale=0.02),
        graph.normal(f"{name}.noise", [1, 1, size, size]),
    )
    x = graph.add("Add", x, noise)
    x = graph.add("Add", x, graph.normal(f"{name}.bias", [1, c_out, 1, 1], scale=0.2))
    return graph.add("LeakyRelu", x, alpha=0.2)


def _to_wavelets(graph: _Graph, name: str, x: str, w: str, c_in: int) -> str:
    """1x1 modulated convolution to the image's wavelet coefficients [1, 12, H, W]: 3 low and 9 high."""
    s = graph.add("Mul", _modulation(graph, name, w, c_in, mean=1.0), graph.scalar(1 / math.sqrt(c_in)))
    weight = graph.draw([12, c_in, 1, 1])
    weight[:3] *= np.float32(1.5)
    weight[3:] *= np.float32(0.25)
    x = _conv(graph, graph.add("Mul", s, x), graph.constant(f"{name}.weight", weight), kernel=1)
    return graph.add("Add", x, graph.normal(f"{name}.bias", [1, 12, 1, 1], scale=0.2))


def _conv(graph: _Graph, x: str, weight: str, *, kernel: int, group: int = 1) -> str:
    return graph.add(
        "Conv",
        x,
        weight,
        auto_pad="NOTSET",
        dilations=[1, 1],
        group=group,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
        strides=[1, 1],
    )


def _inverse_wavelet(graph: _Graph, name: str, x: str, channels: int, size: int) -> str:
    """Inverse Haar transform, columns then rows: [1, C + 3C, H, W] to [1, C, 2H, 2W].

    Channel c of the result has its low band in channel c and its three high bands in C + 3c, C + 3c + 1 and
    C + 3c + 2.
    """
    half = math.sqrt(0.5)
    low_taps = np.tile(np.array([half, half], np.float32), (channels, 1))
    high_taps = np.tile(np.array([half, -half], np.float32), (channels, 1))
    taps = {
        axis: (
            graph.constant(f"{name}.low_{axis}", low_taps.reshape(channels, 1, *kernel)),
            graph.constant(f"{name}.high_{axis}", high_taps.reshape(channels, 1, *kernel)),
        )
        for axis, kernel in (("column", (2, 1)), ("row", (1, 2)))
    }

    def merge(low: str, high: str, axis: str) -> str:
        kernel = [2, 1] if axis == "column" else [1, 2]
        expanded = [
            graph.add(
                "ConvTranspose",
                band,
                weight,
                auto_pad="NOTSET",
                dilations=[1, 1],
                group=channels,
                kernel_shape=kernel,
                output_padding=[0, 0],
                pads=[0, 0, 0, 0],
                strides=kernel,
            )
            for band, weight in zip((low, high), taps[axis])
        ]
        return graph.add("Add", *expanded)

    def cut(value: str, start: int, end: int) -> str:
        return graph.add("Slice", value, *(graph.ints(n) for n in (start, end, 1, 1)))

    low, high = cut(x, 0, channels), cut(x, channels, _INT64_MAX)
    high = graph.add("Reshape", high, graph.ints(1, channels, 3, size, size), allowzero=1)
    bands = [
        # PyTorch's unbind: slices without the steps input.
        graph.add(
            "Squeeze",
            graph.add("Slice", high, graph.ints(k), graph.ints(k + 1), graph.ints(2)),
            graph.ints(2),
        )
        for k in range(3)
    ]
    return merge(merge(low, bands[0], "column"), merge(bands[1], bands[2], "column"), "row")
