"""The reference names each field, option, signal and exception that there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.management import load_command_class
from django.core.management.base import DjangoHelpFormatter
from django.db.models import ForeignKey, Model
from django.dispatch import Signal

from nateq_webhooks import errors, models, signals

ROOT: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
COMMANDS: Final = sorted(path.stem for path in (ROOT / "nateq_webhooks/management/commands").glob("nateq_*.py"))
MODELS: Final = ["Webhook", "Secret", "Delivery", "Attempt", "Run", "Replay", "Rejection", "EventType", "ApiKey"]


def section(page: str, title: str) -> str:
    """Return the text under a heading of a page."""
    text = (REFERENCE / page).read_text()
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def table(text: str, head: str) -> dict[str, str]:
    """Return the first two columns of the table whose first heading is `head`."""
    found = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-| ]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    assert found, f"There is no table of {head!r}"
    rows = [row.split(" | ") for row in found[1].splitlines()]
    return {row[0].strip("| `"): row[1].strip("| ") for row in rows}


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_a_model_is_documented_with_its_type(name: str) -> None:
    model: type[Model] = getattr(models, name)
    text = section("models.md", name)
    internal = set(re.findall(r"`(\w+)`", (re.findall(r"^Internal: (.*)$", text, re.MULTILINE) or [""])[0]))
    fields = {
        field.name: "ForeignKey" if isinstance(field, ForeignKey) else field.get_internal_type()
        for field in model._meta.concrete_fields
        if field.name not in internal
    }

    assert internal <= {field.name for field in model._meta.concrete_fields}
    assert table(text, "field") == fields


@pytest.mark.parametrize("name", MODELS)
def test_every_public_attribute_of_a_model_is_documented(name: str) -> None:
    model: type[Model] = getattr(models, name)
    ours = {
        attribute
        for attribute, value in vars(model).items()
        if (isinstance(value, property) or getattr(value, "__module__", "") == model.__module__)
        and not isinstance(value, type)
        and not attribute.startswith("_")
        and not hasattr(Model, attribute)
    }
    text = section("models.md", name)

    assert {attribute for attribute in ours if not re.search(rf"`{attribute}(\(\))?`", text)} == set()


@pytest.mark.parametrize("status", [models.Delivery.Status, models.Run.Status, models.ApiKey.State], ids=str)
def test_every_status_is_documented(status: Any) -> None:
    name = status.__qualname__
    text = section("models.md", name.partition(".")[0])

    assert set(table(text, f"`{name}`")) == set(status.values)


def options(command: str) -> Iterator[set[str]]:
    """Yield the spellings of each option of a command and of its actions, without those that Django adds."""
    parser: Any = load_command_class("nateq_webhooks", command).create_parser("manage.py", command)
    parsers = [parser]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action.choices, dict):
                parsers += action.choices.values()
            spellings = set(action.option_strings)
            if spellings and not spellings & (DjangoHelpFormatter.show_last | {"-h"}):
                yield spellings


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(command: str) -> None:
    found = list(options(command))
    documented = {
        option for cell in table(section("commands.md", command), "option") for option in re.findall(r"--[\w-]+", cell)
    }

    assert [spellings for spellings in found if not spellings & documented] == []
    assert documented <= set().union(*found)


def test_every_command_is_documented() -> None:
    assert COMMANDS
    assert set(re.findall(r"^## (nateq_\w+)$", (REFERENCE / "commands.md").read_text(), re.MULTILINE)) == set(COMMANDS)


def test_every_signal_is_documented_and_no_other() -> None:
    text = (REFERENCE / "signals.md").read_text()
    found = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    tables = [*table(section("signals.md", "One signal per event"), "signal")]
    tables += table(section("signals.md", "Signals for monitoring"), "signal")

    assert {*tables, "event_received"} == found
    assert "`event_received`" in text
    assert "`signal_for(" in text


def test_every_exception_is_documented() -> None:
    text = (REFERENCE / "errors.md").read_text()
    names = {name for name, value in vars(errors).items() if isinstance(value, type)}

    assert len(names) > 20
    assert {name for name in names if not re.search(rf"`{name}[`(]|`{name}`s", text)} == set()
