"""Sites with a database schema per tenant: whose rows this thread sees, and how to see another tenant's.

What a process remembers of the database is kept per tenant, and every thread and task that works later enters the
tenant again. Who the tenants are is said by the class that `NATEQ_WEBHOOKS["TENANTS"]` names.
"""

import functools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, Protocol

from django.db import connections
from django.utils.module_loading import import_string

from nateq_webhooks.conf import settings, uses_shared_tables

NO_TENANT: Final = ""
"""The key where there are no tenants."""


class Tenants(Protocol):
    """What a site with tenants says about them; `NATEQ_WEBHOOKS["TENANTS"]` is the dotted path of such a class.

    It is made once per process, without arguments, and used by many threads.
    """

    def current(self, alias: str) -> str:
        """Return the key of the tenant whose rows this thread's connection sees; empty: none. Asks no database."""

    def all(self) -> Iterable[str]:
        """Return the keys of all tenants that have this app's tables: whose work the workers do."""

    def activate(self, tenant: str) -> AbstractContextManager[object]:
        """Let this thread's connections see the tenant's rows for the length of the block, also when they reconnect."""


class SchemaOfConnection:
    """The default: the schema that a connection says it is in (`schema_name`, as django-tenants' do), if it does.

    It keeps tenants apart, but does not know which there are: a worker serves the one that it was started in.
    """

    def current(self, alias: str) -> str:
        """Return the name of the connection's schema; empty for a connection without one."""
        return str(getattr(connections[alias], "schema_name", None) or NO_TENANT)

    def all(self) -> Iterable[str]:
        """Return the tenant of the moment alone."""
        return [next(filter(None, map(self.current, connections)), NO_TENANT)]

    @contextmanager
    def activate(self, tenant: str) -> Iterator[None]:
        """Set the schema of each connection that can be set, and set it back afterwards."""
        able: list[Any] = [connection for connection in connections.all() if hasattr(connection, "set_schema")]
        before = [(connection, connection.tenant) for connection in able if tenant]
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
    """The tenants of django-tenants: those of its tenant model that have this app's tables."""

    def all(self) -> Iterable[str]:
        """Return the schemas' names; the public one only if this app is one of the `SHARED_APPS`."""
        from django_tenants.utils import get_public_schema_name, get_tenant_model

        public = get_public_schema_name()
        with self.activate(public):
            names = list(get_tenant_model().objects.order_by("pk").values_list("schema_name", flat=True))
        others = [name for name in names if name != public]
        return [public, *others] if uses_shared_tables() else others


@functools.cache
def _tenants_at(path: str) -> Tenants:
    made: Tenants = import_string(path)() if path else SchemaOfConnection()
    return made


def _tenants() -> Tenants:
    return _tenants_at(settings().tenants)


def current(alias: str) -> str:
    """Return the key of the tenant whose rows this thread sees; empty where there are none."""
    return _tenants().current(alias)


def every() -> list[str]:
    """Return the keys of the tenants whose work a worker does; one empty key where there are none."""
    return list(_tenants().all())


def activate(tenant: str) -> AbstractContextManager[object]:
    """Enter a tenant for the length of a block; do nothing for the empty key."""
    return _tenants().activate(tenant) if tenant else ExitStack()


def named(alias: str, pk: int) -> tuple[int] | tuple[int, str]:
    """Return what names a row to another process: its key, and its tenant's if there is one."""
    tenant = current(alias)
    return (pk, tenant) if tenant else (pk,)
