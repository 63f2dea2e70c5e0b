"""System checks: what is wrong with the settings is said at start, with an id, the value and what to do."""

from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, Error, connections, router
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from nateq_webhooks import conf, dispatch
from nateq_webhooks.models import Delivery, Gate, Run, Secret, Webhook
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE
from nateq_webhooks.receivers import registry

_PREFIX = "nateq_webhooks"
_LARGE_FOR_MYSQL = 4 * 1024 * 1024
_PATIENCE = timedelta(minutes=15)
_MANY = 1000


@checks.register("nateq_webhooks")
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report every unknown key, wrong type and illegal value of `NATEQ_WEBHOOKS`, and a site without time zones."""
    found: list[checks.CheckMessage] = [
        checks.Error(problem.message, hint=problem.hint, id=f"{_PREFIX}.{problem.id}") for problem in conf.problems()
    ]
    if not conf.uses_time_zones():
        found.append(
            checks.Error(
                "USE_TZ is False, but a delivery's times are aware.",
                hint="Set USE_TZ = True.",
                id=f"{_PREFIX}.E005",
            )
        )
    return found


@checks.register("nateq_webhooks")
def check_dispatch(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report a way to dispatch that can't work here: what it needs is not installed, or its class is no runner."""
    if list(conf.problems()):
        return []
    way = conf.settings().dispatch
    try:
        if way == "celery" and find_spec("celery") is None:
            raise ImportError('Celery is not installed: pip install "nateq-webhooks[celery]".')
        runner = dispatch.runner()
        if isinstance(runner.hold, timedelta) and callable(runner.wake):
            return []
        complaint = f"its hold is a {type(runner.hold).__name__}, not a timedelta, or its wake can't be called."
    except Exception as error:  # noqa: BLE001 - whatever a class of the site's own raises when it is made
        complaint = f"{type(error).__name__}: {error}"
    return [
        checks.Error(
            f'NATEQ_WEBHOOKS["DISPATCH"] is {way!r}, which does not work here. {complaint}',
            hint="Install what it needs, or choose another way to run receivers: see docs/runs.md.",
            id=f"{_PREFIX}.E007",
        )
    ]


@checks.register("nateq_webhooks")
def check_urls(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report that the door has no URL."""
    try:
        reverse("nateq_webhooks:receive", args=["00000000-0000-0000-0000-000000000000"])
    except (NoReverseMatch, AttributeError):  # AttributeError: no ROOT_URLCONF at all
        return [
            checks.Error(
                "No URL leads to nateq_webhooks, so nothing can be received.",
                hint='Add path("nateq/", include("nateq_webhooks.urls")) to the urlpatterns of your ROOT_URLCONF.',
                id=f"{_PREFIX}.E006",
            )
        ]
    return []


@checks.register("nateq_webhooks", deploy=True)
def check_public_url(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report, for a deployment, a public URL that Nateq can't or shouldn't use."""
    if list(conf.problems()) or conf.is_https_url(conf.settings().public_url):
        return []
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["PUBLIC_URL"] is {conf.settings().public_url!r}, no https address.',
            hint="Set it to this site's address as Nateq reaches it, such as 'https://shop.example'.",
            id=f"{_PREFIX}.W001",
        )
    ]


@checks.register("nateq_webhooks")
def check_databases(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Propose, by the settings alone, what the database of the deliveries needs under load."""
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


@checks.register("nateq_webhooks", checks.Tags.database)
def check_secrets(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report webhooks whose secret is empty: each of their deliveries is refused. Silent while tables are missing."""
    alias = router.db_for_write(Webhook)
    if alias not in (databases or ()):
        return []
    try:
        empty = list(Webhook.objects.using(alias).filter(secret="").values_list("name", flat=True)[:20])
        older = list(Secret.objects.using(alias).filter(secret="").values_list("webhook__name", flat=True)[:20])
    except Error:
        return []
    return [
        checks.Warning(
            f'A signing secret of webhook "{name}" is empty; it verifies nothing.',
            hint=f"Enter the one that Nateq shows, under Webhooks > {name}.",
            id=f"{_PREFIX}.W004",
        )
        for name in dict.fromkeys([*empty, *older])
    ]


@checks.register("nateq_webhooks", checks.Tags.database)
def check_backlog(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report work that has been due for long: nobody drains it. Silent while all is paused, or tables missing."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()) or list(conf.problems()):
        return []
    since = timezone.now() - max(2 * conf.settings().run_lease, _PATIENCE)
    try:
        if any(gate.scope == EVERYTHING for gate in dispatch.paused(alias)):
            return []
        runs = Run.objects.using(alias).filter(lane=OPEN_LANE, next_try_at__lt=since)[:_MANY].count()
        deliveries = Delivery.objects.using(alias).filter(dispatch_at__lt=since)[:_MANY].count()
    except Error:
        return []
    if not runs and not deliveries:
        return []
    return [
        checks.Warning(
            f"Nobody drains what has been due since before {since:%Y-%m-%d %H:%M} UTC "
            f"(deliveries: {_up_to_many(deliveries)}, runs: {_up_to_many(runs)}).",
            hint=(
                "Run manage.py nateq_worker, or manage.py nateq_worker --once from cron every minute, or let Celery "
                "beat call the task nateq_webhooks.run_due."
            ),
            id=f"{_PREFIX}.W005",
        )
    ]


def _up_to_many(count: int) -> str:
    return f"{count} or more" if count == _MANY else str(count)


@checks.register("nateq_webhooks", checks.Tags.database)
def check_paused(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report what is paused: a deployment that ended should have resumed it. Silent while tables are missing."""
    alias = router.db_for_write(Gate)
    if alias not in (databases or ()):
        return []
    try:
        paused = dispatch.paused(alias)[:20]
    except Error:
        return []
    return [
        checks.Warning(
            f"Dispatch is paused for {gate} since {gate.paused_at:%Y-%m-%d %H:%M} UTC"
            f"{f' ({gate.reason})' if gate.reason else ''}; deliveries are stored, but their receivers wait.",
            hint="Run manage.py nateq_resume when it should go on." if not gate.is_automatic else _BREAKER_HINT,
            id=f"{_PREFIX}.W006",
        )
        for gate in paused
    ]


_BREAKER_HINT = "The circuit breaker paused it; it goes on by itself when a probe succeeds, or with nateq_resume."


@checks.register("nateq_webhooks")
def check_rate_limits(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report rate limits of receivers that are not connected: a typo limits nothing."""
    if list(conf.problems()):
        return []
    known = {receiver.name for receiver in registry}
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["RATE_LIMITS"] names {name!r}, but no receiver of that name is connected.',
            hint=f"Connected: {', '.join(sorted(known)) or 'none'}. Is its module imported in AppConfig.ready()?",
            id=f"{_PREFIX}.W007",
        )
        for name in conf.settings().rate_limits
        if name not in known
    ]
