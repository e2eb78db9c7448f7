"""``python -m tools.golden_models``: the command line over ``export``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .export import collect, make, write_index

DEFAULT_OUT = Path(__file__).parents[2] / "tests" / "golden" / "models"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is 1 if an export failed or differed."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.golden_models", description="Build, export and verify the golden models."
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models to make (default: all)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: tests/golden/models)")
    parser.add_argument("--full", action="store_true", help="real depth and widths; needs --out")
    parser.add_argument("--exporter", nargs="+", choices=("ts17", "dyn"), default=("ts17", "dyn"))
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    args = parser.parse_args(argv)
    if args.full and args.out is None:
        parser.error("--full needs --out: full-size files are not committed")
    out = args.out or DEFAULT_OUT

    models = collect()
    names = [golden.name for golden in models]
    if len(set(names)) != len(names):
        parser.error(f"two models of one name: {sorted({name for name in names if names.count(name) > 1})}")
    if args.list:
        print("\n".join(names))
        return 0
    unknown = sorted(set(args.only or ()) - set(names))
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}; see --list")

    out.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    # Each model has a process of its own: torch 2.13 caches the unrolled decomposition of an LSTM after one
    # static export, and a later dynamic one in the same process gets constant axes.
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for name in names:
            if args.only is None or name in args.only:
                failures += pool.submit(make, name, out, args.full, args.exporter).result()
    write_index(out, models)
    if failures:
        print(f"{len(failures)} exports failed:", *failures, sep="\n  ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
