"""What CI systems show of a golden check: JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from graphrewrite.golden import Checked


def junit(name: str, results: Sequence[Checked]) -> bytes:
    """A test suite called `name` with one case a golden and target: a `failure` where something changed, an `error` where the
    golden could not be checked."""
    failures = sum(bool(item.changes) for item in results)
    errors = sum(item.error is not None for item in results)
    counts = {"tests": str(len(results)), "failures": str(failures), "errors": str(errors)}
    suite = ElementTree.Element("testsuite", {"name": name, **counts})
    for item in results:
        where = {"classname": item.golden.name, "name": item.spec, "time": f"{item.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", where)
        if item.error is not None:
            lines = str(item.error).splitlines() or [type(item.error).__name__]
            attributes = {"type": type(item.error).__name__, "message": lines[0]}
            ElementTree.SubElement(case, "error", attributes).text = "\n".join(lines)
        elif item.changes:
            ElementTree.SubElement(case, "failure", {"message": item.changes[0]}).text = "\n".join(
                item.changes
            )
    root = ElementTree.Element("testsuites", counts)
    root.append(suite)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text
