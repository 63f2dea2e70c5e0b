"""What became of the deliveries of a page of the list: how long they took, which receiver fails or waits, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import router
from django.db.models.functions import Left
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import processing_time
from nateq_webhooks.admin.hold_text import brief_text, pause_of_everything
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.dispatch.run_hold import HoldKind, holds_of
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import Hold
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


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A receiver whose run of a delivery something holds back, and how many further ones."""

    receiver: str
    "Empty if the delivery has no runs yet: everything is paused."
    word: str
    sentence: str
    others: int


_WAITING: Final = (Delivery.Status.RECEIVED, Delivery.Status.FAILED)


def attach_held_runs(deliveries: Sequence[Delivery], permitted: PermittedRows) -> None:
    """Set `held_run` of the deliveries that wait for something else than their turn or next try: two statements."""
    waiting = {delivery.pk: delivery for delivery in deliveries if delivery.status in _WAITING}
    if not waiting:
        return
    rows = permitted.of(Run).select_related(None).filter(delivery__in=waiting, status__in=Run.PENDING)
    runs = list(rows.defer("error", "traceback").order_by("delivery", "receiver")[:MAX_RUNS])
    for run in runs:
        run.delivery = waiting[run.delivery_id]
    kinds = {key: held.kind for key, held in holds_of(router.db_for_write(Hold), runs).items()}
    for pk, delivery in waiting.items():
        failing: FailingRun | None = getattr(delivery, "failing_run", None)
        held = [run for run in runs if run.delivery_id == pk and run.pk in kinds]
        if failing is not None:  # the receiver that is shown
            held = [run for run in held if (run.receiver, run.status) == (failing.receiver, Run.Status.FAILED)]
        if held:
            word, sentence = brief_text(kinds[held[0].pk])
            delivery.held_run = HeldRun(held[0].receiver, word, sentence, len(held) - 1)  # type: ignore[attr-defined]
    _attach_undispatched([delivery for delivery in waiting.values() if delivery.dispatch_at is not None])


def _attach_undispatched(deliveries: Sequence[Delivery]) -> None:
    if deliveries and pause_of_everything() is not None:
        for delivery in deliveries:
            delivery.held_run = HeldRun("", *brief_text(HoldKind.EVERYTHING), 0)  # type: ignore[attr-defined]


def _newest_rounds(rows: Iterable[Any]) -> list[Any]:
    """Return the newest run of each delivery and receiver; those given up before those that will be tried again."""
    newest: dict[tuple[int, str], Any] = {}
    for row in rows:
        newest.setdefault((row[0], row[1]), row)
    return sorted(newest.values(), key=lambda row: row[2] != Run.Status.DEAD)


def outcome(delivery: Delivery) -> SafeString | str | None:
    """Return the receiver that fails or is held back and why, or else how long the delivery took; None: it goes on."""
    run: FailingRun | None = getattr(delivery, "failing_run", None)
    held: HeldRun | None = getattr(delivery, "held_run", None)
    if run is None:
        return formatting.duration(processing_time(delivery)) if held is None else _held(held)
    error, receiver = formatting.visible(run.error), formatting.visible(run.receiver)
    is_held = f" ({held.word})" if held is not None else ""
    return format_html(
        '<span class="nateq-failing" dir="auto" title="{}"><bdi class="nateq-failing-receiver">{}</bdi>{}{}{}</span>',
        f"{receiver}{is_held}: {error}" if error else f"{receiver}{is_held}",
        receiver,
        is_held,
        format_html(": <bdi>{}</bdi>", error) if error else "",
        f" ({_more(run.others)})" if run.others else "",
    )


def _held(run: HeldRun) -> SafeString:
    receiver = formatting.visible(run.receiver)
    return format_html(
        '<span class="nateq-held" dir="auto" title="{}">{}{}{}</span>',
        f"{receiver}: {run.sentence}" if receiver else run.sentence,
        format_html("<bdi>{}</bdi>: ", receiver) if receiver else "",
        run.word,
        f" ({_more(run.others)})" if run.others else "",
    )


def _more(number: int) -> str:
    return ngettext("and %(number)s more", "and %(number)s more", number) % {"number": number}
