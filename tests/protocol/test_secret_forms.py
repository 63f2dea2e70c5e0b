"""One secret, written in several ways."""

import base64
import secrets

import pytest

from nateq_webhooks.errors import SecretError
from nateq_webhooks.protocol.secret_forms import Form, other_keys
from nateq_webhooks.protocol.signatures import SecretEncoding, SigningKey

ENCODED = base64.b64encode(bytes(range(200, 232))).decode()


@pytest.mark.parametrize(
    ("ours", "encoding", "form", "theirs"),
    [
        ("whsec_abc_0123456789abcdef", "utf-8", Form.WITHOUT_PREFIX, b"abc_0123456789abcdef"),
        ("abc_0123456789abcdef", "utf-8", Form.WITH_PREFIX, b"whsec_abc_0123456789abcdef"),
        (" whsec_abc_0123456789abcdef\n", "utf-8", Form.TRIMMED, b"whsec_abc_0123456789abcdef"),
        (" whsec_abc_0123456789abcdef\n", "utf-8", Form.WITHOUT_PREFIX, b"abc_0123456789abcdef"),
        ("whsec_" + ENCODED, "utf-8", Form.DECODED, bytes(range(200, 232))),
        (ENCODED.rstrip("="), "utf-8", Form.DECODED, bytes(range(200, 232))),
        (ENCODED.translate(str.maketrans("+/", "-_")), "utf-8", Form.DECODED, bytes(range(200, 232))),
        ("whsec_" + ENCODED, "base64", Form.AS_SHOWN, b"whsec_" + ENCODED.encode()),
        ("whsec_" + ENCODED, "base64", Form.AS_SHOWN, ENCODED.encode()),
    ],
)
def test_a_key_that_the_sender_may_have_made_is_found(
    ours: str, encoding: SecretEncoding, form: Form, theirs: bytes
) -> None:
    assert (form, theirs) in list(other_keys(SigningKey.of(ours, encoding).key, encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_no_form_is_the_key_itself_or_empty_whatever_the_secret(encoding: SecretEncoding) -> None:
    for secret in (
        "whsec_",
        " ",
        "=",
        "é",
        "\ud800",
        "whsec_whsec_",
        " " + "é" * 16,
        *(secrets.token_urlsafe(n) for n in range(1, 60)),
    ):
        try:
            key = SigningKey.of(secret, encoding).key
        except SecretError:
            continue
        assert all(other and other != key for _form, other in other_keys(key, encoding))
