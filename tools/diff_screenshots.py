"""Takes the screenshots of docs/diff.md: python -m tools.diff_screenshots PAGE

PAGE is what `graphrewrite diff stylegan2.onnx --numeric --html PAGE` wrote of the full-size StyleGAN2 that `python -m
tools.golden_models --full` exports. Needs a Chromium.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZE = 1400, 840


def main() -> None:
    """Overview, a place that a pass rewrote, and a search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    page: Path = parser.parse_args().page
    sys.path.insert(0, str(ROOT / "tests"))
    import browser

    ready = "document.documentElement?.dataset.ready !== undefined"
    folder = ROOT / "docs" / "images"
    with browser.chromium() as tab:

        def go(name: str) -> None:
            tab.evaluate(f"page.go(page.passes.findIndex(item => item.name === '{name}'))")

        tab.open(page, ready=ready, size=SIZE)
        tab.screenshot(folder / "diff_overview.png")
        go("fold-weight-demodulation")
        tab.click('#after .node.new[data-key$="/Conv_1"] rect')
        tab.screenshot(folder / "diff_pass.png")
        tab.open(page, ready=ready, size=SIZE, dark=True)
        go("decompose-upfirdn2d")
        tab.click("#after .node.changed rect")
        for letter in ("/", *"rgbs.3 conv"):
            tab.press(letter)
        tab.screenshot(folder / "diff_search_dark.png")


if __name__ == "__main__":
    main()
