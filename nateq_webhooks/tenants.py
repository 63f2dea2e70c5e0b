"""Sites with a database schema per tenant: which tenant is active, and how to activate another one.

Caches of a process are per tenant, and every thread or task that works later activates the tenant again. The class in
`NATEQ_WEBHOOKS["TENANTS"]` knows the tenants.
"""

import functools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, Protocol

from django.db import connections
from django.utils.module_loading import import_string

from nateq_webhooks.conf import settings, uses_shared_tables

NO_TENANT: Final = ""
"""The key on a site without tenants."""


class Tenants(Protocol):
    """The interface of the class whose dotted path is in `NATEQ_WEBHOOKS["TENANTS"]`.

    It is instantiated once per process, without arguments, and used by many threads.
    """

    def current(self, alias: str) -> str:
        """Return the key of the tenant whose rows this thread's connection sees; empty: none. Must not query."""

    def all(self) -> Iterable[str]:
        """Return the keys of all tenants that have this app's tables; workers serve them."""

    def activate(self, tenant: str) -> AbstractContextManager[object]:
        """Let this thread's connections see the tenant's rows during the block, also after they reconnect."""


class SchemaOfConnection:
    """The default: the schema in the connection's attribute `schema_name`, if it has one (as django-tenants sets it).

    It separates tenants, but can't list them: a worker serves the tenant that was active when it started.
    """

    def current(self, alias: str) -> str:
        """Return the name of the connection's schema; empty for a connection without one."""
        return str(getattr(connections[alias], "schema_name", None) or NO_TENANT)

    def all(self) -> Iterable[str]:
        """Return the active tenant only."""
        return [next(filter(None, map(self.current, connections)), NO_TENANT)]

    @contextmanager
    def activate(self, tenant: str) -> Iterator[None]:
        """Set the schema of each connection that has `set_schema`, and reset it afterwards."""
        settable: list[Any] = [connection for connection in connections.all() if hasattr(connection, "set_schema")]
        before = [(connection, connection.tenant) for connection in settable if tenant]
        for connection, _tenant in before:
            connection.set_schema(tenant)
        try:
            yield
        finally:
            for connection, former in before:
                if former is None:
                    connection.set_schema_to_public()
                else:
                    connection.set_tenant(former)


class DjangoTenants(SchemaOfConnection):
    """The tenants of django-tenants that have this app's tables."""

    def all(self) -> Iterable[str]:
        """Return the names of the schemas; the public one only if this app is in `SHARED_APPS`."""
        from django_tenants.utils import get_public_schema_name, get_tenant_model

        public = get_public_schema_name()
        with self.activate(public):
            names = list(get_tenant_model().objects.order_by("pk").values_list("schema_name", flat=True))
        others = [name for name in names if name != public]
        return [public, *others] if uses_shared_tables() else others


@functools.cache
def _tenants_at(path: str) -> Tenants:
    tenants: Tenants = import_string(path)() if path else SchemaOfConnection()
    return tenants


def _tenants() -> Tenants:
    return _tenants_at(settings().tenants)


def current(alias: str) -> str:
    """Return the key of the active tenant; empty on a site without tenants."""
    return _tenants().current(alias)


def every() -> list[str]:
    """Return the keys of the tenants that a worker serves; one empty key on a site without tenants."""
    return list(_tenants().all())


def activate(tenant: str) -> AbstractContextManager[object]:
    """Activate a tenant during a block; do nothing for the empty key."""
    return _tenants().activate(tenant) if tenant else ExitStack()


def named(alias: str, pk: int) -> tuple[int] | tuple[int, str]:
    """Return the arguments that identify a row in another process: its key, and its tenant if there is one."""
    tenant = current(alias)
    return (pk, tenant) if tenant else (pk,)
