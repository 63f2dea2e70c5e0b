"""Checks of the deliveries' database and of the signing secrets in it."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, Error, connections, router

from nateq_webhooks import conf
from nateq_webhooks.errors import SecretError, SecretUnavailableError
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.signing_keys import signing_key
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.protocol.secret_text import MIN_SECRET_CHARS, visible_chars

_PREFIX = "nateq_webhooks"
_LARGE_FOR_MYSQL = 4 * 1024 * 1024
_MAX_WEBHOOKS = 20


@checks.register("nateq_webhooks")
def check_databases(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report settings of the deliveries' database that fail under load."""
    connection = connections[router.db_for_write(Webhook) or DEFAULT_DB_ALIAS]
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
        return [
            checks.Warning(
                'SQLite answers "database is locked" when two requests write at once with these OPTIONS.',
                hint=(
                    'Use OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20, '
                    '"init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;"}.'
                ),
                id=f"{_PREFIX}.W002",
            )
        ]
    if connection.vendor == "mysql" and not list(conf.problems()) and conf.settings().max_body_bytes > _LARGE_FOR_MYSQL:
        return [
            checks.Warning(
                f'NATEQ_WEBHOOKS["MAX_BODY_BYTES"] is {conf.settings().max_body_bytes}; escaped, such a body may not '
                "fit into the database's max_allowed_packet (16 MiB by default), and is then never stored.",
                hint=f"Stay at {_LARGE_FOR_MYSQL} bytes or raise max_allowed_packet to four times the setting.",
                id=f"{_PREFIX}.W003",
            )
        ]
    return []


@checks.register("nateq_webhooks", deploy=True)
def check_speed(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Suggest what makes storing deliveries on PostgreSQL cheaper: connections that are kept, prepared statements."""
    alias = router.db_for_write(Webhook) or DEFAULT_DB_ALIAS
    connection = connections[alias]
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor != "postgresql":
        return []
    if connection.settings_dict.get("CONN_MAX_AGE") == 0 and not options.get("pool"):
        return [
            checks.Info(
                f"Each request opens a connection to database {alias!r}, which takes longer than storing a delivery.",
                hint='Set CONN_MAX_AGE to None or to a number of seconds; under ASGI use OPTIONS["pool"] instead.',
                id=f"{_PREFIX}.I001",
            )
        ]
    is_psycopg3 = hasattr(getattr(connection, "Database", None), "ClientCursor")
    if not is_psycopg3 or options.get("prepare_threshold") is not None:
        return []
    return [
        checks.Info(
            f"On database {alias!r} PostgreSQL plans a statement each time that it is sent, which takes about as long "
            "as executing it.",
            hint=(
                "If connections go straight to PostgreSQL or through a pooler that keeps prepared statements, set "
                'OPTIONS["prepare_threshold"] to 2: the statements of this app, and no others, are then prepared.'
            ),
            id=f"{_PREFIX}.I002",
        )
    ]


@checks.register("nateq_webhooks", checks.Tags.database)
def check_secrets(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report secrets that can't verify anything: their deliveries are refused. Silent if tables are missing."""
    alias = router.db_for_write(Webhook)
    if alias not in (databases or ()) or list(conf.problems()):
        return []
    try:
        current = Webhook.objects.using(alias).order_by("name").values_list("name", "secret")
        older = Secret.objects.using(alias).order_by("webhook__name").values_list("webhook__name", "secret")
        found = dict(reversed([each for each in [*current, *older] if _complaint(each[1])]))
    except Error:
        return []
    return [
        checks.Warning(
            f'A signing secret of webhook "{one_line(name)}" {_complaint(found[name])}; it verifies nothing.',
            hint=f"Enter the one that Nateq shows, under Webhooks > {one_line(name)}.",
            id=f"{_PREFIX}.W004",
        )
        for name in [*reversed(found)][:_MAX_WEBHOOKS]
    ]


def _complaint(secret: str) -> str:
    """Return what is wrong with a stored secret; empty if it can verify signatures."""
    if not secret:
        return "is empty"
    try:
        signing_key(secret)
    except SecretUnavailableError:
        return ""  # E031 and E032 report it
    except SecretError:
        visible = visible_chars(secret)
        if visible < MIN_SECRET_CHARS:
            return (
                f"is too short: {visible} visible characters after its prefix, at least {MIN_SECRET_CHARS} are needed"
            )
        return 'is not at least 16 bytes in base64, as NATEQ_WEBHOOKS["SECRET_ENCODING"] says'
    return ""
