"""Encryption of stored data: keys, forms, and what happens without the extra."""

import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nateq_webhooks.database import encryption
from nateq_webhooks.database.encryption import StoredForm, decrypt, encrypt, form_of
from nateq_webhooks.errors import DecryptionError

fernet = pytest.importorskip("cryptography.fernet")

NEW, OLD = "kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP", "an older key: 7f3a9c1e5b2d8046af13"
DATA = b'{"event": "ticket.created"}'


@pytest.fixture
def _without_the_extra(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("cryptography", "cryptography.fernet"):
        monkeypatch.setitem(sys.modules, name, None)
    encryption._keyring.cache_clear()
    yield
    encryption._keyring.cache_clear()


def keys(*texts: str) -> Any:
    return override_settings(NATEQ_WEBHOOKS={"SECRET_KEYS": list(texts)})


def test_encrypted_data_has_a_prefix_and_is_another_text_each_time() -> None:
    one, other = encrypt(DATA), encrypt(DATA)
    assert one.startswith(b"fernet:")
    assert DATA not in one
    assert one != other
    assert decrypt(one) == decrypt(other) == DATA


@pytest.mark.parametrize("data", [b"", b"fernet:", b"plain:", b"plain:fernet:x", b"\x00\xff", DATA])
def test_all_data_is_read_as_it_was_written(data: bytes) -> None:
    assert decrypt(encrypt(data)) == data
    assert decrypt(encryption.plain(data)) == data


@pytest.mark.usefixtures("_without_the_extra")
@pytest.mark.parametrize("data", [b"", b"fernet:", b"plain:", b"plain:fernet:x", b"\x00\xff", DATA])
def test_without_the_extra_data_is_stored_as_it_is(data: bytes) -> None:
    assert not encryption.is_enabled()
    assert decrypt(encrypt(data)) == data
    assert form_of(encrypt(data)) == StoredForm.PLAIN
    assert encrypt(DATA) == DATA


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    with keys(OLD):
        stored = encrypt(DATA)
        assert form_of(stored) == StoredForm.NEWEST_KEY
    with keys(NEW, OLD):
        assert form_of(stored) == StoredForm.OLDER_KEY
        assert decrypt(stored) == DATA
        again = encrypt(DATA)
    with keys(NEW):
        assert decrypt(again) == DATA
        assert form_of(stored) == StoredForm.UNREADABLE
        with pytest.raises(DecryptionError, match=r"SECRET_KEYS.*after the new one"):
            decrypt(stored)


def test_a_fernet_key_is_used_as_it_is() -> None:
    key = fernet.Fernet.generate_key()
    with keys(key.decode()):
        stored = encrypt(DATA)
    assert fernet.Fernet(key).decrypt(stored.removeprefix(b"fernet:")) == DATA


def test_without_the_setting_the_keys_are_derived_from_djangos() -> None:
    with override_settings(SECRET_KEY="the first"):
        stored = encrypt(DATA)
    with override_settings(SECRET_KEY="the second"):
        assert form_of(stored) == StoredForm.UNREADABLE
    with override_settings(SECRET_KEY="the second", SECRET_KEY_FALLBACKS=["the first"]):
        assert form_of(stored) == StoredForm.OLDER_KEY
        assert decrypt(stored) == DATA
    with override_settings(SECRET_KEY="the first"), keys(NEW):
        assert form_of(stored) == StoredForm.OLDER_KEY


def test_a_key_of_django_is_never_used_as_it_is() -> None:
    key = fernet.Fernet.generate_key()
    with override_settings(SECRET_KEY=key.decode()):
        stored = encrypt(DATA)
    with pytest.raises(fernet.InvalidToken):
        fernet.Fernet(key).decrypt(stored.removeprefix(b"fernet:"))


@override_settings(SECRET_KEY="")
def test_without_any_key_nothing_is_written_in_plain_text() -> None:
    with pytest.raises(ImproperlyConfigured, match="no key to encrypt with"):
        encrypt(DATA)
    assert decrypt(DATA) == DATA
    with keys(NEW):
        assert decrypt(encrypt(DATA)) == DATA


def test_damaged_data_is_not_decrypted() -> None:
    for stored in (b"fernet:", b"fernet:AAAA", b"fernet:\xff", encrypt(DATA)[:-5], encrypt(DATA)[:-30]):
        assert form_of(stored) == StoredForm.UNREADABLE
        with pytest.raises(DecryptionError):
            decrypt(stored)


def test_keys_without_the_extra_are_an_error_and_not_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = encrypt(DATA)
    with keys(NEW):
        for name in ("cryptography", "cryptography.fernet"):
            monkeypatch.setitem(sys.modules, name, None)
        encryption._keyring.cache_clear()
        with pytest.raises(ImproperlyConfigured, match=r"nateq-webhooks\[encryption\]") as caught:
            encrypt(DATA)
        assert NEW not in str(caught.value)
        with pytest.raises(DecryptionError, match='extra "encryption" is not installed'):
            decrypt(stored)
        assert decrypt(DATA) == DATA
    encryption._keyring.cache_clear()


def test_no_error_shows_a_key() -> None:
    with keys(NEW), pytest.raises(DecryptionError) as caught:
        decrypt(b"fernet:AAAA")
    shown = [repr(value) for entry in caught.traceback for value in entry.frame.f_locals.values()]
    assert all(NEW not in text for text in shown)
