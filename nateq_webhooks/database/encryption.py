"""Encryption of what the database stores: signing secrets, and bodies that are kept until their receivers have run.

Fernet (AES-128-CBC with HMAC-SHA256) of the package `cryptography`, which is the extra `encryption`. Without it data
is stored as it is. Both forms are read, so data is converted at any time by `manage.py nateq_secrets rotate-key`.

The newest key encrypts; every key decrypts. The keys are those of `SECRET_KEYS`, then keys derived from Django's
`SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
"""

import base64
import functools
import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.translation import gettext_noop

from nateq_webhooks.conf import SETTING, SETTINGS_OF_SITE_KEYS, Problem, settings, site_keys
from nateq_webhooks.errors import DecryptionError
from nateq_webhooks.protocol.secret_text import ENCRYPTED_PREFIX, SecretBytes, SecretText

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

logger: Final = logging.getLogger("nateq_webhooks")

_ENCRYPTED: Final = ENCRYPTED_PREFIX.encode()

_PLAIN: Final = b"plain:"
"""Before data that was stored without encryption and starts with one of these prefixes itself."""

_LABEL: Final = b"nateq_webhooks: key that encrypts stored data"
"""The context (`info`) of HKDF: the same text yields other keys elsewhere."""

INSTALL: Final = 'pip install "nateq-webhooks[encryption]"'
"""The command that installs the extra."""

NOT_INSTALLED: Final = gettext_noop(
    'The stored value is encrypted, and the extra "encryption" is not installed. '
    'Install it: pip install "nateq-webhooks[encryption]"'
)
NO_KEY: Final = gettext_noop(
    'No key decrypts the stored value. Put the former key back into NATEQ_WEBHOOKS["SECRET_KEYS"], after the new one, '
    "or the former SECRET_KEY into SECRET_KEY_FALLBACKS."
)


class StoredForm(StrEnum):
    """How a value is stored."""

    NEWEST_KEY = "newest_key"
    """Encrypted with the key that encrypts now."""
    OLDER_KEY = "older_key"
    """Encrypted with another key that is known."""
    PLAIN = "plain"
    """Not encrypted."""
    UNREADABLE = "unreadable"
    """Encrypted, and no key decrypts it."""


@dataclass(frozen=True, slots=True)
class _Keyring:
    """The keys: `newest` encrypts, `all` decrypts."""

    newest: "Fernet"
    all: "MultiFernet"


def is_enabled() -> bool:
    """Return whether data is encrypted when it is written. Raises `ImproperlyConfigured` as `encrypt` does."""
    return _keyring() is not None


def encrypt(data: bytes) -> bytes:
    """Return the data as it is to be stored: encrypted, or unchanged without the extra `encryption`.

    Raises `ImproperlyConfigured` if `SECRET_KEYS` is set and the extra is missing, or if there is no key at all.
    """
    keyring = _keyring()
    if keyring is not None:
        return _ENCRYPTED + keyring.newest.encrypt(data)
    return plain(data)


def plain(data: bytes) -> bytes:
    """Return the data as it is stored without encryption."""
    return _PLAIN + data if data.startswith((_ENCRYPTED, _PLAIN)) else data


def decrypt(stored: bytes) -> bytes:
    """Return the data of a stored value of either form. Raises `DecryptionError` if no key decrypts it."""
    if not stored.startswith(_ENCRYPTED):
        return stored.removeprefix(_PLAIN)
    keyring = _keyring_to_read()
    from cryptography.fernet import InvalidToken

    try:
        return keyring.all.decrypt(stored[len(_ENCRYPTED) :])
    except InvalidToken:
        raise DecryptionError(NO_KEY) from None


def encrypt_text(text: str) -> str:
    """Return a secret, which does not start with `fernet:`, as it is to be stored.

    Raises `ImproperlyConfigured` as `encrypt` does.
    """
    if not is_enabled():
        return SecretText(text)
    return SecretText(encrypt(SecretBytes(text.encode("utf-8", "surrogatepass"))).decode())


def decrypt_text(stored: str) -> str:
    """Return the secret of a stored text of either form. Raises `DecryptionError` if no key decrypts it."""
    if not stored.startswith(ENCRYPTED_PREFIX):
        return SecretText(stored)
    return SecretText(decrypt(stored.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass"))


def form_of(stored: bytes) -> StoredForm:
    """Return how a value is stored, without revealing it."""
    if not stored.startswith(_ENCRYPTED):
        return StoredForm.PLAIN
    try:
        keyring = _keyring_to_read()
    except DecryptionError:
        return StoredForm.UNREADABLE
    from cryptography.fernet import InvalidToken

    for form, key in ((StoredForm.NEWEST_KEY, keyring.newest), (StoredForm.OLDER_KEY, keyring.all)):
        try:
            key.decrypt(stored[len(_ENCRYPTED) :])
        except InvalidToken:
            continue
        return form
    return StoredForm.UNREADABLE


def _keyring_to_read() -> _Keyring:
    """Return the keys. Raises `DecryptionError` without the extra `encryption`, and without any key."""
    try:
        keyring = _keyring()
    except ImproperlyConfigured:
        keyring = None
    if keyring is None:
        raise DecryptionError(NOT_INSTALLED if not is_installed() else NO_KEY)
    return keyring


def is_installed() -> bool:
    """Return whether the extra `encryption` is installed."""
    try:
        import cryptography.fernet  # noqa: F401
    except ImportError:
        return False
    return True


def missing_extra() -> Problem | None:
    """Return what is wrong if keys are set without the extra `encryption`: then no secret can be saved."""
    if not settings().secret_keys or is_installed():
        return None
    message = (
        f'{SETTING}["SECRET_KEYS"] is set, but the extra "encryption" is not installed: no secret can be saved, and '
        "encrypted ones can't be read."
    )
    return Problem("E030", message, f"Install it: {INSTALL}")


def why_secrets_are_refused() -> Problem | None:
    """Return why no secret can be saved, and log it; the admin and the API then answer with 503 instead of failing."""
    problem = missing_extra()
    if problem is not None:
        _report(problem)
    return problem


@functools.lru_cache(maxsize=1)
def _report(problem: Problem) -> None:
    """Log it once in a process."""
    logger.error(
        "No webhook can be changed (each change is answered with 503) until secrets can be saved: %s %s",
        problem.message,
        problem.hint,
    )


@functools.cache
def _keyring() -> _Keyring | None:
    """Return the keys; None without the extra `encryption`. Raises `ImproperlyConfigured` as `encrypt` does."""
    own = [SecretText(key) for key in settings().secret_keys]
    if not is_installed():
        if own:
            raise ImproperlyConfigured(
                f'{SETTING}["SECRET_KEYS"] is set, but the extra "encryption" is not installed. Install it: {INSTALL}'
            )
        return None
    from cryptography.fernet import Fernet, MultiFernet

    keys = [*map(_own_key, own), *map(_derived, site_keys())]
    if not keys:
        raise ImproperlyConfigured(f'Set SECRET_KEY or {SETTING}["SECRET_KEYS"]: there is no key to encrypt with.')
    fernets = [Fernet(key) for key in keys]
    return _Keyring(newest=fernets[0], all=MultiFernet(fernets))


def _own_key(text: str) -> bytes:
    """Return the key of an entry of `SECRET_KEYS`: a Fernet key as it is, any other text derived."""
    try:
        is_key = len(text) == _KEY_CHARS and len(base64.b64decode(text, altchars=b"-_", validate=True)) == _KEY_BYTES
    except ValueError:
        is_key = False
    return SecretBytes(text.encode()) if is_key else _derived(text)


_KEY_BYTES: Final = 32
_KEY_CHARS: Final = 44
"""A Fernet key: 32 bytes in URL-safe base64."""


def _derived(text: str) -> bytes:
    """Return the Fernet key that HKDF (SHA-256) derives from a text."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    hkdf = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_LABEL)
    return SecretBytes(base64.urlsafe_b64encode(hkdf.derive(SecretBytes(text.encode("utf-8", "surrogatepass")))))


def _forget(*, setting: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
    if setting in (SETTING, *SETTINGS_OF_SITE_KEYS):
        _keyring.cache_clear()


setting_changed.connect(_forget, dispatch_uid="nateq_webhooks.database.encryption")
