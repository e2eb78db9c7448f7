"""The HTML page of `graphrewrite diff`, its data, and the page itself in headless Chromium."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import onnx
import onnx.parser
import pytest
from block_model import blocks

from graphrewrite import ir
from graphrewrite.cli.main import main
from graphrewrite.pipeline import build, run_pipeline
from graphrewrite.pipeline.diff import Snapshot
from graphrewrite.report.page import PageRecorder

MODEL = Path(__file__).parents[1] / "golden" / "models" / "mobilestylegan_synthesis.ts17.onnx"
READY = "document.documentElement?.dataset.ready !== undefined"

in_chromium = pytest.mark.skipif(
    browser.find() is None, reason="no Chromium: apt-get install chromium, or set $CHROMIUM to a Chrome"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a generator with every option."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["diff", str(MODEL), "--numeric", "--summary", "--html", str(path)]) == 0
    return path


def _data(path: Path) -> dict[str, Any]:
    found = re.search(
        r'<script id="data" type="text/plain">([^<]*)</script>', path.read_text(encoding="utf-8")
    )
    assert found is not None
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found.group(1))))
    return data


def test_the_deltas_add_up_to_the_last_state(page: Path) -> None:
    data = _data(page)
    nodes = {node["k"]: node for node in data["first"]}
    for step in data["passes"]:
        for key in step.get("gone", []):
            del nodes[key]
        nodes |= {node["k"]: node for node in step.get("set", [])}
    model = ir.load(MODEL)
    run_pipeline(model, build("default", "tflite"))
    last = Snapshot.of(model)
    assert nodes.keys() == last.entries.keys()
    assert {key: node["o"] for key, node in nodes.items() if " " not in key} == {
        key: entry.operator for key, entry in last.entries.items() if entry.operator
    }


def test_errors_and_transposes_are_in_the_data(page: Path) -> None:
    data = _data(page)
    changing = [step for step in data["passes"] if "set" in step]
    assert len(changing) < len(data["passes"])
    for step in changing:
        ((name, added, total),) = step["errors"]
        assert name == "image"
        assert added[0]
        assert total[0]
        assert step["problem"] == ""
    assert any(step["errors"][0][1][2] > 0 for step in changing)
    assert data["values"]["image"][2] < 1e-4
    (transpose,) = data["transposes"]
    assert "channels last" in transpose[2]


def test_weights_stay_out_of_the_page(page: Path) -> None:
    data = _data(page)
    assert data["weights"]
    assert all(len(row["histogram"]) <= 24 for row in data["weights"] if row is not None)

    def longest(item: Any) -> int:
        if isinstance(item, list) and item and all(isinstance(number, float) for number in item):
            return len(item)
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        return max((longest(part) for part in inner), default=0)

    assert longest(data) < 16
    assert page.stat().st_size < 300_000


def test_findings_are_shown_with_the_passes_before_them(tmp_path: Path) -> None:
    text = (
        '<ir_version: 9, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { ["odd"] y = Mystery (x) }'
    )
    source = tmp_path / "odd.onnx"
    source.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    path = tmp_path / "odd.html"
    assert main(["diff", str(source), "--html", str(path)]) == 3
    ((code, operator, node, _, _),) = _data(path)["findings"]
    assert (code, operator, node) == ("NOT_EXPRESSIBLE", "Mystery", "odd")


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Tab]:
    with contextlib.ExitStack() as stack:
        try:
            tab = stack.enter_context(browser.chromium())
        except RuntimeError as error:  # such as the stub that Ubuntu installs where snap is missing
            pytest.skip(f"{browser.find()} does not start: {error}")
        yield tab


def _heading(tab: browser.Tab) -> str:
    return str(tab.evaluate("document.querySelector('#head h2')?.textContent ?? ''"))


@in_chromium
def test_open_search_click_and_step(page: Path, chromium: browser.Tab) -> None:
    tab = chromium
    tab.errors.clear()
    tab.requests.clear()
    tab.open(page, ready=READY)
    assert tab.evaluate("document.querySelectorAll('.chart circle').length") > 5
    assert "order" in tab.evaluate("document.querySelector('#overview').textContent")

    tab.press("ArrowDown")
    assert _heading(tab) == "import-model"
    assert tab.evaluate("document.querySelectorAll('#before .node').length") > 3
    for _ in range(3):
        tab.press("ArrowRight")
    assert _heading(tab) == "deduplicate-constants"
    tab.press("ArrowUp")
    assert _heading(tab) == "fold-constants"

    tab.press("/")
    for letter in "add_2 wavelet":
        tab.press(letter)
    assert tab.evaluate("document.querySelectorAll('#found .row').length") > 2
    tab.press("ArrowDown")
    tab.press("Enter")
    key = tab.evaluate("window.page.key")
    assert "wavelet" in key
    assert tab.evaluate("document.querySelector('#details').textContent").startswith("Add")

    tab.evaluate("page.go(page.passes.findIndex(item => item.name === 'lower-idwt'))")
    assert tab.evaluate("document.querySelectorAll('#before .node.gone').length") > 3
    assert tab.evaluate("document.querySelectorAll('#after .node.gone').length") == 0
    assert tab.evaluate("document.querySelectorAll('#after .node.new').length") > 3
    tab.click("#after .node.new rect")
    assert tab.evaluate("document.querySelectorAll('#after .node.picked').length") == 1
    assert "new" in tab.evaluate("document.querySelector('#details h2').textContent")
    before = tab.evaluate("page.place")
    tab.press("n")
    assert tab.evaluate("page.place") != before

    assert tab.errors == []
    assert tab.requests == [page.resolve().as_uri()]


@in_chromium
def test_node_details_tell_of_weights_and_errors(page: Path, chromium: browser.Tab) -> None:
    chromium.open(page, ready=READY)
    seen = "(() => { const last = page.changing.at(-1), nodes = [...page.states.after(last).nodes.values()]; "
    weighed = "node => page.data.values[node.k] && node.i.some(item => item && item.n)"
    chromium.evaluate(f"{seen} page.go(last, nodes.find({weighed}).k); }})()")
    text = chromium.evaluate("document.querySelector('#details').textContent")
    for part in ("mean", "cosine", "Changed by", "From the source's nodes"):
        assert part in text
    assert chromium.evaluate("document.querySelectorAll('#details .weight rect').length") >= 24
    chromium.evaluate(f"{seen} page.go(last, nodes.find(node => node.a && node.r[0][2]).k); }})()")
    text = chromium.evaluate("document.querySelector('#details').textContent")
    for part in ("tflite.", "dimensions in the order [0, 2, 3, 1]", "Attributes"):
        assert part in text


@in_chromium
def test_three_thousand_nodes_stay_usable(tmp_path: Path, chromium: browser.Tab) -> None:
    source = tmp_path / "large.onnx"
    source.write_bytes(blocks(375).SerializeToString())
    path = tmp_path / "large.html"
    assert main(["diff", str(source), "--summary", "--html", str(path)]) == 0
    data = _data(path)
    assert len(data["first"]) > 3000
    assert path.stat().st_size < 1_000_000
    assert chromium.open(path, ready=READY) < 5  # 0.5 s on an idle machine
    for name in ("lower-to-tflite", "fuse-leaky-relu"):
        started = time.perf_counter()
        chromium.evaluate(f"page.go(page.passes.findIndex(item => item.name === '{name}'))")
        assert time.perf_counter() - started < 5
        assert 0 < chromium.evaluate("document.querySelectorAll('#after .node').length") < 200
        assert 0 < chromium.evaluate("document.querySelectorAll('#changes .row').length") < 100
        assert chromium.evaluate("page.list.items.length") >= 700


@in_chromium
def test_two_files_are_one_step(tmp_path: Path, chromium: browser.Tab) -> None:
    texts = ["y = Relu (x)", "a = Neg (x) y = Relu (a)"]
    paths = []
    for index, body in enumerate(texts):
        paths.append(tmp_path / f"m{index}.onnx")
        text = f'<ir_version: 9, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) {{ {body} }}'
        paths[-1].write_bytes(onnx.parser.parse_model(text).SerializeToString())
    path = tmp_path / "two.html"
    assert main(["diff", str(paths[0]), str(paths[1]), "--html", str(path)]) == 0
    chromium.open(path, ready=READY)
    assert chromium.evaluate(
        "[...document.querySelectorAll('#after .node.new')].map(node => node.dataset.key)"
    ) == ["a"]
    assert chromium.evaluate("document.querySelectorAll('#before .node').length") == 3


@in_chromium
def test_a_page_without_changes_shows_the_graph(tmp_path: Path, chromium: browser.Tab) -> None:
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) { y = Relu (x) }'
    source = tmp_path / "same.onnx"
    source.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    path = tmp_path / "same.html"
    chromium.errors.clear()
    assert main(["diff", str(source), str(source), "--html", str(path)]) == 0
    chromium.open(path, ready=READY)
    assert chromium.evaluate("document.querySelectorAll('#after .node').length") == 3
    page = PageRecorder()
    page.write(path, model="same.onnx", target="none", state=Snapshot.of(ir.load(source)), records=[])
    chromium.open(path, ready=READY)
    assert "Relu" in chromium.evaluate("document.querySelector('#overview').textContent")
    chromium.press("ArrowDown")
    assert chromium.errors == []


@pytest.mark.full
@in_chromium
def test_full_size_stylegan2_opens_at_once(tmp_path: Path, chromium: browser.Tab) -> None:
    source = Path(os.environ.get("BENCH_MODELS", "")) / "stylegan2_moved_fused.ts17.onnx"
    if not source.is_file():
        pytest.skip("BENCH_MODELS names no folder with the full-size exports that tools/bench makes")
    path = tmp_path / "stylegan2.html"
    assert main(["diff", str(source), "--summary", "--html", str(path)]) == 0
    assert path.stat().st_size < 5_000_000
    chromium.errors.clear()
    assert chromium.open(path, ready=READY) < 2
    chromium.press("ArrowDown")
    assert _heading(chromium) == "import-model"
    chromium.press("/")
    for letter in "to_rgbs.3":
        chromium.press(letter)
    chromium.press("Enter")
    assert "to_rgbs.3" in chromium.evaluate("window.page.key")
    chromium.evaluate("page.go(page.passes.findIndex(item => item.name === 'fold-weight-demodulation'))")
    assert chromium.evaluate("page.sites.length") > 5
    chromium.click("#after .node.new rect")
    assert "new" in chromium.evaluate("document.querySelector('#details h2').textContent")
    assert chromium.errors == []
