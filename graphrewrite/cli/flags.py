"""Flags that several commands share, worded once."""

from __future__ import annotations

import argparse


def add_model(parser: argparse.ArgumentParser, help: str = "the ONNX model") -> None:
    """The positional model."""
    parser.add_argument("model", metavar="MODEL", help=help)


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """`--target`, `--passes` and `--shape`: what turns a model into a lowered graph."""
    parser.add_argument(
        "--target", default="tflite", metavar="NAME", help="what to convert to (default: tflite)"
    )
    parser.add_argument(
        "--passes",
        action="append",
        metavar="SPEC",
        help="default, none, or a list such as default,-fuse-gelu,my-pass{a=1},my.py:Shrink,pipeline.toml; "
        "`graphrewrite passes` lists them",
    )
    add_shape(parser)


def add_shape(parser: argparse.ArgumentParser) -> None:
    """`--shape`."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=D,D,...",
        help="fix the dimensions of an input, as in x=1,3,512,512; ? keeps one dynamic",
    )


def add_samples(parser: argparse._ActionsContainer) -> None:
    """`--samples` and `--seed`: what both sides are run on."""
    parser.add_argument(
        "--samples",
        "--inputs-npz",
        dest="samples",
        metavar="FILE.npz",
        help="inputs to check with: arrays by input name (default: three seeded random samples that suit each input)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random samples (default: 0)"
    )


def passes_of(arguments: argparse.Namespace) -> list[str]:
    """The pass specification as given, `default` where none was."""
    return arguments.passes or ["default"]
