"""`graphrewrite import`: write a model that is not ONNX yet, or a built-in sample, as ONNX."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

HELP = "write a built-in sample network as ONNX"
DESCRIPTION = """\
Write a sample network, with seeded random weights, as an ONNX file spelled as exporters spell it: something
real-sized to convert at once, without any training framework.

  graphrewrite import --sample mobilestylegan --size 1024 -o mobilestylegan.onnx
"""
SAMPLES = ("mobilestylegan",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--sample", required=True, choices=SAMPLES, help="the network")
    parser.add_argument(
        "--size", type=int, default=1024, metavar="N", help="image size, 64 to 1024 (default: 1024)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the weights (default: 0)")
    parser.add_argument(
        "--mapping", action="store_true", help="begin with the mapping network: input z, not style"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx file to write")


def execute(arguments: argparse.Namespace) -> int:
    """Build and write."""
    from graphrewrite.sources.sample import build_mobilestylegan

    proto = build_mobilestylegan(arguments.size, seed=arguments.seed, mapping=arguments.mapping)
    path = Path(arguments.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = proto.SerializeToString(deterministic=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if arguments.json:
        print(
            json.dumps(
                {"schema": 1, "path": str(path), "size": len(data), "nodes": len(proto.graph.node)}, indent=2
            )
        )
    else:
        print(f"wrote {path}  {len(data) / 1e6:.1f} MB, {len(proto.graph.node)} nodes")
    return 0
