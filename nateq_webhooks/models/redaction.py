"""What may be shown of a delivery: values at the paths of `REDACT` are masked, in its body and in errors of runs."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db.models import Q

from nateq_webhooks.conf import settings
from nateq_webhooks.models.delivery import Delivery
from nateq_webhooks.models.run import Run
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.protocol.redaction import MASK, TextMask, masked_body

NOT_MASKABLE = MASK.encode()
"""Shown instead of a body that is not a JSON object: nobody knows where its values are."""


def shown_body(body: bytes) -> bytes:
    """Return a body as it may be shown; the whole one is replaced if it is not a JSON object."""
    redaction = settings().redaction
    if not redaction or not body:
        return body
    masked = masked_body(redaction, body)
    return NOT_MASKABLE if masked is None else masked


def as_shown(delivery: Delivery) -> Delivery:
    """Return the delivery as it may be shown: itself without `REDACT`, else a copy with a masked body and payload.

    The copy is to be shown only: never save it.
    """
    redaction = settings().redaction
    if not redaction:
        return delivery
    shown = copy.copy(delivery)
    shown.body = shown_body(delivery.body)
    shown.payload = redaction.masked(delivery.payload) if "payload" in delivery.__dict__ else None
    return shown


def text_mask(body: bytes) -> TextMask:
    """Return what masks the values of a body in other texts, such as an error of a receiver."""
    redaction = settings().redaction
    if not redaction:
        return _NOTHING
    try:
        return redaction.text_mask(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # no receiver gets such a body
        return _NOTHING


def text_masks(alias: str, deliveries: Collection[int]) -> Mapping[int, TextMask]:
    """Return the masks of some deliveries, by their keys. Reads their bodies with one query; none without `REDACT`."""
    if not settings().redaction or not deliveries:
        return dict.fromkeys(deliveries, _NOTHING)
    bodies = Delivery.objects.using(alias).filter(pk__in=deliveries).values_list("pk", "body")
    return dict.fromkeys(deliveries, _NOTHING) | {pk: text_mask(bytes(body)) for pk, body in bodies}


def mask_errors(alias: str, runs: Sequence[Run], tries: Iterable[RunTry] = ()) -> None:
    """Mask the errors and tracebacks that were read of runs and of their failed tries, in memory: never save them."""
    if not settings().redaction:
        return
    masks = text_masks(alias, {run.delivery_id for run in runs})
    of_run = {run.pk: masks[run.delivery_id] for run in runs}
    for row, mask in [*((run, of_run[run.pk]) for run in runs), *((each, of_run[each.run_id]) for each in tries)]:
        for name in ("error", "traceback"):
            if text := row.__dict__.get(name):
                setattr(row, name, mask.masked(text))


def mask_stored_errors(alias: str, deliveries: Sequence[int]) -> None:
    """Mask errors and tracebacks of some deliveries where they are stored, before their bodies are removed.

    Afterwards nobody knows which values of them `REDACT` masks.
    """
    if not settings().redaction or not deliveries:
        return
    failed = RunTry.objects.using(alias).filter(run__delivery_id__in=deliveries).exclude(error="")
    tries = list(failed.only("run_id", "error"))
    of_failed = Q(pk__in={each.run_id for each in tries}) | ~Q(error="") | ~Q(traceback="")
    rows = Run.objects.using(alias).filter(of_failed, delivery_id__in=deliveries)
    runs = list(rows.only("delivery_id", "error", "traceback"))
    known_runs, known_tries = {run.pk: (run.error, run.traceback) for run in runs}, {one.pk: one.error for one in tries}
    mask_errors(alias, runs, tries)
    for run in runs:
        if (run.error, run.traceback) != known_runs[run.pk]:
            rows.filter(pk=run.pk).update(error=run.error, traceback=run.traceback)
    for one in tries:
        if one.error != known_tries[one.pk]:
            failed.filter(pk=one.pk).update(error=one.error)


_NOTHING = TextMask(())
