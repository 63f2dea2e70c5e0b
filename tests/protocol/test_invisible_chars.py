"""What a reader can't see is written as an escape; all else stays as it is."""

import pytest

from nateq_webhooks.protocol.invisible_chars import visible


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "مرحبا 🙂", "👩‍👧 می‌خواهم", "café", ""])
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "character", [*"\x00\x1b\r\x7f\x85\u200b\u200f\u2028\u202e\u2066\u206f\ufeff", chr(0xD800), chr(0xDFFF)]
)
def test_what_can_not_be_seen_is_an_escape(character: str) -> None:
    shown = visible(f"a{character}b")

    assert shown == f"a\\u{ord(character):04x}b"
    assert shown.encode()
