"""A copy of a .tflite file that has more outputs, for runtimes that forget every other value."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from graphrewrite.targets.tflite.read import outputs_place, read


def expose(path: Path, copy: Path, names: Sequence[str]) -> None:
    """Write `copy`: the file at `path`, with the main graph's tensors called `names` among its outputs.

    A longer vector of outputs is put behind the end of the file, and the one offset that leads to it is changed; all else stays
    as it is, so the copy runs as the file does but for what the additional outputs keep from being fused.

    Raises:
        ValueError: it is no .tflite file.
    """
    graph = read(path).subgraphs[0]
    index = {tensor.name: number for number, tensor in enumerate(graph.tensors)}
    wanted = dict.fromkeys([*graph.outputs, *(index[name] for name in names if name in index)])
    content = bytearray(path.read_bytes())
    place = outputs_place(content)
    content += bytes(-len(content) % 4)
    struct.pack_into("<I", content, place, len(content) - place)
    content += struct.pack(f"<I{len(wanted)}i", len(wanted), *wanted)
    copy.write_bytes(content)
