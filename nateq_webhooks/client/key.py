"""The API key, in an object that is never printed, logged or pickled (Nateq: authentication)."""

import re
from typing import Any, Final, NoReturn
from urllib.parse import quote

from nateq_webhooks.errors import NateqConfigurationError
from nateq_webhooks.protocol.api import KEYS_SCREEN, LIVE_KEY_PREFIX, TEST_KEY_PREFIX, is_api_key

MASK: Final = "[API key]"
"""Replaces the key in text."""

MAX_DEPTH: Final = 20
"""How deep an error's details may be nested; what is deeper is cut."""


class ApiKey:
    """Holds the key. Its repr shows only the prefix, and it can't be pickled.

    Wrap a key first and check it then: a traceback with local variables shows the wrapper only.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text: Final = text

    def __repr__(self) -> str:
        return f"ApiKey('{self._prefix or ''}…')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An API key can't be pickled or copied.")

    @property
    def _prefix(self) -> str | None:
        text = self._text if isinstance(self._text, str) else ""
        return next((prefix for prefix in (LIVE_KEY_PREFIX, TEST_KEY_PREFIX) if text.startswith(prefix)), None)

    @property
    def is_test(self) -> bool:
        """Whether the key is for Nateq's sandbox data (`tg_test_`)."""
        return self._prefix == TEST_KEY_PREFIX

    @property
    def bearer(self) -> str:
        """The value of the `Authorization` header, the only place that the key is sent in."""
        return f"Bearer {self._text}"

    def check(self) -> None:
        """Raise `NateqConfigurationError` for text that can't be a key, before it is sent anywhere."""
        problem = self._problem()
        if problem:
            raise NateqConfigurationError(
                f"{problem} Make a key under {KEYS_SCREEN}, and pass it as api_key= or set NATEQ_API_KEY."
            )

    def scrub(self, value: Any, *, max_depth: int = MAX_DEPTH) -> Any:
        """Return `value` (text, or JSON read from an answer) without the key in it."""
        if isinstance(value, str) and self._text:
            forms = "|".join(map(re.escape, (self._text, quote(self._text, safe=""))))
            return re.sub(forms, MASK, value, flags=re.IGNORECASE)  # a host comes back in lower case
        if isinstance(value, dict | list) and max_depth == 0:
            return "[nested deeper]"
        if isinstance(value, dict):
            return {self.scrub(k): self.scrub(v, max_depth=max_depth - 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.scrub(item, max_depth=max_depth - 1) for item in value]
        return value

    def _problem(self) -> str:
        text = self._text
        if text is None or text == "":
            return "There is no API key."
        if not isinstance(text, str):
            return f"The API key is of type {type(text).__name__}, not str."
        if text != text.strip():
            return "The API key has white space around it, as when it was copied with its line."
        if self._prefix is None:
            return f"An API key starts with {LIVE_KEY_PREFIX} or {TEST_KEY_PREFIX}; this one does not."
        if not is_api_key(text):
            return f"The API key ({len(text)} characters) is cut short or holds a character that no key has."
        return ""
