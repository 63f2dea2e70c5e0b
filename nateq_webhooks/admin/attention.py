"""What needs somebody beside failures: a backlog, refused requests, a pause, and workers that are gone.

Each from an index or a table that is small by itself, and never more rows than a cap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Case, Count, Max, QuerySet, When
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.dispatch import PARKED
from nateq_webhooks.dispatch.status import SEEN_LATELY
from nateq_webhooks.inbox import Refusal
from nateq_webhooks.models import Delivery, Gate, Heartbeat, Rejection, Run, Webhook
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE, receiver_scope, webhook_scope

MAX_COUNTED: Final = 10_000
"""Rows of a backlog that are counted."""

LATE: Final = timedelta(minutes=1)
"""What is due for longer than this waits for somebody: a worker looks every few seconds."""

LATELY: Final = timedelta(hours=24)
"""How far back refused requests count."""

MAX_REFUSALS: Final = 20
"""Lines of refused requests: a webhook and a reason each."""

_OPEN: Final = (Run.Status.WAITING, Run.Status.FAILED, Run.Status.RUNNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What has been due for longer than `LATE`: how much, and since when the oldest."""

    number: int
    is_capped: bool
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusals:
    """Requests to a webhook that were refused for one reason, as far as the diary keeps them."""

    webhook: Webhook
    reason: str
    number: int
    newest: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """What is paused, since when, by whom and why, and how many runs it holds back."""

    what: str
    is_receiver: bool
    since: datetime | None
    by: str
    reason: str
    is_automatic: bool
    held: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """The workers seen lately, and when the last of all was seen; None when none ever was."""

    number: int
    last: datetime | None


def deliveries_due(now: datetime) -> Backlog | None:
    """Return the deliveries whose runs should have been made by now; None when there is none."""
    late = Delivery.objects.filter(dispatch_at__lte=now - LATE).order_by("dispatch_at")
    return _backlog(late, "dispatch_at")


def runs_due(now: datetime) -> Backlog | None:
    """Return the runs that should have been started by now; None when there is none."""
    late = Run.objects.filter(lane=OPEN_LANE, next_try_at__lte=now - LATE, status__in=_OPEN).order_by("next_try_at")
    return _backlog(late, "next_try_at")


def _backlog(rows: QuerySet[Any], column: str) -> Backlog | None:
    oldest = rows.values_list(column, flat=True).first()
    if oldest is None:
        return None
    number, is_capped = _capped(rows)
    return Backlog(number=number, is_capped=is_capped, since=oldest)


def _capped(rows: QuerySet[Any]) -> tuple[int, bool]:
    number = rows.values("pk")[: MAX_COUNTED + 1].count()
    return min(number, MAX_COUNTED), number > MAX_COUNTED


def refusals(now: datetime, webhooks: Sequence[Webhook]) -> list[Refusals]:
    """Return what was refused lately, GETs last: an uptime monitor's are many, and mean little.

    What is kept of the refused requests is bounded per webhook and reason.
    """
    by_key = {webhook.pk: webhook for webhook in webhooks}
    lately = Rejection.objects.filter(received_at__gte=now - LATELY, webhook__in=by_key).order_by()
    counted = lately.values_list("webhook_id", "reason").annotate(number=Count("pk"), newest=Max("received_at"))
    means_little = Case(When(reason=Refusal.NOT_POST.value, then=1), default=0)
    rows = counted.order_by(means_little, "-number", "reason")[:MAX_REFUSALS]
    return [
        Refusals(webhook=by_key[webhook_id], reason=reason, number=number, newest=newest)
        for webhook_id, reason, number, newest in rows
    ]


def pauses(webhooks: Sequence[Webhook]) -> list[Pause]:
    """Return what is paused by a person or by itself, the oldest pause first."""
    gates = Gate.objects.filter(paused_at__isnull=False).order_by("paused_at")
    names = {webhook_scope(webhook.pk): webhook.name for webhook in webhooks}
    return [_pause(gate, names) for gate in gates]


def held_by(gate: Gate) -> str:
    """Say how many runs a gate holds back; what everything's pause holds stays in the open lane."""
    number, is_capped = _held(gate)
    shown = number_format(number)
    if is_capped:
        shown = _("more than %(number)s") % {"number": shown}
    return ngettext("%(number)s run is held back.", "%(number)s runs are held back.", number) % {"number": shown}


def _held(gate: Gate) -> tuple[int, bool]:
    lanes = Run.objects.filter(lane=OPEN_LANE if gate.scope == EVERYTHING else gate.pk)
    return _capped(lanes.filter(next_try_at__lt=PARKED, status__in=_OPEN).order_by())


def orphaned() -> tuple[int, bool]:
    """Return how many runs wait for a receiver that no process knows, and whether there are more."""
    return _capped(Run.objects.filter(lane=OPEN_LANE, next_try_at__gte=PARKED).order_by())


def _pause(gate: Gate, names: dict[str, str]) -> Pause:
    is_receiver = gate.scope.startswith(receiver_scope(""))
    what = names.get(gate.scope, gate.scope.removeprefix(receiver_scope("")))
    return Pause(
        what=_("everything") if gate.scope == EVERYTHING else what,
        is_receiver=is_receiver,
        since=gate.paused_at,
        by=gate.paused_by,
        reason=gate.reason,
        is_automatic=gate.is_automatic,
        held=held_by(gate),
    )


def pause_of(webhook: Webhook) -> Gate | None:
    """Return the gate that holds a webhook's runs back: its own or that of everything; None when neither is shut."""
    scopes = (webhook_scope(webhook.pk), EVERYTHING)
    return Gate.objects.filter(scope__in=scopes, paused_at__isnull=False).order_by("-scope").first()


def workers(now: datetime) -> Workers:
    """Return how many workers were seen lately."""
    seen = Heartbeat.objects.filter(seen_at__gte=now - SEEN_LATELY)
    return Workers(number=seen.count(), last=Heartbeat.objects.aggregate(last=Max("seen_at"))["last"])
