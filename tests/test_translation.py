"""The Arabic translation is whole: every text that is marked in the code and the templates, and nothing else.

What is marked is found with `ast` and Django's own `templatize`, so that this needs no gettext tools; where `msgfmt`
is installed it is asked, too.
"""

import ast
import gettext
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django import conf as django_conf
from django.utils.translation import ngettext, override
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).resolve().parent.parent / "nateq_webhooks"
PO = PACKAGE / "locale/ar/LC_MESSAGES/django.po"
MO = PO.with_suffix(".mo")

FORMS = 6
"Arabic has six: none, one, two, few (3-10), many (11-99), and hundreds with none to two left over."

COUNTABLE_BY_THEMSELVES = 3
"The first three forms mean one number each, so they may leave it out."

MARKS = {"_": 1, "gettext": 1, "gettext_lazy": 1, "gettext_noop": 1, "ngettext": 2, "ngettext_lazy": 2}
"How many texts begin the arguments of each call that marks some."

Message = tuple[str, ...]
"A text, and its plural where it has one."


@dataclass
class Entry:
    """An entry of the .po file."""

    flags: set[str] = field(default_factory=set)
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def message(self) -> Message:
        return tuple(self.parts[key] for key in ("msgid", "msgid_plural") if key in self.parts)

    @property
    def translations(self) -> list[str]:
        return [text for key, text in self.parts.items() if key.startswith("msgstr")]


def entries(text: str) -> Iterator[Entry]:
    """Read a .po file; the first entry is its header."""
    for block in re.split(r"\n{2,}", text.strip()):
        entry, key = Entry(), ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry.flags |= {flag.strip() for flag in line[2:].split(",")}
            if line.startswith("#"):
                continue
            if not line.startswith('"'):
                key, line = line.split(" ", 1)
            entry.parts[key] = entry.parts.get(key, "") + ast.literal_eval(line)
        yield entry


def marked_in_python(source: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        arguments = node.args[: MARKS.get(name, 0)]
        assert not any(isinstance(each, ast.JoinedStr) for each in arguments), f"line {node.lineno}: no f-string"
        texts = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if arguments and len(texts) == len(arguments):
            yield tuple(texts)


def marked_in_template(source: str) -> Iterator[Message]:
    """Return the texts of a template: `templatize` makes calls of them, with other things between."""
    quoted = r"""u?"(?:\\.|[^"\\])*"|u?'(?:\\.|[^'\\])*'"""
    for call in re.finditer(rf"\b(?:_|n?gettext)\((?:{quoted}|[^()'\"])*\)", templatize(source)):
        yield from marked_in_python(call.group())


def marked() -> set[Message]:
    found: set[Message] = set()
    for path in PACKAGE.rglob("*.py"):
        found.update(marked_in_python(path.read_text()))
    for path in PACKAGE.rglob("*.html"):
        found.update(marked_in_template(path.read_text()))
    return found


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%(?:\(\w+\))?[\d.]*[dfrs%]|\{\w*\}", text))


class AnyValue(dict[str, Any]):
    def __missing__(self, key: str) -> int:
        return 1


HEADER, *ENTRIES = entries(PO.read_text())


def test_every_marked_text_is_translated_and_no_other() -> None:
    texts = marked()

    assert len(texts) > 500
    assert {entry.message for entry in ENTRIES} == texts, (
        "Run `django-admin makemessages -l ar --no-wrap --add-location=file --no-obsolete` in nateq_webhooks, "
        "translate what is new, and run `django-admin compilemessages -l ar`."
    )


def test_no_translation_is_empty_or_a_guess() -> None:
    unfinished = [entry.message for entry in ENTRIES if "fuzzy" in entry.flags or not all(entry.translations)]

    assert not unfinished
    assert "#~ " not in PO.read_text()


def test_every_plural_has_the_six_forms_of_arabic() -> None:
    django = gettext.translation("django", Path(django_conf.__file__).parent / "locale", ["ar"])

    assert f"Plural-Forms: {django.info()['plural-forms']}" in HEADER.translations[0]
    plurals = [entry for entry in ENTRIES if len(entry.message) > 1]
    assert plurals
    assert [entry.message for entry in plurals if len(entry.translations) != FORMS] == []
    assert [entry.message for entry in ENTRIES if entry not in plurals and len(entry.translations) != 1] == []


def test_translations_have_the_placeholders_of_their_text() -> None:
    wrong = []
    for entry in ENTRIES:
        wanted = placeholders(entry.message[-1])
        for number, text in enumerate(entry.translations):
            found = placeholders(text)
            may_leave_out = len(entry.message) > 1 and number < COUNTABLE_BY_THEMSELVES
            if found - wanted or (wanted - found and not may_leave_out):
                wrong.append((entry.message[0], text))

    assert wrong == []


def test_translations_can_be_formatted() -> None:
    formatted = [entry for entry in ENTRIES if "python-format" in entry.flags and "(" in entry.message[-1]]

    assert len(formatted) > 100
    for entry in formatted:
        for text in entry.translations:
            text % AnyValue()  # raises for a sign that was not doubled


def test_what_stands_in_its_own_direction_ends() -> None:
    for entry in ENTRIES:
        for text in entry.translations:
            assert len(re.findall("[\u2066-\u2068]", text)) == text.count("\u2069"), text


def test_the_compiled_file_says_what_the_source_says() -> None:
    with MO.open("rb") as file:
        compiled = vars(gettext.GNUTranslations(file))["_catalog"]
    compiled.pop("")
    expected: dict[object, str] = {}
    for entry in ENTRIES:
        for number, text in enumerate(entry.translations):
            expected[(entry.message[0], number) if len(entry.message) > 1 else entry.message[0]] = text

    assert compiled == expected, "Run `django-admin compilemessages -l ar` in nateq_webhooks."


@pytest.mark.skipif(not shutil.which("msgfmt"), reason="msgfmt is not installed")
def test_msgfmt_finds_nothing_wrong() -> None:
    command = ["msgfmt", "--check", "--output-file=/dev/null", str(PO)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "تسليم واحد"), (2, "تسليمان"), (7, "7 تسليمات"), (11, "11 تسليمًا"), (100, "100 تسليم"), (103, "103 تسليمات")],
)
def test_deliveries_are_counted_as_arabic_counts(number: int, words: str) -> None:
    with override("ar"):
        counted = ngettext("%(number)s delivery", "%(number)s deliveries", number)

    assert counted % {"number": number} == words
