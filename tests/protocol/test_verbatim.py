"""JSON as it was written."""

import pytest

from nateq_webhooks.protocol.verbatim import Members, Number, load_verbatim


def test_nothing_is_rounded_merged_or_sorted() -> None:
    loaded = load_verbatim(b'{"b": 1.0, "a": 1e22, "a": -0, "c": [true, null, "7", 7]}')

    assert loaded == (("b", b"1.0"), ("a", b"1e22"), ("a", b"-0"), ("c", [True, None, "7", b"7"]))
    assert isinstance(loaded, Members)
    assert isinstance(loaded[0][1], Number)


def test_numbers_that_python_can_not_hold_are_read() -> None:
    digits = "9" * 5000

    assert load_verbatim(f"[{digits}, NaN, -Infinity]".encode()) == [digits.encode(), b"NaN", b"-Infinity"]


@pytest.mark.parametrize("body", [b"", b"no json", b"\xff", b"[1", b"[" * 2**20, b'{"a":' * 2**18])
def test_what_can_not_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        load_verbatim(body)
