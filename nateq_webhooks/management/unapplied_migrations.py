"""Whether the tables are those of this version, so that what fails without them can say so."""

from typing import Final

from django.db import Error, connections, router
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from nateq_webhooks import tenants
from nateq_webhooks.models import Delivery

_APP: Final = "nateq_webhooks"


def unapplied_text() -> str:
    """Return what is wrong and what to do, if `has_unapplied_migrations`."""
    text = _("Tables or columns of this version are missing: not all migrations are applied. Run: %(command)s")
    return text % {"command": "manage.py migrate"}


def has_unapplied_migrations() -> bool:
    """Return whether the database lacks a migration of this app; False if the database can't be asked.

    False with tenants, too: each schema has migrations of its own, and it is not known which one the caller means.
    """
    connection = connections[router.db_for_write(Delivery)]
    try:
        if tenants.every() != [tenants.NO_TENANT]:
            return False
        executor = MigrationExecutor(connection)
        latest = [key for key in executor.loader.graph.leaf_nodes() if key[0] == _APP]
        return bool(executor.migration_plan(latest))
    except Error:
        return False
    finally:
        if not connection.in_atomic_block:
            connection.close()  # a worker's pool has none to spare for the main thread
