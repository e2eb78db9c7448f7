"""Pad and CenterCropPad: modes, types, ranks, negative amounts and amounts known only at run time."""

from __future__ import annotations

import numpy as np
import pytest

from graphrewrite.errors import NotExpressible
from op_check import check_op, lowered, single


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("free", [(), (0, 1)])
@pytest.mark.parametrize("pads", [[0, 2, 1, 1], [-1, 1, 2, 0], [0, 0, 0, 0]])
def test_modes(mode: str, fixed: bool, free: tuple[int, ...], pads: list[int]) -> None:
    x = np.arange(20, dtype=np.float32).reshape(4, 5)
    feeds = {"x": x, "pads": np.array(pads)}
    model = single("Pad", feeds, constants={"pads": feeds["pads"]} if fixed else {}, mode=mode)
    for axis in free:
        dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_param = f"d{axis}"
    check_op(model, {"x": x} if fixed else feeds)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("fixed", [True, False])
def test_types_and_value(dtype: type, fixed: bool) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    feeds = {"x": x, "pads": np.array([1, 0, 0, 2]), "value": np.asarray(1).astype(dtype)}
    constants = {name: feeds[name] for name in ("pads", "value")} if fixed else {}
    check_op(
        single("Pad", feeds, constants=constants), {k: v for k, v in feeds.items() if k not in constants}
    )


@pytest.mark.parametrize("fixed", [True, False])
def test_axes(fixed: bool) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    inputs = {"x": x, "pads": np.array([1, 0, 2, 1]), "value": None, "axes": np.array([-1, 0])}
    given = {name: array for name, array in inputs.items() if array is not None}
    constants = {name: given[name] for name in ("pads", "axes")} if fixed else {}
    feeds = {name: array for name, array in given.items() if name not in constants}
    check_op(single("Pad", inputs, constants=constants), feeds)


@pytest.mark.parametrize("pads", [[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], [1] * 12])
def test_rank_6(pads: list[int]) -> None:
    """The zero insertion of upfirdn2d; PAD itself takes rank 5."""
    x = np.arange(2 * 3 * 2 * 1 * 2 * 1, dtype=np.float32).reshape(2, 3, 2, 1, 2, 1)
    constants = {"pads": np.array(pads)}
    check_op(single("Pad", {"x": x, **constants}, constants=constants), {"x": x})


def test_run_time_pads_at_rank_6_are_refused() -> None:
    feeds = {"x": np.ones((1,) * 6, np.float32), "pads": np.ones(12, np.int64)}
    with pytest.raises(NotExpressible, match="rank 6"):
        lowered(single("Pad", feeds))


@pytest.mark.parametrize(("shape", "axes"), [([3, 9], [0, 1]), ([7, 2], [-1, 0])])
def test_center_crop_pad(shape: list[int], axes: list[int]) -> None:
    x = np.arange(30, dtype=np.float32).reshape(5, 6)
    constants = {"shape": np.array(shape)}
    check_op(single("CenterCropPad", {"x": x, **constants}, constants=constants, axes=axes), {"x": x})
