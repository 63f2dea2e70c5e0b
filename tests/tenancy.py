"""A site with a PostgreSQL schema per tenant, set by `SET search_path`, as a site's own code would do it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connection, connections
from django.db.backends.signals import connection_created

ALPHA, BETA = "nateq_alpha", "nateq_beta"

_of_thread = threading.local()


class Schemas:
    """The tenants, named by their schemas. A thread's connection is in the thread's schema, also a new one."""

    def current(self, alias: str) -> str:
        return getattr(_of_thread, "schema", "")

    def all(self) -> list[str]:
        return [ALPHA, BETA]

    @contextmanager
    def activate(self, tenant: str) -> Iterator[None]:
        before = self.current("default")
        self._enter(tenant)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, schema: str) -> None:
        _of_thread.schema = schema
        if connection.connection is not None:
            set_search_path(connection)


def set_search_path(of: Any) -> None:
    schema = getattr(_of_thread, "schema", "")
    with of.cursor() as cursor:
        cursor.execute(f'SET search_path = "{schema}", public' if schema else "SET search_path = public")


@contextmanager
def schemas() -> Iterator[None]:
    """Make both schemas with the app's tables in them, for the length of the block."""

    def on_connect(*, connection: Any, **kwargs: Any) -> None:
        set_search_path(connection)

    connection_created.connect(on_connect)
    models = apps.get_app_config("nateq_webhooks").get_models()
    tables = [model._meta.db_table for model in models if not model._meta.proxy]
    try:
        with connection.cursor() as cursor:
            for schema in (ALPHA, BETA):
                cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                cursor.execute(f"CREATE SCHEMA {schema}")
                for table in tables:
                    cursor.execute(f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)")
        yield
    finally:
        connections.close_all()
        with connection.cursor() as cursor:
            for schema in (ALPHA, BETA):
                cursor.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection_created.disconnect(on_connect)
