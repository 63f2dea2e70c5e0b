"""The key of a stored signing secret: its column has the secret, encrypted or not, or a reference to a variable.

`env:NAME` names an environment variable with the secret (or `NAME_FILE` a file that has it), which is read each time
that a key is built. Neither the secret nor anything derived from it is stored.
"""

import re
from typing import Final

from django.utils.translation import gettext, gettext_noop
from environ.fileaware_mapping import FileAwareMapping

from nateq_webhooks.conf import settings
from nateq_webhooks.database import encryption
from nateq_webhooks.errors import DecryptionError, SecretError, SecretUnavailableError
from nateq_webhooks.protocol.secret_text import ENCRYPTED_PREFIX, REFERENCE_PREFIX, SecretText
from nateq_webhooks.protocol.signatures import SecretEncoding, SigningKey

MAX_SECRET_CHARS: Final = 255
"""Of a secret as a person or Nateq's API gives it; the column has space for it encrypted."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

_UNREADABLE_FILE: Final = gettext_noop(
    "The signing secret is in the file that the environment variable %(name)s_FILE names, which can't be read as text. "
    "Correct the path, or let this process read the file."
)
_NOT_SET: Final = gettext_noop(
    "The signing secret is in the environment variable %(name)s, which is not set. Set it for this process."
)
_UNUSABLE: Final = gettext_noop(
    "The environment variable %(name)s has no usable signing secret: it is empty, too short, or not in "
    "SECRET_ENCODING. Set it to the secret that Nateq shows."
)
_NOT_A_NAME: Final = gettext_noop(
    'After "env:" write the name of an environment variable: letters, digits and underscores, such as env:NATEQ_SECRET.'
)
_NOT_A_REFERENCE: Final = gettext_noop(
    'A signing secret in an environment variable is written in lower case and without a space before it: "env:" and '
    "the name, such as env:NATEQ_SECRET."
)
_TOO_LONG: Final = gettext_noop("The signing secret is too long: it may have 255 characters.")


def signing_key(secret: str, encoding: SecretEncoding | None = None) -> SigningKey:
    """Return the key of a stored secret, by default in the site's `SECRET_ENCODING`.

    Raises `SecretUnavailableError` for one that can't be read, and `SecretError` for one that is unusable.
    """
    encoding = encoding or settings().secret_encoding
    text = readable_secret(secret)
    name = reference(secret)
    if name is None:
        return SigningKey.of(text, encoding)
    try:
        return SigningKey.of(text, encoding)
    except SecretError:
        raise SecretUnavailableError(_UNUSABLE, name=name) from None


def readable_secret(secret: str) -> str:
    """Return the secret itself: decrypted, or the value of the environment variable that it refers to.

    Raises `SecretUnavailableError` and `SecretError`.
    """
    name = reference(secret)
    if name is not None:
        return _from_environment(name)
    try:
        return encryption.decrypt_text(secret)
    except DecryptionError as error:
        raise SecretUnavailableError(str(error)) from None


def is_encrypted(secret: str) -> bool:
    """Return whether a secret is still encrypted: no key decrypted it when its row was read."""
    return secret.startswith(ENCRYPTED_PREFIX)


def reference(secret: str) -> str | None:
    """Return the name of the variable that a stored secret refers to; None for any other secret."""
    return secret[len(REFERENCE_PREFIX) :] if secret.startswith(REFERENCE_PREFIX) else None


def require_usable(secret: str) -> None:
    """Raise `SecretError` for a new secret that can verify nothing, or is too long (`MAX_SECRET_CHARS`)."""
    if reference(secret) is None and secret.strip()[: len(REFERENCE_PREFIX)].lower() == REFERENCE_PREFIX:
        raise SecretError(_NOT_A_REFERENCE)  # it would be taken for the secret itself
    signing_key(secret)
    if len(secret) > MAX_SECRET_CHARS and not is_encrypted(secret):
        raise SecretError(_TOO_LONG)


def why_unavailable(secret: str) -> SecretUnavailableError | None:
    """Return why a stored secret can't be read now; None if it can, also if it is unusable."""
    try:
        signing_key(secret)
    except SecretUnavailableError as error:
        return error
    except SecretError:
        return None
    return None


def problem_text(error: SecretError) -> str:
    """Return what is wrong with a secret, in the active language."""
    return gettext(error.message) % error.params if error.params else gettext(error.message)


def _from_environment(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise SecretError(_NOT_A_NAME)
    try:
        # Not Env.str: it takes a value that starts with "$" for the name of another variable, and logs it.
        value = SecretText(FileAwareMapping(cache=False)[name])
    except KeyError:
        raise SecretUnavailableError(_NOT_SET, name=name) from None
    except (OSError, ValueError):
        raise SecretUnavailableError(_UNREADABLE_FILE, name=name) from None
    return SecretText(value.strip())
