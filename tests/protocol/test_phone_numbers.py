"""A phone number in a text, however it is written, and the longer numbers that it is no part of."""

import json
import time
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nateq_webhooks.protocol import erasing, phone_numbers
from nateq_webhooks.protocol.quotes import Quotes

PHONE = "+966500000101"

WRITTEN = [
    "+966500000101",
    "+966 50 000 0101",
    "+966-50-000-0101",
    "+966.50.000.0101",
    "+966 (50) 000-0101",
    "(+966) 50 000 0101",
    "+966\u00a050\u00a0000\u00a00101",
    "+966\u201150\u2011000\u20110101",
    "\u202a+966 50 000 0101\u202c",
    "+ 966 50 000 0101",
    "966 50 000 0101",
    "00966 50 000 0101",
    "00 966 500 000 101",
    "+\u0669\u0666\u0666 \u0665\u0660 \u0660\u0660\u0660 \u0660\u0661\u0660\u0661",
]

OTHERS = [
    "+966 50 000 01012",
    "1966 50 000 0101",
    "x966 50 000 0101",
    "966 50 000 0101x",
    "12 966 50 000 0101",
    "966 50 000 0101 22",
    "4966-5000-0010-1000",
    "+966 50 000 0102",
    "+966 50, 000 0101",
    "966 50\n000 0101",
    "966500.000101",
    "-966500.000101,",
    "966      50 000 0101",
]


@pytest.mark.parametrize("value", [PHONE, "+966 50 000 0101", "+966-50 000.0101"])
@pytest.mark.parametrize("text", WRITTEN)
def test_a_number_is_found_however_it_is_written(value: str, text: str) -> None:
    quotes = Quotes([value])

    for around in ("{}", "call {}.", "tel:{}; now", "({})", "a {}, b", '{{"phone":"{}"}}', "اتصل {}؟"):
        blanked = quotes.blanked(around.format(text))
        assert not any(char.isdigit() for char in blanked), blanked
        assert quotes.are_in(around.format(text))
    assert "0101" not in quotes.blanked(json.dumps(text, ensure_ascii="\u202a" in text))
    assert "0101" not in quotes.blanked(f"?q={quote(text)}&b=c")
    assert erasing.may_have(json.dumps({"a": text}, ensure_ascii=False).encode(), {value})


@pytest.mark.parametrize("text", OTHERS)
def test_another_number_is_left_alone(text: str) -> None:
    assert Quotes([PHONE]).blanked(text) == text
    assert not phone_numbers.is_same(text, PHONE)


@pytest.mark.parametrize("value", ["0500000101", "050 000 0101", "(050) 000-0101"])
def test_a_number_without_its_country_is_found(value: str) -> None:
    assert Quotes([value]).blanked("ask 050-000-0101, now") == "ask [erased], now"
    assert Quotes([value]).blanked("ask 0500.000101 or 1050-000-0101") == "ask 0500.000101 or 1050-000-0101"


@pytest.mark.parametrize(
    "value", ["123456789", "12-34-567", "usr_1234567890", "2026-06-30", "12345", "+1", "+", "", "++966500000101"]
)
def test_what_is_no_phone_number_is_found_only_as_it_is(value: str) -> None:
    assert phone_numbers.digits_of(value) == ""


@pytest.mark.parametrize(("path", "value"), [("data.who.phone", PHONE), ("data.who.phone", "966500000101")])
def test_a_person_is_found_by_the_number_at_a_path(path: str, value: str) -> None:
    for written in WRITTEN[:-1]:
        if value != PHONE and written.startswith("00"):
            continue
        body = json.dumps({"data": {"who": {"phone": written}}}).encode()
        assert erasing.may_have(body, {value})
        assert erasing.find(json.loads(body), {erasing.parse_path(path): {value}}), written
    assert not erasing.find({"data": {"who": {"phone": "+966 50 000 0102"}}}, {erasing.parse_path(path): {value}})


@given(st.text(alphabet="0123456789 .-()+\u0660a"))
def test_nothing_but_digits_between_separators_is_taken(text: str) -> None:
    blanked = Quotes([PHONE]).blanked(text)

    if blanked != text:
        ascii_digits = "".join(str(unicodedata.decimal(char)) for char in text if char.isdecimal())
        assert "966500000101" in ascii_digits


@pytest.mark.parametrize("text", ["966 50 000 010 ", "9 ", "9" * 11 + " ", "(((( 9", "0.0 "])
def test_the_time_is_in_proportion_to_the_text(text: str) -> None:
    quotes = Quotes([PHONE, "0500000101", "سارة الحربي"])

    def took(size: int) -> float:
        whole = (text * (size // len(text)))[:size] + "966500000101x"
        started = time.process_time()
        quotes.blanked(whole)
        return time.process_time() - started

    took(10_000)
    assert took(400_000) < 60 * (took(20_000) + 0.01)
