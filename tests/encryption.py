"""Settings and rows for tests of encrypted secrets."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from nateq_webhooks.database import encryption
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Secret, Webhook

NEW_KEY, OLD_KEY = "kL8vVhZ1fQ2sXw9yR4tN6mB3cD5gH7jP", "an older key: 7f3a9c1e5b2d8046af13"


def keys(*texts: str, **settings: Any) -> Any:
    """Override `SECRET_KEYS` and other settings."""
    return override_settings(NATEQ_WEBHOOKS={"SECRET_KEYS": list(texts)} | settings)


@contextmanager
def without_the_extra() -> Iterator[None]:
    """Let the package `cryptography` be missing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cryptography", "cryptography.fernet"):
            patch.setitem(sys.modules, name, None)
        encryption._keyring.cache_clear()
        cache.invalidate()
        yield
    encryption._keyring.cache_clear()
    cache.invalidate()


def columns(*models: Any) -> list[str]:
    """Return the column `secret` of every row, as the database has it."""
    with connection.cursor() as cursor:
        found = []
        for model in models or (Webhook, Secret):
            cursor.execute(f"SELECT secret FROM {model._meta.db_table} ORDER BY 1")
            found += [row[0] for row in cursor.fetchall()]
    return found


def store_as(row: Webhook | Secret, text: str) -> None:
    """Write a row's column as it is."""
    rows: Any = type(row)._default_manager.all()
    stored = rows.with_stored().get(pk=row.pk).stored
    assert rows.replace_stored(row.pk, stored, text)
    cache.invalidate()
