"""Signatures: what is accepted, why anything else is refused, and that neither ever raises or tells a secret."""

import base64
import hashlib
import hmac
import os
import random
import shutil
import subprocess
import traceback
from collections.abc import Callable

import pytest

from nateq_webhooks.errors import NateqWebhooksError, SecretError
from nateq_webhooks.protocol.signatures import (
    MAX_HEADER_CHARS,
    MAX_VALUES,
    Match,
    Mismatch,
    Reason,
    SigningKey,
    sign,
    verify,
)

BODY = b'{"event": "ticket.created", "data": {"subject": "\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7"}}'
SECRET = "whsec_0123456789abcdef"
OTHER_SECRET = "whsec_fedcba9876543210"
DIGEST = hmac.new(SECRET.encode(), BODY, hashlib.sha256).digest()
HEX = DIGEST.hex()
OTHER_HEX = hmac.new(OTHER_SECRET.encode(), BODY, hashlib.sha256).hexdigest()

BODIES = [b"", b"\x00", b"{}", BODY, bytes(range(256)), b"x" * 100_000]


def standard(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def url_safe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode()


def body_whose_base64_has(characters: str) -> tuple[bytes, bytes]:
    """A body, and its digest, for which each of these characters is in the standard base64."""
    for number in range(10_000):
        body = b"%d" % number
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
        if all(character in standard(digest) for character in characters):
            return body, digest
    raise AssertionError("unreachable: one digest in five has both")


# Signing


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("secret", [SECRET, "whsec_" + standard(BODY[:32]), "x", "clé", "مفتاح", "s" * 500])
def test_a_signature_is_the_lower_case_hex_hmac_sha256_of_the_raw_body(body: bytes, secret: str) -> None:
    assert sign(body, secret) == hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("secret", "body", "expected"),
    [
        pytest.param(
            "\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            id="RFC 4231, 4.2",
        ),
        pytest.param(
            "Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            id="RFC 4231, 4.3",
        ),
        pytest.param(
            "It's a Secret to Everybody",
            b"Hello, World!",
            "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            id="GitHub: Validating webhook deliveries",
        ),
    ],
)
def test_a_published_vector_comes_out_and_is_accepted(secret: str, body: bytes, expected: str) -> None:
    key = SigningKey(id="published", key=secret.encode())

    assert sign(body, secret) == key.sign(body) == expected
    assert verify(body, expected, [key])
    assert verify(body, f"sha256={expected}", [key])


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        pytest.param(
            b"\xaa" * 20,
            b"\xdd" * 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            id="RFC 4231, 4.4",
        ),
        pytest.param(
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            id="RFC 4231, 4.7",
        ),
    ],
)
def test_a_published_vector_whose_key_is_no_text_comes_out_of_a_base64_secret(
    key: bytes, body: bytes, expected: str
) -> None:
    secret = "whsec_" + standard(key)

    assert sign(body, secret, encoding="base64") == expected
    assert verify(body, expected, secret, encoding="base64")


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_openssl_makes_the_same_signature(body: bytes) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        assert os.environ.get("CI") != "true", "This machine has no openssl to compare with; install it."
        pytest.skip("no openssl on this machine")

    made = subprocess.run(
        [openssl, "dgst", "-sha256", "-hmac", SECRET], input=body, capture_output=True, check=True, timeout=120
    )
    signature = made.stdout.decode().split()[-1]

    assert signature == sign(body, SECRET)
    assert verify(body, signature, SECRET)


# What is accepted


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(HEX, id="lower-case hex"),
        pytest.param(HEX.upper(), id="upper-case hex"),
        pytest.param(f"sha256={HEX}", id="prefix"),
        pytest.param(f"sha256={HEX.upper()}", id="prefix, upper-case hex"),
        pytest.param(f"SHA256={HEX}", id="upper-case prefix"),
        pytest.param(standard(DIGEST), id="base64"),
        pytest.param(standard(DIGEST).rstrip("="), id="base64, unpadded"),
        pytest.param(url_safe(DIGEST), id="url-safe base64"),
        pytest.param(url_safe(DIGEST).rstrip("="), id="url-safe base64, unpadded"),
        pytest.param(f"sha256={standard(DIGEST)}", id="prefix, base64"),
        pytest.param(f"  {HEX}\t", id="white space around"),
        pytest.param(f"{HEX},", id="a comma too many"),
        pytest.param(f",{HEX}", id="a comma before"),
        pytest.param(f"{OTHER_HEX},{HEX}", id="the second of two"),
        pytest.param(f"{HEX}, {OTHER_HEX}", id="the first of two"),
        pytest.param(f"sha256={OTHER_HEX}, sha256={standard(DIGEST)}", id="the second of two, another form"),
        pytest.param(f"nonsense, {HEX}", id="beside nonsense"),
        pytest.param(f"v1=abc,{HEX},t=17", id="between nonsense"),
        pytest.param(", ".join([OTHER_HEX] * (MAX_VALUES - 1) + [HEX]), id="the last of eight"),
        pytest.param(HEX + " " * (MAX_HEADER_CHARS - len(HEX)), id="as long as a header may be"),
    ],
)
def test_every_form_of_a_genuine_signature_is_accepted(header: str) -> None:
    assert verify(BODY, header, SECRET) == Match(SigningKey.of(SECRET).id)


def test_eight_signatures_of_the_longest_form_fit_into_the_header() -> None:
    header = ", ".join([f"sha256={OTHER_HEX}"] * (MAX_VALUES - 1) + [f"sha256={HEX}"])

    assert MAX_VALUES == 8
    assert verify(BODY, header, SECRET)


def test_the_characters_in_which_the_two_alphabets_of_base64_differ_are_accepted_from_both() -> None:
    body, digest = body_whose_base64_has("+/")

    assert standard(digest) != url_safe(digest)
    assert verify(body, standard(digest), SECRET)
    assert verify(body, url_safe(digest), SECRET)


def test_a_match_names_the_key_that_signed() -> None:
    first, second = SigningKey.of(SECRET), SigningKey.of(OTHER_SECRET)

    assert verify(BODY, HEX, [first, second]) == Match(first.id)
    assert verify(BODY, OTHER_HEX, [first, second]) == Match(second.id)
    assert verify(BODY, HEX, [SECRET, OTHER_SECRET]) == Match(first.id)
    assert verify(BODY, HEX, [OTHER_SECRET, SECRET]) == Match(first.id)


def test_when_the_sender_signs_with_both_secrets_the_first_of_ours_is_named() -> None:
    both = f"{OTHER_HEX},{HEX}"

    assert verify(BODY, both, [SECRET, OTHER_SECRET]) == Match(SigningKey.of(SECRET).id)
    assert verify(BODY, both, [OTHER_SECRET, SECRET]) == Match(SigningKey.of(OTHER_SECRET).id)


def test_secrets_may_come_as_any_iterable() -> None:
    assert verify(BODY, HEX, iter((OTHER_SECRET, SECRET)))
    assert verify(BODY, HEX, (secret for secret in [SigningKey.of(SECRET)]))


def test_a_secret_is_not_read_as_a_list_of_its_characters() -> None:
    assert not verify(BODY, sign(BODY, SECRET[0]), SECRET)


def test_every_value_is_compared_with_every_key_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def remember(ours: bytes, theirs: bytes) -> bool:
        compared.append((ours, theirs))
        return compare(ours, theirs)

    monkeypatch.setattr(hmac, "compare_digest", remember)

    assert verify(BODY, f"{HEX},{OTHER_HEX},{'0' * 64}", [SECRET, OTHER_SECRET])
    assert len(compared) == 6


# What is refused, and why


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param(None, Reason.MISSING, id="absent"),
        pytest.param("", Reason.EMPTY, id="empty"),
        pytest.param(" \t ", Reason.EMPTY, id="white space"),
        pytest.param(",", Reason.EMPTY, id="a comma"),
        pytest.param(", ,,", Reason.EMPTY, id="only commas"),
        pytest.param("," * 100, Reason.EMPTY, id="a hundred commas"),
        pytest.param(f"{HEX}é", Reason.NOT_ASCII, id="an accent"),
        pytest.param(f"{HEX},é", Reason.NOT_ASCII, id="an accent beside a genuine one"),
        pytest.param("\udcff" * 64, Reason.NOT_ASCII, id="surrogates"),
        pytest.param("\xa0" + HEX, Reason.NOT_ASCII, id="a no-break space"),
        pytest.param("\u0660" * 64, Reason.NOT_ASCII, id="Arabic digits"),
        pytest.param("0" * (MAX_HEADER_CHARS + 1), Reason.TOO_LONG, id="1025 characters"),
        pytest.param(HEX + " " * (MAX_HEADER_CHARS + 1 - len(HEX)), Reason.TOO_LONG, id="1025, a genuine one"),
        pytest.param("é" * 1_000_000, Reason.TOO_LONG, id="a million characters"),
        pytest.param(",".join([HEX] * 9), Reason.TOO_MANY, id="nine genuine values"),
        pytest.param("," * 8 + HEX, Reason.TOO_MANY, id="nine values, eight empty"),
        pytest.param("z" * 64, Reason.NOT_HEX, id="64 letters"),
        pytest.param(HEX[:63] + "g", Reason.NOT_HEX, id="one letter that is no digit"),
        pytest.param(HEX[:32] + " " + HEX[32:], Reason.NOT_HEX, id="white space inside, 65 characters"),
        pytest.param(HEX[:32] + " " + HEX[33:], Reason.NOT_HEX, id="white space inside, 64 characters"),
        pytest.param(HEX[:31] + "  " + HEX[33:], Reason.NOT_HEX, id="a pair of spaces inside, 64 characters"),
        pytest.param(HEX[:31] + "\n\n" + HEX[33:], Reason.NOT_HEX, id="line breaks inside"),
        pytest.param(HEX[:-1], Reason.NOT_HEX, id="63 digits"),
        pytest.param(HEX + "0", Reason.NOT_HEX, id="65 digits"),
        pytest.param(HEX[:32], Reason.NOT_HEX, id="32 digits"),
        pytest.param(HEX + HEX, Reason.NOT_HEX, id="128 digits"),
        pytest.param("sha256=", Reason.NOT_HEX, id="a prefix alone"),
        pytest.param(f"sha256=sha256={HEX}", Reason.NOT_HEX, id="two prefixes"),
        pytest.param(f"sha1={HEX[:40]}", Reason.NOT_HEX, id="another hash"),
        pytest.param(f"sha256: {HEX}", Reason.NOT_HEX, id="another separator"),
        pytest.param(f"{HEX};{HEX}", Reason.NOT_HEX, id="joined by a semicolon"),
        pytest.param(standard(DIGEST[:31]), Reason.NOT_HEX, id="base64 of 31 bytes"),
        pytest.param(standard(DIGEST + b"x"), Reason.NOT_HEX, id="base64 of 33 bytes"),
        pytest.param("=" * 44, Reason.NOT_HEX, id="padding alone"),
        pytest.param("!" * 44, Reason.NOT_HEX, id="44 characters of no alphabet"),
        pytest.param(standard(DIGEST)[:20] + " " + standard(DIGEST)[21:], Reason.NOT_HEX, id="base64, a space in"),
        pytest.param("0" * 64, Reason.NO_MATCH, id="zeros"),
        pytest.param(OTHER_HEX, Reason.NO_MATCH, id="another secret's"),
        pytest.param(f"{OTHER_HEX},{'0' * 64}", Reason.NO_MATCH, id="two that are not ours"),
        pytest.param(standard(bytes(32)), Reason.NO_MATCH, id="base64 of zeros"),
    ],
)
def test_an_invalid_signature_is_refused_with_its_reason(header: str | None, reason: Reason) -> None:
    assert verify(BODY, header, SECRET) == Mismatch(reason)


def test_one_changed_bit_of_the_body_is_no_match() -> None:
    for position in range(len(BODY)):
        changed = bytearray(BODY)
        changed[position] ^= 1
        assert verify(bytes(changed), HEX, SECRET) == Mismatch(Reason.NO_MATCH)


def test_one_changed_digit_of_the_signature_is_no_match() -> None:
    for position, digit in enumerate(HEX):
        changed = HEX[:position] + ("0" if digit != "0" else "1") + HEX[position + 1 :]
        assert verify(BODY, changed, SECRET) == Mismatch(Reason.NO_MATCH)


@pytest.mark.parametrize("secrets", ["", [], [""], ["", ""]])
def test_an_empty_secret_does_not_verify_a_signature_of_the_empty_key(secrets: str | list[str]) -> None:
    signed_with_nothing = hmac.new(b"", BODY, hashlib.sha256).hexdigest()

    assert verify(BODY, signed_with_nothing, secrets) == Mismatch(Reason.NO_SECRET)
    assert verify(BODY, signed_with_nothing, secrets, encoding="base64") == Mismatch(Reason.NO_SECRET)


INVISIBLE = [
    " ", "\t", "\n", "\u00a0", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u034f", "\u0301", "\ufe0f",
    "\u115f", "\u2800", "\u3164", "\uffa0", "\U000e0041", "\x00", "\ud800", "\ue000",
]  # fmt: skip


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "a",
        "whsec_" + "a" * 15,
        "whsec_" * 20,
        "whsec_" * 3 + "0123456789abcde",
        *(char * 40 for char in INVISIBLE),
        *("whsec_0123456789abcde" + char * 40 for char in INVISIBLE),
    ],
    ids=ascii,
)
def test_a_secret_with_fewer_than_sixteen_visible_characters_after_the_prefix_verifies_nothing(secret: str) -> None:
    forged = sign(BODY, secret)

    assert verify(BODY, forged, secret) == Mismatch(Reason.NO_SECRET)
    assert verify(BODY, forged, [secret, SECRET]) == Mismatch(Reason.NO_MATCH)
    with pytest.raises(SecretError, match="too short"):
        SigningKey.of(secret)


@pytest.mark.parametrize("secret", ["whsec_0123456789abcdef", "0123456789abcdef", "سر طويل بما يكفي ليثبت", "🔑" * 16])
def test_sixteen_visible_characters_are_enough_in_any_script(secret: str) -> None:
    assert verify(BODY, sign(BODY, secret), secret)


@pytest.mark.parametrize(("size", "is_usable"), [(1, False), (12, False), (15, False), (16, True), (32, True)])
def test_a_base64_secret_counts_by_the_bytes_that_it_decodes_to(size: int, is_usable: bool) -> None:
    secret = "whsec_" + standard(bytes(range(size)))

    signature = sign(BODY, secret, encoding="base64")

    assert bool(verify(BODY, signature, secret, encoding="base64")) is is_usable


def test_an_empty_secret_beside_a_usable_one_changes_nothing() -> None:
    signed_with_nothing = hmac.new(b"", BODY, hashlib.sha256).hexdigest()

    assert verify(BODY, HEX, ["", SECRET])
    assert verify(BODY, signed_with_nothing, ["", SECRET]) == Mismatch(Reason.NO_MATCH)


def test_a_missing_header_is_the_reason_even_without_a_secret() -> None:
    assert verify(BODY, None, []) == Mismatch(Reason.MISSING)


def test_a_match_is_true_and_a_mismatch_false() -> None:
    assert bool(Match("")) is True
    assert [bool(Mismatch(reason)) for reason in Reason] == [False] * len(Reason)


# Totality


def test_random_text_never_raises_and_never_matches() -> None:
    dice = random.Random(20260630)
    alphabet = "0123456789abcdefABCDEFgz+/-_=, \t\r\n\x00\x7f\x85\xa0é٣\ud800\udfff😀"
    for _ in range(5_000):
        length = dice.choice([0, 1, 43, 44, 64, 64, 71, 200, 1024, 1025])
        header = "".join(dice.choices(alphabet, k=length))
        assert isinstance(verify(dice.randbytes(dice.randrange(50)), header, SECRET), Mismatch)


def test_random_bytes_read_as_a_header_never_raise_and_never_match() -> None:
    dice = random.Random(20260701)
    for _ in range(2_000):
        raw = dice.randbytes(dice.choice([0, 32, 43, 44, 64, 130]))
        for header in (raw.decode("latin-1"), raw.decode("utf-8", "surrogateescape")):
            assert isinstance(verify(raw, header, [SECRET, OTHER_SECRET]), Mismatch)


def test_a_header_matches_exactly_when_one_of_its_few_values_is_genuine() -> None:
    dice = random.Random(20260702)
    genuine = [HEX, HEX.upper(), f"sha256={HEX}", standard(DIGEST), url_safe(DIGEST).rstrip("=")]
    junk = ["", " ", "sha256=", OTHER_HEX, HEX[:-1], f"{HEX} {HEX}", "0" * 64, "v1", "=" * 44, standard(b"x" * 32)]
    seen = set()
    for _ in range(5_000):
        values = [dice.choice(genuine if dice.random() < 0.1 else junk) for _ in range(dice.randrange(1, 11))]
        header = dice.choice([",", ", ", " ,\t"]).join(values)
        expected = any(value in genuine for value in values) and len(values) <= 8 and len(header) <= 1024
        assert bool(verify(BODY, header, SECRET)) is expected, header
        seen.add(expected)
    assert seen == {True, False}


@pytest.mark.parametrize("secret", ["\ud800", "a\x00b", "é", "whsec_", " ", "=" * 9, "s" * 100_000])
@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_odd_secrets_never_make_verifying_raise(secret: str, encoding: str) -> None:
    result = verify(BODY, HEX, secret, encoding="base64" if encoding == "base64" else "utf-8")

    assert result in (Mismatch(Reason.NO_MATCH), Mismatch(Reason.NO_SECRET))


# Keys and their encoding


@pytest.mark.parametrize("prefix", ["whsec_", ""])
def test_a_base64_secret_is_decoded_after_its_prefix(prefix: str) -> None:
    key = bytes(range(32))
    signature = hmac.new(key, BODY, hashlib.sha256).hexdigest()
    secret = prefix + standard(key)

    assert sign(BODY, secret, encoding="base64") == signature
    assert verify(BODY, signature, secret, encoding="base64") == Match(SigningKey.of(secret, "base64").id)
    assert not verify(BODY, signature, secret, encoding="utf-8")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!!!", "whsec_abc", "no base64", "مفتاح", "\ud800"])
def test_a_secret_that_is_not_base64_when_it_should_be_is_refused_by_name_of_the_setting(secret: str) -> None:
    with pytest.raises(SecretError, match="SECRET_ENCODING"):
        sign(BODY, secret, encoding="base64")
    with pytest.raises(SecretError, match="SECRET_ENCODING"):
        SigningKey.of(secret, "base64")
    assert verify(BODY, HEX, secret, encoding="base64") == Mismatch(Reason.NO_SECRET)


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
def test_signing_with_an_empty_secret_is_an_error_that_says_what_to_do(encoding: str) -> None:
    with pytest.raises(SecretError, match=r"empty.*Copy it from Nateq"):
        sign(BODY, "", encoding="base64" if encoding == "base64" else "utf-8")


def test_a_secret_error_is_caught_as_any_error_of_the_package_and_as_a_value_error() -> None:
    assert issubclass(SecretError, NateqWebhooksError)
    assert issubclass(SecretError, ValueError)


def test_the_id_of_a_key_never_changes_and_is_unique() -> None:
    # These ids are stored with deliveries: a change of how they are made would orphan them.
    assert SigningKey.of("whsec_0123456789abcdef").id == "sec_53cc62d9dfe3"
    secrets = [f"whsec_{number:016}" for number in range(500)]
    assert len({SigningKey.of(secret).id for secret in secrets}) == len(secrets)


def test_the_id_of_a_key_fits_its_column_and_is_no_plain_hash_that_a_table_could_look_up() -> None:
    key = SigningKey.of(SECRET)

    assert len(key.id) <= 32
    for plain in (hashlib.md5, hashlib.sha1, hashlib.sha256):
        assert key.id.removeprefix("sec_") not in plain(SECRET.encode()).hexdigest()


def test_the_same_secret_in_another_encoding_is_another_key() -> None:
    secret = "whsec_" + standard(bytes(32))

    assert SigningKey.of(secret, "utf-8").id != SigningKey.of(secret, "base64").id


def test_no_key_and_no_result_shows_the_secret() -> None:
    key = SigningKey.of(SECRET)
    match, mismatch = verify(BODY, HEX, [key]), verify(BODY, OTHER_HEX, [key])
    shown = [repr(key), str(key), f"{key}", repr([key]), repr({"key": key}), repr(match), repr(mismatch)]

    for text in shown:
        assert SECRET not in text
        assert repr(SECRET.encode()) not in text
        assert SECRET.removeprefix("whsec_") not in text
        assert HEX not in text


@pytest.mark.parametrize("secret", ["whsec_not-base64-but-private", "private é"])
def test_no_error_and_no_cause_of_one_shows_the_secret(secret: str) -> None:
    with pytest.raises(SecretError) as caught:
        SigningKey.of(secret, "base64")

    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    assert "private" not in shown
    assert error.__cause__ is None
    assert error.__suppress_context__
