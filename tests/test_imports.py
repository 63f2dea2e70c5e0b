"""What may be imported: the page of the reference, the modules' `__all__`, and what the docs and the demo import."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.test_docs import BLOCKS, parsed

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = (ROOT / "docs" / "reference" / "imports.md").read_text()


def public() -> dict[str, set[str]]:
    """Read the page: from a module to the names that may be imported from it."""
    names = {}
    for module, text in re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        cells = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
        names[module] = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return names


PUBLIC: Final = public()


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_can_be_imported_and_is_in_all(module: str) -> None:
    imported = importlib.import_module(module)
    exported = set(getattr(imported, "__all__", PUBLIC[module]))

    assert PUBLIC[module]
    assert {name for name in PUBLIC[module] if not hasattr(imported, name)} == set()
    assert exported == PUBLIC[module]


def imports(code: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what a module imports of this package: the module's name, and the name in it or nothing."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names if each.name.startswith("nateq_webhooks"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "nateq_webhooks":
            yield from ((str(node.module), each.name) for each in node.names)


def is_public(module: str, name: str) -> bool:
    return name in PUBLIC.get(module, ()) or f"{module}.{name}".strip(".") in PUBLIC


CODE: Final = {name: parsed(code) for name, code in BLOCKS} | {
    str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in (ROOT / "example_project").rglob("*.py")
}


@pytest.mark.parametrize("source", CODE)
def test_the_docs_and_the_demo_import_what_is_public_and_nothing_else(source: str) -> None:
    assert [found for found in imports(CODE[source]) if not is_public(*found)] == []


def test_an_internal_import_would_be_found() -> None:
    code = ast.parse("from nateq_webhooks.dispatch.claim import claim_runs\nimport nateq_webhooks.inbox")

    assert [found for found in imports(code) if not is_public(*found)] == [
        ("nateq_webhooks.dispatch.claim", "claim_runs"),
        ("nateq_webhooks.inbox", ""),
    ]
