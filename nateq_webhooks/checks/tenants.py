"""The check of a site with a database schema per tenant."""

from typing import Any

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections, router

from nateq_webhooks import conf
from nateq_webhooks.models import Webhook

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks")
def check_tenants(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report a connection with a schema per tenant, such as django-tenants', without the setting `TENANTS`."""
    connection = connections[router.db_for_write(Webhook) or DEFAULT_DB_ALIAS]
    if not hasattr(connection, "set_schema") or list(conf.problems()) or conf.settings().tenants:
        return []
    return [
        checks.Warning(
            "The database has a schema per tenant, but NATEQ_WEBHOOKS has no TENANTS: nateq_worker and the tasks serve "
            "only the schema that they are started in.",
            hint='Set "TENANTS": "nateq_webhooks.tenants.DjangoTenants", or name a class of your own.',
            id=f"{_PREFIX}.W046",
        )
    ]
