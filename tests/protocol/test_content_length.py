"""The header Content-Length: a number of ASCII digits, or a clear word that it is none."""

import pytest

from nateq_webhooks.protocol.content_length import AT_LEAST, ContentLengthError, content_length


@pytest.mark.parametrize("header", [None, ""])
def test_an_absent_or_empty_header_says_nothing(header: str | None) -> None:
    assert content_length(header) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [("0", 0), ("17", 17), ("0017", 17), ("0" * 5_000 + "17", 17), ("0" * 5_000, 0), ("9" * 18, 10**18 - 1)],
)
def test_ascii_digits_are_a_number(header: str, expected: int) -> None:
    assert content_length(header) == expected


@pytest.mark.parametrize("digits", [19, 4_300, 4_301, 5_000, 1_000_000])
def test_a_number_of_any_length_is_bounded(digits: int) -> None:
    assert content_length("9" * digits) == AT_LEAST


@pytest.mark.parametrize(
    "header",
    [
        "+5",
        "-1",
        " 5",
        "5 ",
        "5\n",
        "5, 5",
        "5,5",
        "5.0",
        "1_0",
        "0x5",
        "٣",
        "\uff15",
        "²",
        "\x00",
        "five",
        5,
        5.0,
        b"5",
    ],
)
def test_everything_else_is_refused(header: object) -> None:
    with pytest.raises(ContentLengthError, match="ASCII digits"):
        content_length(header)
