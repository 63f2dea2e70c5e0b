"""Checks of overdue work, pauses and rate limits."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core import checks
from django.db import Error, router
from django.utils import timezone

from nateq_webhooks import conf
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.holds import read_holds
from nateq_webhooks.dispatch.pauses import named_scopes
from nateq_webhooks.dispatch.status import due_deliveries, due_runs
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import Hold, scope_parts
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.receivers import registry

_PREFIX = "nateq_webhooks"
MAX_IDLE = timedelta(minutes=15)
"""How long work may be overdue, or no worker seen, before a check warns."""

_MANY = 1000


@checks.register("nateq_webhooks", checks.Tags.database)
def check_backlog(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report overdue work: no worker runs it. Silent if everything is paused or tables are missing."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()) or list(conf.problems()):
        return []
    since = timezone.now() - max(2 * conf.settings().run_lease, MAX_IDLE)
    try:
        state = read_holds(alias)
        runs = due_runs(Run.objects.using(alias).all(), since, state)[:_MANY].count()
        deliveries = due_deliveries(Delivery.objects.using(alias), since, state)[:_MANY].count()
    except Error:
        return []
    if not runs and not deliveries:
        return []
    return [
        checks.Warning(
            f"No worker has run the work that has been due since before {since:%Y-%m-%d %H:%M} UTC "
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
    """Report pauses: after a deployment they should have ended. Silent if tables are missing."""
    alias = router.db_for_write(Hold)
    if alias not in (databases or ()):
        return []
    try:
        paused = api.paused(alias)[:20]
        names = named_scopes(alias, paused)
    except Error:
        return []
    return [
        checks.Warning(
            f"Dispatch is paused for {one_line(names[hold.pk])} since {hold.paused_at:%Y-%m-%d %H:%M} UTC"
            f"{f' ({one_line(hold.reason)})' if hold.reason else ''}; deliveries are stored, but their receivers wait.",
            hint=_BREAKER_HINT if hold.is_automatic else f"Run {_resume(hold)} when it should resume.",
            id=f"{_PREFIX}.W006",
        )
        for hold in paused
    ]


def _resume(hold: Hold) -> str:
    """Return the command that ends a pause."""
    webhook, receiver = scope_parts(hold.scope)
    if receiver:  # also ends what the circuit breaker has paused of it, for any webhook
        return f"manage.py nateq_resume --receiver {receiver}"
    return f"manage.py nateq_resume --webhook {webhook}" if webhook else "manage.py nateq_resume --all"


_BREAKER_HINT = "The circuit breaker paused it; it resumes by itself when a probe succeeds, or with nateq_resume."


@checks.register("nateq_webhooks")
def check_rate_limits(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report rate limits of receivers that are not connected, such as a mistyped name."""
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
