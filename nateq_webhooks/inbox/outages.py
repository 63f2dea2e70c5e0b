"""A database that can't be asked: which errors say so, and what a request makes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error, connections

from nateq_webhooks.errors import StoreError

UNAVAILABLE: Final = (Error, SynchronousOnlyOperation)
"""Raised if the database can't be asked: the second one where gevent runs requests and an event loop in one thread
(docs/reference/receiving.md)."""


@contextmanager
def as_store_error(alias: str, problem: str) -> Iterator[None]:
    """Raise `StoreError` if the database can't do what the block asks; `problem` starts its message."""
    try:
        yield
    except UNAVAILABLE as error:
        if isinstance(error, Error):
            close_if_lost(alias)
        raise StoreError(f"{problem}: {type(error).__name__}.") from error


def close_if_lost(alias: str) -> None:
    """Close a connection after an error if it is lost: outside a request nothing else closes it."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
