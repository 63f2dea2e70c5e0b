"""Checks of the receivers and of the runner."""

import difflib
from collections.abc import Sequence
from typing import Any, Final

from django.core import checks
from django.db import Error, router
from django.utils import timezone

from nateq_webhooks import conf
from nateq_webhooks.checks.processing import MAX_IDLE
from nateq_webhooks.checks.site import lacks_celery
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.receivers import ANY_EVENT, registry

_PREFIX = "nateq_webhooks"

_MAX_NAMED: Final = 12
"""How many events a message names."""


@checks.register("nateq_webhooks", checks.Tags.database)
def check_events(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report events that are subscribed to and have no receiver. Silent if tables are missing."""
    alias = router.db_for_read(Webhook)
    connected = registry.events()
    if alias not in (databases or ()) or ANY_EVENT in connected:
        return []
    try:
        webhooks = list(Webhook.objects.using(alias).filter(is_active=True).only("name", "events").order_by("name"))
    except Error:
        return []
    return [
        checks.Warning(
            f"No receiver is connected to {_without_receiver(webhook, connected)}, which webhook "
            f'"{one_line(webhook.name)}" subscribes to: deliveries are stored, but nothing runs.',
            hint=(
                "Import the receivers' module in AppConfig.ready(), connect a receiver, or remove the events from the "
                f"webhook. Connected: {', '.join(sorted(connected)) or 'none'}."
            ),
            id=f"{_PREFIX}.W050",
        )
        for webhook in webhooks
        if _without_receiver(webhook, connected)
    ]


def _without_receiver(webhook: Webhook, connected: set[str]) -> str:
    """Return the events of a webhook that have no receiver, as text; empty if each has one.

    A webhook of all events needs at least one receiver, not one for each event.
    """
    listed = _listed(webhook)
    if not listed:
        return "" if connected else "any event"
    missing = [event for event in listed if event not in connected]
    more = len(missing) - _MAX_NAMED
    return ", ".join(missing[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


@checks.register("nateq_webhooks", checks.Tags.database)
def check_event_names(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report receivers of an unknown event with a name similar to a known one: probably a typing error."""
    alias = router.db_for_read(Webhook)
    if alias not in (databases or ()):
        return []
    try:
        known = set(known_events())
        known.update(*(_listed(one) for one in Webhook.objects.using(alias).only("events")))
    except Error:
        return []
    found: list[checks.CheckMessage] = []
    for event in sorted(registry.events() - known - {ANY_EVENT}):
        close = difflib.get_close_matches(event, sorted(known), n=1, cutoff=0.8)
        if close:
            names = ", ".join(receiver.name for receiver in registry.for_event(event))
            found.append(
                checks.Warning(
                    f"{names} is connected to {event!r}, which is neither published, nor in the events fetched from "
                    "Nateq, nor subscribed to by a webhook.",
                    hint=f"Did you mean {close[0]!r}? If Nateq offers {event!r}, fetch the events: nateq_events.",
                    id=f"{_PREFIX}.W055",
                )
            )
    return found


def _listed(webhook: Webhook) -> list[str]:
    """Return the events that a webhook lists."""
    return [str(event) for event in webhook.events] if isinstance(webhook.events, list) else []


@checks.register("nateq_webhooks")
def check_imported_twice(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report receivers whose module was imported under two names: each delivery runs them twice."""
    return [
        checks.Warning(
            f"The receivers {one.name} and {other.name} are the same function: its module was imported under two "
            "names, and each delivery runs it twice.",
            hint="Import the module by the same name everywhere, that of its app in INSTALLED_APPS.",
            id=f"{_PREFIX}.W051",
        )
        for one, other in registry.imported_twice()
    ]


@checks.register("nateq_webhooks")
def check_runner(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report what the runner finds wrong with its own setup; E007 reports one that can't be created."""
    runner = _runner()
    if runner is None or not hasattr(runner, "problems") or lacks_celery():
        return []
    try:
        return [checks.Warning(one.message, hint=one.hint, id=f"{_PREFIX}.{one.id}") for one in runner.problems()]
    except Exception as error:  # noqa: BLE001 - a broker's client may raise anything
        return [
            checks.Error(
                f'NATEQ_WEBHOOKS["DISPATCH"] is {conf.settings().dispatch!r}, whose setup can\'t be read: '
                f"{type(error).__name__}: {error}",
                hint="Correct the settings that it names.",
                id=f"{_PREFIX}.E025",
            )
        ]


@checks.register("nateq_webhooks", checks.Tags.database)
def check_recovery(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report that no worker retries failed runs, once there are deliveries. Silent if tables are missing."""
    alias = router.db_for_write(Delivery)
    runner = _runner()
    if alias not in (databases or ()) or runner is None or _recovers_by_itself(runner):
        return []
    since = timezone.now() - MAX_IDLE
    try:
        if Heartbeat.objects.using(alias).filter(seen_at__gte=since).exists():
            return []
        if not Delivery.objects.using(alias).filter(received_at__lt=since).exists():
            return []
    except Error:
        return []
    return [
        checks.Warning(
            f"No worker has been seen since {since:%Y-%m-%d %H:%M} UTC: failed runs are not retried, and runs that a "
            "broker or a killed process lost are not found.",
            hint=_RECOVERY_HINT,
            id=f"{_PREFIX}.W054",
        )
    ]


_RECOVERY_HINT: Final = (
    "Run manage.py nateq_worker, or manage.py nateq_worker --once from cron every minute, or let Celery beat call the "
    "task nateq_webhooks.run_due."
)


def _recovers_by_itself(runner: Any) -> bool:
    try:
        return bool(getattr(runner, "recovers_by_itself", False))
    except Exception:  # noqa: BLE001 - reported by the check of the runner
        return True


def _runner() -> Any:
    """Return the runner; None if the settings or the runner are invalid, which other checks report."""
    if list(conf.problems()):
        return None
    try:
        return api.runner()
    except Exception:  # noqa: BLE001 - a class of the site may raise anything; E007 reports it
        return None
