"""Checks of a deployment: what is fine while a project is written, and not on a site that customers use."""

import difflib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from django.core import checks
from django.db import Error, router
from django.db.models import Max
from django.utils import timezone

from nateq_webhooks import conf
from nateq_webhooks.database.estimate import estimated_rows
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.api import API_KEY_VARIABLE, TEST_KEY_PREFIX
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.receivers import ANY_EVENT, registry

_PREFIX: Final = "nateq_webhooks"

RUNS_READ: Final = 200
"""The newest runs that are read to find how long receivers take."""

MIN_RUNS: Final = 20
"""With fewer, one slow run would decide."""

SLOW: Final = timedelta(seconds=5)
"""Receivers that take longer in the request: Nateq waits for 10 seconds in all (Nateq: Retries)."""

LARGE: Final = 1_000_000
"""Rows from which on a table is large."""

OLD: Final = timedelta(days=90)

_MAX_NAMED: Final = 12
"""How many events a message names."""


@checks.register("nateq_webhooks", deploy=True)
def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report settings that a deployment should not have."""
    if list(conf.problems()):
        return []
    return [*_of_debug(), *_of_retention(), *_of_keys(), *_of_proxies()]


def _of_debug() -> Iterator[checks.CheckMessage]:
    if conf.is_debug():
        yield checks.Warning(
            "DEBUG is on: error pages show what customers wrote, and a worker keeps its statements in memory.",
            hint="Set DEBUG = False.",
            id=f"{_PREFIX}.W070",
        )


def _of_retention() -> Iterator[checks.CheckMessage]:
    if not conf.settings().retention_rules:
        yield checks.Info(
            'NATEQ_WEBHOOKS["RETENTION"] sets no period: every delivery is kept for ever, with what customers wrote.',
            hint=(
                'Say how long to keep them, such as NATEQ_WEBHOOKS = {"RETENTION": {"payload": 90, "delivery": 365}}; '
                "see nateq_prune."
            ),
            id=f"{_PREFIX}.I003",
        )


def _of_keys() -> Iterator[checks.CheckMessage]:
    settings = conf.settings()
    variable = "" if settings.api_key else os.environ.get(API_KEY_VARIABLE, "")
    keys = {
        'NATEQ_WEBHOOKS["API_KEY"]': settings.api_key,
        f"The environment variable {API_KEY_VARIABLE}": variable,
        **{f'NATEQ_WEBHOOKS["API_KEYS"][{one_line(name)!r}]': key for name, key in settings.api_keys.items()},
    }
    for name in [name for name, key in keys.items() if key.startswith(TEST_KEY_PREFIX)]:
        yield checks.Warning(
            f"{name} is a test key of Nateq's API ({TEST_KEY_PREFIX}...): webhooks of the live account are not found.",
            hint="Use a live key in this environment.",
            id=f"{_PREFIX}.W072",
        )


def _of_proxies() -> Iterator[checks.CheckMessage]:
    site, settings = conf.site(), conf.settings()
    signs = {"SECURE_PROXY_SSL_HEADER": site.proxy_ssl_header, "USE_X_FORWARDED_HOST": site.forwarded_host}
    told = [name for name, is_set in signs.items() if is_set]
    if told and not settings.trusted_proxies and not settings.allowed_networks:  # W043 is about the allow-list
        yield checks.Warning(
            f'{" and ".join(told)} says that a proxy is in front of this site, but NATEQ_WEBHOOKS["TRUSTED_PROXIES"] '
            "is 0: refused requests and API keys see the proxy's address instead of the sender's.",
            hint="Set TRUSTED_PROXIES to the number of proxies.",
            id=f"{_PREFIX}.W073",
        )
    if settings.trusted_proxies and not told:
        yield checks.Warning(
            f'NATEQ_WEBHOOKS["TRUSTED_PROXIES"] is {settings.trusted_proxies}, but no setting of the site names a '
            "proxy. Without one, any sender can choose its address in X-Forwarded-For.",
            hint="Set TRUSTED_PROXIES to 0, or, behind a proxy, SECURE_PROXY_SSL_HEADER (Django's documentation).",
            id=f"{_PREFIX}.W074",
        )


@checks.register("nateq_webhooks", checks.Tags.database, deploy=True)
def check_slow_receivers(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report receivers that take long in the request. Silent if tables are missing."""
    alias = router.db_for_write(Run)
    if alias not in (databases or ()) or list(conf.problems()) or conf.settings().dispatch != "inline":
        return []
    try:
        times = list(Run.objects.using(alias).order_by("-pk").values_list("started_at", "finished_at")[:RUNS_READ])
    except Error:
        return []
    took = sorted(end - start for start, end in times if start is not None and end is not None)
    if len(took) < MIN_RUNS or (p95 := took[-(-len(took) * 95 // 100) - 1]) <= SLOW:
        return []
    return [
        checks.Warning(
            f"Receivers run in the request, and of the last {len(took)} runs 5 % took {p95.total_seconds():.0f} "
            "seconds or longer: each keeps a process of the server, and Nateq sends a delivery again that is not "
            "answered in time.",
            hint="Set DISPATCH to 'worker' and run manage.py nateq_worker, or use 'tasks' or 'celery'.",
            id=f"{_PREFIX}.W075",
        )
    ]


@checks.register("nateq_webhooks", checks.Tags.database, deploy=True)
def check_subscriptions(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report receivers of events that no webhook gets, and webhooks of events that were renamed."""
    alias = router.db_for_read(Webhook)
    if alias not in (databases or ()):
        return []
    try:
        webhooks = list(Webhook.objects.using(alias).filter(is_active=True).only("name", "events").order_by("name"))
        known = known_events()
    except Error:
        return []
    return [*_unsubscribed(webhooks), *_renamed(webhooks, sorted(known))]


def _events_of(webhook: Webhook) -> list[str]:
    return [str(event) for event in webhook.events] if isinstance(webhook.events, list) else []


def _unsubscribed(webhooks: Sequence[Webhook]) -> Iterator[checks.CheckMessage]:
    """Report receivers of events that no active webhook gets; one without a list gets all."""
    listed = [_events_of(webhook) for webhook in webhooks]
    if not listed or not all(listed):
        return
    missing = sorted(registry.events() - {ANY_EVENT}.union(*listed))
    for event in missing[:_MAX_NAMED]:
        names = ", ".join(receiver.name for receiver in registry.for_event(event))
        yield checks.Warning(
            f"{names} is connected to {event!r}, which no active webhook subscribes to: it never runs.",
            hint=f"Add {event!r} to the events of a webhook, here and at Nateq, or disconnect the receiver.",
            id=f"{_PREFIX}.W076",
        )


def _renamed(webhooks: Sequence[Webhook], known: Sequence[str]) -> Iterator[checks.CheckMessage]:
    """Report events of webhooks that are not known, but whose name is like that of a known one."""
    for webhook in webhooks:
        for event in [event for event in _events_of(webhook) if event not in known][:_MAX_NAMED]:
            close = difflib.get_close_matches(event, known, n=1, cutoff=0.6)
            if close:
                yield checks.Warning(
                    f'Webhook "{one_line(webhook.name)}" subscribes to {one_line(event)!r}, which is neither published '
                    "nor in the events fetched from Nateq.",
                    hint=f"Was it renamed to {close[0]!r}? Fetch the events to be sure: manage.py nateq_events.",
                    id=f"{_PREFIX}.W077",
                )


@checks.register("nateq_webhooks", checks.Tags.database)
def check_growth(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report a table that is large and old while nothing is removed. Reads no more than two rows."""
    alias = router.db_for_write(Delivery)
    if alias not in (databases or ()) or list(conf.problems()) or conf.settings().retention_rules:
        return []
    rows = Delivery.objects.using(alias).order_by()
    try:
        number = estimated_rows(rows)
        if number is None:  # SQLite keeps no statistics; its newest key is an upper bound
            number = rows.aggregate(newest=Max("pk"))["newest"] or 0
        if number < LARGE:
            return []
        oldest = rows.order_by("pk").values_list("received_at", flat=True).first()
    except Error:
        return []
    if oldest is None or oldest > timezone.now() - OLD:
        return []
    return [
        checks.Warning(
            f"There are about {number:,} deliveries, the oldest of {oldest:%Y-%m-%d}, and nothing removes them.",
            hint='Set NATEQ_WEBHOOKS["RETENTION"], look at manage.py nateq_prune --dry-run, then run nateq_prune.',
            id=f"{_PREFIX}.W078",
        )
    ]
