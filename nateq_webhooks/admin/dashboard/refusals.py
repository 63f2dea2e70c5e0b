"""Refused requests of the last day, for the dashboard: how many, why, and the cause that one of them makes certain."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Case, Count, Max, QuerySet, When

from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope, is_narrowed
from nateq_webhooks.inbox import Refusal
from nateq_webhooks.inbox.diagnosis import Hint
from nateq_webhooks.inbox.rejections import explanation
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT

REFUSAL_PERIOD: Final = timedelta(hours=24)
"""How long refused requests are counted."""

LISTED_SINCE: Final = {"received_at__gte": f"-{REFUSAL_PERIOD // timedelta(hours=1)}h"}
"""The parameter of the list of refused requests that has it show those of this period."""

MAX_REFUSALS: Final = 20
"""Groups of refused requests: one for each webhook and reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusals:
    """Requests to a webhook that were refused for one reason."""

    webhook: Webhook | None
    "None: no webhook has the id in the URL."
    reason: str
    number: int
    "Those that are recorded, and those that were only counted as they came all at once."
    is_capped: bool
    "Whether there may have been more: only the newest ones are kept."
    newest: datetime
    cause: Hint
    "The cause that the newest examined request makes certain; empty if there is none."


def refusals(now: datetime, among: RowScope = ALL_ROWS) -> list[Refusals]:
    """Return the requests refused lately, GETs last: those of an uptime monitor are many, and harmless.

    The number of stored rejections of each webhook and reason is limited, so that they can be counted.
    """
    recent = among.of(Rejection).filter(received_at__gte=now - REFUSAL_PERIOD).order_by()
    webhooks = among.of(Webhook)
    if is_narrowed(webhooks):
        recent = recent.filter(webhook__in=webhooks.values("pk"))
    counted = recent.values_list("webhook_id", "reason").annotate(number=Count("pk"), newest=Max("received_at"))
    is_harmless = Case(When(reason=Refusal.NOT_POST.value, then=1), default=0)
    rows = list(counted.order_by(is_harmless, "-number", "reason")[:MAX_REFUSALS])
    keys = {webhook_id for webhook_id, *_rest in rows if webhook_id is not None}
    by_key: Mapping[uuid.UUID | None, Webhook] = webhooks.defer("secret", "events").in_bulk(keys)
    more = _only_counted(recent) if rows else {}
    return [
        Refusals(
            webhook=by_key.get(webhook_id),
            reason=reason,
            number=number + more.get((webhook_id, reason), 0),
            is_capped=number >= MAX_REJECTIONS_KEPT,
            newest=newest,
            cause=_cause(recent, webhook_id, reason),
        )
        for webhook_id, reason, number, newest in rows
        if webhook_id is None or webhook_id in by_key
    ]


def _only_counted(recent: QuerySet[Rejection]) -> Mapping[tuple[uuid.UUID | None, str], int]:
    """Return by webhook and reason how many requests the recorder has only counted, in the hint of a recorded one."""
    found: Counter[tuple[uuid.UUID | None, str]] = Counter()
    rows = recent.filter(hint__contains='"dropped"').values_list("webhook_id", "reason", "hint")
    for webhook_id, reason, text in rows:
        found[webhook_id, reason] += Hint.read(text).dropped
    return found


def _cause(recent: QuerySet[Rejection], webhook_id: uuid.UUID | None, reason: str) -> Hint:
    found = explanation(recent, webhook_id, reason)
    return Hint.read(found.hint) if found is not None else Hint()
