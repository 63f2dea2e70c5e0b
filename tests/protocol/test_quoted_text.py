"""Values are found in a text that quotes them, however often they were escaped on the way."""

import html
import json
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nateq_webhooks.protocol.quoted_text import PlainText, plain_form
from nateq_webhooks.protocol.quotes import Quotes

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON with large digits": lambda text: json.dumps(text).replace("\\u064a", "\\u064A"),
    "JSON with escaped slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "Python": repr,
    "Python in Python": lambda text: repr(repr(text)),
    "bytes": lambda text: repr(text.encode()),
    "bytes of JSON": lambda text: repr(json.dumps(text, ensure_ascii=False).encode()),
    "Latin-1": lambda text: text.encode("ascii", "backslashreplace").decode(),
    "URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "bytes in a URL": lambda text: quote(repr(text.encode()), safe=""),
    "URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "JavaScript's URL": lambda text: quote(text, safe="!'()*~"),
    "JSON in a URL in JSON": lambda text: json.dumps(quote(json.dumps(text))),
    "HTML": html.escape,
    "HTML in HTML": lambda text: html.escape(html.escape(text)),
    "HTML in a URL": lambda text: quote(html.escape(text), safe=""),
    "references": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "traceback": lambda text: traceback.format_exception_only(ValueError(text))[0],
    "traceback of a group": lambda text: "".join(
        traceback.format_exception(ExceptionGroup("many", [ExceptionGroup("more", [ValueError(text)])]))
    ),
}
VALUES = [
    "sara@example.com",
    "+966 55 123 4567",
    "سارة يوسف",
    "ي/ي",
    'she said "no", it\'s <late> & done',
    "first line\nsecond line\r\n\tthird",
    "C:\\new\\table",
    "100% of a+b",
    "fünf é",
    "grin \U0001f600 \U0001f601",
]


@pytest.mark.parametrize(
    "value",
    [
        *(value for value in VALUES if len(value) >= 5 and "\n" not in value),
        "o'brien@x.example",
        "Straße_1",
        "ÜsEr_Ñandú",
        "أحمد/علي",
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_what_an_erasure_blanks_it_finds_in_each_form(form: str, value: str) -> None:
    text = f"before {FORMS[form](value)} after"

    blanked = Quotes([value]).blanked(text)

    assert Quotes([value]).are_in(text)
    assert "[erased]" in blanked
    assert blanked.startswith("before ")
    assert blanked.endswith(" after")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMS)
def test_a_value_is_found_in_each_form(form: str, value: str) -> None:
    written = FORMS[form](value)

    masked = PlainText(f"before {written} after").masked([plain_form(value)], "[X]")

    assert "[X]" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert plain_form(value) not in PlainText(masked).plain


@given(st.text(min_size=4), st.sampled_from(sorted(FORMS)))
def test_what_is_around_a_value_stays(value: str, form: str) -> None:
    plain = plain_form(value)
    text = f"before: {FORMS[form](value) if value.isprintable() else value} :after"

    masked = PlainText(text).masked([plain] if plain else [], "[X]")

    assert masked.startswith("before")
    assert masked.endswith("after")


@given(st.text())
def test_a_text_has_one_plain_form(text: str) -> None:
    assert PlainText(text).plain.strip(" ") == plain_form(text)
    assert PlainText(text).masked([], "[X]") == text


@given(st.text(), st.lists(st.text(min_size=1)))
def test_any_text_can_be_masked(text: str, values: list[str]) -> None:
    plain = [each for each in map(plain_form, values) if each]

    assert isinstance(PlainText(text).masked(plain, "[X]"), str)


def test_values_that_overlap_are_masked_together() -> None:
    assert PlainText("<ab cd ef>").masked(["ab cd", "cd ef"], "[X]") == "<[X]>"


def test_a_text_that_ends_in_the_middle_of_an_escape() -> None:
    assert PlainText("no \\u0633\\u0627\\u0631\\u0629\\u06").masked(["سارة يوسف"], "[X]") == "no [X]"
    assert PlainText("no %D8%B3%D8%A7%D8%B1%D8%A9%").masked(["سارة يوسف"], "[X]") == "no [X]"
