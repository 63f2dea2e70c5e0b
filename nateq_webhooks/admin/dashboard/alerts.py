"""Needs attention beside failures: a backlog, refused requests, pauses, and missing workers.

Each query uses an index or a small table, and counts up to a limit.
"""

import operator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import router
from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists import counts as rows_counted
from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope
from nateq_webhooks.dispatch import status
from nateq_webhooks.dispatch.holds import HoldState, read_holds
from nateq_webhooks.dispatch.pauses import webhook_names
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import EVERYTHING, Heartbeat, Hold, scope_parts, webhook_scope
from nateq_webhooks.models.run import EARLIEST

MAX_COUNTED: Final = 10_000
"""Rows of a backlog that are counted at most."""

MAX_READ_ELSEWHERE: Final = 2_000
"""Runs of other pauses that are looked at for each pause, which may hold some of them back, too."""

OVERDUE: Final = timedelta(minutes=1)
"""What has been due for longer than this is late: a worker looks every few seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """How much has been due for longer than `OVERDUE`, and since when."""

    number: int
    is_capped: bool
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A pause: what it is about, since when, by whom and why, and how many runs it holds back."""

    what: str
    scope: str
    hold: int
    "The key of its hold."
    is_receiver: bool
    since: datetime | None
    by: str
    reason: str
    is_automatic: bool
    held: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """The workers seen lately, and when the last one was seen; None if there never was one."""

    number: int
    last: datetime | None


def deliveries_due(now: datetime, among: RowScope = ALL_ROWS) -> Backlog | None:
    """Return the deliveries whose runs should have been created by now; None if there are none."""
    late = status.due_deliveries(among.of(Delivery), now - OVERDUE)
    return _backlog(late.order_by("dispatch_at"), "dispatch_at")


def runs_due(now: datetime, among: RowScope = ALL_ROWS) -> Backlog | None:
    """Return the runs that should have been started by now; None if there are none.

    The index has no status, and finished runs that still have to be finalized are in it, too. With the status as a
    condition a database may read all that is due; so the oldest ones are read, and those that are finished left out.
    """
    rows, late = among.of(Run), now - OVERDUE
    found = [
        status.due_of_hold(rows, late, hold_pk)[: MAX_COUNTED + 1].aggregate(
            read=Count("pk"), number=Count("pk", filter=_UNFINISHED), oldest=Min("next_try_at", filter=_UNFINISHED)
        )
        for hold_pk in read_holds(rows.db).open_since(late)
    ]
    oldest = min((each["oldest"] for each in found if each["oldest"] is not None), default=None)
    if oldest is None:
        return None
    number = sum(each["number"] for each in found)
    if all(each["read"] <= MAX_COUNTED for each in found) and number <= MAX_COUNTED:
        return Backlog(number=number, is_capped=False, since=oldest)
    return Backlog(number=min(number - 1, MAX_COUNTED), is_capped=True, since=oldest)


_UNFINISHED: Final = Q(status__in=Run.UNFINISHED)


def _backlog(rows: QuerySet[Any], column: str) -> Backlog | None:
    oldest = rows.values_list(column, flat=True).first()
    if oldest is None:
        return None
    number, is_capped = _capped(rows)
    return Backlog(number=number, is_capped=is_capped, since=oldest)


def _capped(rows: QuerySet[Any]) -> tuple[int, bool]:
    number = rows.values("pk")[: MAX_COUNTED + 1].count()
    return min(number, MAX_COUNTED), number > MAX_COUNTED


def pauses(among: RowScope = ALL_ROWS, *, sees_deliveries: bool = True) -> list[Pause]:
    """Return what is paused by a person or by itself, the oldest pause first; of webhooks those that may be seen."""
    state = holds_now()
    holds = sorted(state.paused, key=operator.attrgetter("paused_at"))
    names = webhook_names(among.of(Webhook), holds)
    shown = [hold for hold in holds if scope_parts(hold.scope)[0] in {"", *names}]
    return [_pause(hold, names, held_by(hold, state, among, sees_deliveries=sees_deliveries)) for hold in shown]


def holds_now() -> HoldState:
    """Return the holds, read where they are written: who has just paused or resumed must see it."""
    return read_holds(router.db_for_write(Hold))


def held_by(hold: Hold, state: HoldState, among: RowScope = ALL_ROWS, *, sees_deliveries: bool = True) -> str:
    """Return how many runs a hold holds back, and how many deliveries that of everything keeps from having runs."""
    number, is_capped = _held(hold, among, state)
    shown = formatting.capped(number, is_capped=is_capped)
    if is_capped and number < MAX_COUNTED:  # not all runs that others hold were looked at
        shown = str(rows_counted.Count(number, rows_counted.Kind.AT_LEAST))
        number = MAX_COUNTED  # the form for one or two may leave the number out
    text = ngettext("%(number)s run is held back.", "%(number)s runs are held back.", number) % {"number": shown}
    stored = _stored_meanwhile(among) if sees_deliveries and hold.scope == EVERYTHING else ""
    return f"{text} {stored}" if stored else text


def _held(hold: Hold, among: RowScope, state: HoldState) -> tuple[int, bool]:
    rows = among.of(Run).order_by().select_related(None)
    number, is_capped = _capped(status.held_runs(rows, hold, state))
    if hold.scope == EVERYTHING or is_capped:
        return number, is_capped
    others, is_its = status.runs_held_elsewhere(rows, hold, state)
    read = others.values("receiver", "delivery__webhook")[: MAX_READ_ELSEWHERE + 1]
    found = read.aggregate(read=Count("receiver"), number=Count("receiver", filter=is_its))
    return number + found["number"], found["read"] > MAX_READ_ELSEWHERE


def _stored_meanwhile(among: RowScope) -> str:
    """Return how many deliveries have no runs yet; empty if there are none."""
    number, is_capped = _capped(among.of(Delivery).filter(dispatch_at__gte=EARLIEST).order_by())
    text = ngettext(
        "%(number)s delivery is stored, and its receivers start after the pause.",
        "%(number)s deliveries are stored, and their receivers start after the pause.",
        number,
    )
    return text % {"number": formatting.capped(number, is_capped=is_capped)} if number else ""


def orphaned(among: RowScope = ALL_ROWS) -> tuple[int, bool]:
    """Return how many runs wait for a receiver that no process knows, and whether there are more."""
    return _capped(status.parked_runs(among.of(Run)).order_by())


def _pause(hold: Hold, names: dict[str, str], held: str) -> Pause:
    webhook, receiver = scope_parts(hold.scope)
    what = [receiver, names.get(webhook, webhook)]
    return Pause(
        what=_("everything") if hold.scope == EVERYTHING else _(", ").join(filter(None, what)),
        scope=hold.scope,
        hold=hold.pk,
        is_receiver=bool(receiver),
        since=hold.paused_at,
        by=hold.paused_by,
        reason=hold.reason,
        is_automatic=hold.is_automatic,
        held=held,
    )


def pause_of(webhook: Webhook) -> Hold | None:
    """Return the hold that holds a webhook's runs back: its own or that of everything; None if neither is paused."""
    scopes = (webhook_scope(webhook.pk), EVERYTHING)
    holds = Hold.objects.using(router.db_for_write(Hold))  # as `holds_now`
    return holds.filter(scope__in=scopes, paused_at__isnull=False).order_by("-scope").first()


def workers(now: datetime) -> Workers:
    """Return the workers that were seen lately."""
    beats = Heartbeat.objects.all()
    return Workers(number=beats.running(now).count(), last=beats.aggregate(last=Max("seen_at"))["last"])
