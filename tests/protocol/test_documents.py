"""JSON from outside: an object, or a `ValueError` that says what came instead."""

import pytest

from nateq_webhooks.protocol.documents import load_object


def test_an_object_is_loaded_with_or_without_a_byte_order_mark() -> None:
    assert load_object(b'{"a": [1]}') == {"a": [1]}
    assert load_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Expecting value"),
        (b"\xff", "not UTF-8"),
        (b"[" * 200_000, "nested too deep"),
        (b"1" * 5000, "digits"),
        (b"[]", "a list"),
        (b"null", "null"),
        (b"true", "a boolean"),
        (b'"x"', "a string"),
        (b"1.5", "a number"),
    ],
)
def test_anything_else_is_a_value_error(body: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_object(body)
