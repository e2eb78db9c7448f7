"""Progress on standard error: a spinner on a terminal, one line a stage off it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stages(*, live: bool = True) -> Iterator[Callable[[str], None]]:
    """Yields what to call with the name of each stage as it begins; `live=False` forbids the spinner."""
    if not (live and sys.stderr.isatty()):
        yield lambda text: print(f"graphrewrite: {text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    current = ""
    started = time.perf_counter()

    def finish() -> None:
        if current:
            console.print(f"[green]done[/green]  {current}  [dim]{time.perf_counter() - started:.1f} s[/dim]")

    with console.status("") as status:

        def stage(text: str) -> None:
            nonlocal current, started
            finish()
            current, started = text, time.perf_counter()
            status.update(text)

        yield stage
        finish()
