"""What became of the deliveries of a page of the list: how long they took, or which receiver fails and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models.functions import Left
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import processing_time
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.redaction import text_masks

MAX_RUNS: Final = 1_000
"""Runs that are read for a page: a delivery has a run of each receiver for each time that it was replayed."""

ERROR_CHARS: Final = 160
"""Characters of an error that are read."""


@dataclass(frozen=True, slots=True)
class FailingRun:
    """A receiver whose newest run of a delivery has failed, and how many further ones have."""

    receiver: str
    error: str
    "Empty for users who may not see what customers wrote."
    others: int


def attach_failing_runs(deliveries: Sequence[Delivery], permitted: PermittedRows, *, errors: bool) -> None:
    """Set `failing_run` of the deliveries that have one, in one statement for all of them."""
    failing = {delivery.pk: delivery for delivery in deliveries if delivery.status in Delivery.FAILING}
    if not failing:
        return
    columns = ["delivery_id", "receiver", "status", *(["shown_error"] if errors else [])]
    rows = permitted.of(Run).select_related(None).filter(delivery__in=failing)
    if errors:
        rows = rows.annotate(shown_error=Left("error", ERROR_CHARS))
    newest = _newest_rounds(rows.order_by("delivery", "receiver", "-round").values_list(*columns)[:MAX_RUNS])
    masks = text_masks(rows.db, {row[0] for row in newest} if errors else ())
    for pk, delivery in failing.items():
        failed = [row for row in newest if row[0] == pk and row[2] in Run.FAILING]
        if failed:
            _pk, receiver, _status, *error = failed[0]
            run = FailingRun(receiver, masks[pk].masked(error[0]) if error else "", len(failed) - 1)
            delivery.failing_run = run  # type: ignore[attr-defined]


def _newest_rounds(rows: Iterable[Any]) -> list[Any]:
    """Return the newest run of each delivery and receiver; those given up before those that will be tried again."""
    newest: dict[tuple[int, str], Any] = {}
    for row in rows:
        newest.setdefault((row[0], row[1]), row)
    return sorted(newest.values(), key=lambda row: row[2] != Run.Status.DEAD)


def outcome(delivery: Delivery) -> SafeString | str | None:
    """Return the receiver that fails and its error, or else how long the delivery took; None while it goes on."""
    run: FailingRun | None = getattr(delivery, "failing_run", None)
    if run is None:
        return formatting.duration(processing_time(delivery))
    error = formatting.visible(run.error)
    more = ngettext("and %(number)s more", "and %(number)s more", run.others) % {"number": run.others}
    return format_html(
        '<span class="nateq-failing" dir="auto" title="{}"><bdi class="nateq-failing-receiver">{}</bdi>{}{}</span>',
        f"{formatting.visible(run.receiver)}: {error}" if error else formatting.visible(run.receiver),
        formatting.visible(run.receiver),
        format_html(": <bdi>{}</bdi>", error) if error else "",
        f" ({more})" if run.others else "",
    )
