"""The docs site: its pages are made, none is missing from the navigation, and (in full runs) it builds strictly."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from graphrewrite.cli.main import COMMANDS
from graphrewrite.pipeline import known_passes
from graphrewrite.registry import rows
from tools import site_pages
from tools.site_api import MODULES
from tools.site_text import docstring, prose

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    site_pages.write(folder)
    return folder


def test_every_page_is_in_the_navigation_once(site: Path) -> None:
    listed = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(path.relative_to(site)) for path in site.rglob("*.md"))


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    for page in site.rglob("*.md"):
        for link in site_pages.LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
            assert (page.parent / link).is_file(), f"{page}: {link}"


def test_every_pass_has_its_picture(site: Path) -> None:
    text = "\n".join(path.read_text() for path in site.glob("reference/passes/*.md"))
    for name, cls in known_passes().items():
        section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, name
        assert re.search(r"```text\n[^`]*--->", section[1]), f"{name} has no picture"
        assert f"- label: {cls.label.value}" in section[1]


def test_every_row_is_in_the_table(site: Path) -> None:
    text = (site / "reference" / "ops.md").read_text()
    listed = set(re.findall(r"^\| \[?(\w+)", text, re.MULTILINE))
    assert set(rows()) <= listed
    found = re.search(r"^\| \[?Neg[^|]*\| (.*) \|$", text, re.MULTILINE)
    assert found
    assert [way.split()[0] for way in found[1].split(" | ")] == ["lowered", "lowered", "read"]


def test_every_command_and_name_is_there(site: Path) -> None:
    text = (site / "reference" / "cli.md").read_text()
    assert all(f"## graphrewrite {name}\n" in text for name in COMMANDS)
    text = (site / "reference" / "api.md").read_text()
    assert all(f"\n## {name}\n" in text for name in MODULES)
    assert "### graphrewrite.run\n" in text
    assert "- `numeric_each`: run the graph after every pass" in text
    assert "precision: str | None = None," in text


def test_every_field_of_the_report_is_described(site: Path) -> None:
    fields = re.findall(r"^\| `(\w+)`", (site / "reference" / "report.md").read_text(), re.MULTILINE)
    described = (ROOT / "docs" / "report.md").read_text()
    assert len(fields) > 10
    assert [name for name in fields if f"`{name}`" not in described] == []


def test_docstrings_become_markdown() -> None:
    text = "Do a*b to `x_1`.\n\n    %a --->\n\n    %b\n\nArgs:\n    x: the\n        input.\n    *y: more."
    assert docstring(text) == (
        "Do a\\*b to `x_1`.\n\n```text\n%a --->\n\n%b\n```\n\n**Arguments**\n\n- `x`: the input.\n- `*y`: more."
    )
    assert prose("a[0] < `b[1]`") == "a\\[0] \\< `b[1]`"


@pytest.mark.full
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("material")
    config = tmp_path / "mkdocs.yml"
    config.write_text((ROOT / "mkdocs.yml").read_text())
    source = tmp_path / "build" / "site_src"
    site_pages.write(source)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "site" / "reference" / "ops.html").is_file()
    with (source / "docs" / "report.md").open("a") as page:
        page.write("\n[nowhere](errors.md#nowhere)\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not contain an anchor '#nowhere'" in done.stderr
