"""Arrays by name in a .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from graphrewrite.ir import Array


def save_npz(file: Path | IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write `arrays`, compressed, for `numpy.load`; equal arrays make equal bytes.

    `numpy.savez_compressed` takes names as keywords, so an input called `file` or `allow_pickle` can't be saved with it.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
