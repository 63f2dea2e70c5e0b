"""Django settings that nothing reads, and that were probably meant for the dict `NATEQ_WEBHOOKS`."""

import difflib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from django.conf import settings as django_settings

from nateq_webhooks.protocol.api import API_KEY_VARIABLE, BASE_URL_VARIABLE

_PREFIX: Final = "NATEQ_"

_COMMON_NAMES: Final = {
    "API_KEY",
    "API_KEYS",
    "BASE_URL",
    "PUBLIC_URL",
    "SECRET_KEYS",
    "TASK_BACKEND",
    "TASK_QUEUE",
    "TENANTS",
}
"""Keys of the dict that are likely names of settings of other code."""

_SIMILARITY: Final = 0.85
"""That of `NATEQ_WEBHOOK`, `NATEQ_WEBHOKS` and `NATEQWEBHOOKS` is higher."""


def misnamed(
    setting: str, raw: Mapping[str, Any], known: Collection[str], is_legal: Callable[[str, Any], bool]
) -> Iterator[tuple[str, str]]:
    """Yield the name of each such setting, and what was probably meant.

    `setting` is the name of the dict, `raw` its value, and `known` its legal keys; `is_legal` tells whether a key of it
    may have a value. A setting is left out if the dict has its key, or the environment has the variable of this name:
    then it is for other code of the site.
    """
    for name in sorted(dir(django_settings)):
        if not name.isupper() or name == setting:
            continue
        key = name.removeprefix(f"{setting}_").removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and key in known:
            is_variable = name in (API_KEY_VARIABLE, BASE_URL_VARIABLE) and name in os.environ
            if key not in raw and not is_variable:
                yield name, f'{setting}["{key}"]'
        elif name in known and name not in raw and name not in _COMMON_NAMES:
            if is_legal(name, getattr(django_settings, name)):
                yield name, f'{setting}["{name}"]'
        elif _is_like(name, setting) and isinstance(getattr(django_settings, name), dict):
            yield name, setting


def _is_like(name: str, setting: str) -> bool:
    return difflib.SequenceMatcher(None, name, setting).ratio() >= _SIMILARITY
