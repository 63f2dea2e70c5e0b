"""The threat model: each attack names tests that exist; and the defences that no other module tests."""

import ast
import importlib
import pkgutil
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import nateq_webhooks
from nateq_webhooks.admin.deliveries.csv_cells import safe_cell

ROOT = Path(__file__).resolve().parent.parent
ROWS = re.findall(r"^\| (?!attack |---)(.+?) \| (.+) \| (.+) \|$", (ROOT / "docs" / "security.md").read_text(), re.M)


def names_in(path: Path) -> set[str]:
    """The functions of a module, those in classes too."""
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_are_attacks() -> None:
    assert len(ROWS) > 25


@pytest.mark.parametrize("attack", [row[0] for row in ROWS])
def test_the_tests_of_an_attack_exist(attack: str) -> None:
    named = next(tests for row, _defence, tests in ROWS if row == attack)
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", named)

    assert tests
    for path, name in tests:
        assert name in names_in(ROOT / path), f"{path}::{name}"


LONG = 4_000
ODD_TEXTS = [
    *(character * LONG + "!" for character in "a0 \t-_./\\(\"'<&%:=,@+"),
    *(pair * (LONG // 2) for pair in ("\\u", "a ", "a.", "0,", "=a", "({", "%2", "::", "\r\n", "a\\")),
    "sha256=" + "0" * LONG,
    "1" * LONG + "e" + "1" * LONG,
]


MATCHED_FROM_THE_START = {
    "nateq_webhooks.protocol.networks._WITH_PORT",
    "nateq_webhooks.database.keyset.time_limit._READS",
    "nateq_webhooks.admin.dashboard.failures._CLASS",
}
"""Expressions that are not searched with: each is tried at the beginning of a text only."""


NOT_IMPORTED = (".sandbox.", ".migrations.", ".__main__.", ".runners.", ".tasks.")
"""Modules that need an extra, or are programs."""


def expressions() -> dict[str, "re.Pattern[Any]"]:
    """The compiled expressions of the package's modules, by name."""
    for module in pkgutil.walk_packages(nateq_webhooks.__path__, "nateq_webhooks."):
        is_site = (
            module.name.startswith("nateq_webhooks.sandbox")
            or ".migrations" in module.name
            or module.name.endswith("__main__")
        )
        if not is_site and ".runners." not in module.name and not module.name.endswith(".tasks"):
            importlib.import_module(module.name)
    return {
        f"{module_name}.{name}": value
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("nateq_webhooks.") and not module_name.startswith("nateq_webhooks.sandbox")
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }


def seconds_of(pattern: "re.Pattern[Any]", subject: str | bytes, *, also_search: bool) -> float:
    """Return the processor time of a match, and of a search if the pattern is searched for."""
    began = time.process_time()
    pattern.match(subject)
    if also_search:
        pattern.search(subject)
    return time.process_time() - began


def test_regular_expressions_take_time_in_proportion_to_the_text() -> None:
    """A quadratic one needs a hundred times as long for ten times the text, and an exponential one does not end."""
    found = expressions()
    assert len(found) > 10

    slow = {}
    for name, pattern in found.items():
        for text in ODD_TEXTS:
            subject = text.encode() if isinstance(pattern.pattern, bytes) else text
            # The shortest of three counts: a busy machine takes more processor time for the same.
            took = min(seconds_of(pattern, subject, also_search=name not in MATCHED_FROM_THE_START) for _ in range(3))
            if took > 0.08:
                slow[name] = (round(took, 2), text[:20])
    assert slow == {}


def test_a_cell_of_many_lines_is_exported_at_once() -> None:
    text = "\n" * 1_000_000

    began = time.process_time()
    assert safe_cell(text + "=1") == "'" + text + "'=1"
    assert time.process_time() - began < 2
