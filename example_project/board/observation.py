"""Reads the results of the demo's deliveries from the database."""

from collections import Counter
from collections.abc import Collection
from threading import Event as Pause
from time import monotonic

from nateq_webhooks.models import Delivery

from .audit import Observed
from .models import Effect

SECONDS_BETWEEN_LOOKS = 0.05


def observe(delivery_ids: Collection[str]) -> Observed:
    """Return what the database has about these deliveries now."""
    rows = list(Delivery.objects.filter(delivery_id__in=delivery_ids).values_list("delivery_id", "status"))
    effects = Effect.objects.filter(delivery_id__in=delivery_ids).values_list("delivery_id", "receiver")
    return Observed(
        stored=Counter(delivery_id for delivery_id, _ in rows),
        status=dict(rows),
        effects=Counter(effects),
    )


def observe_when_finished(delivery_ids: Collection[str], *, seconds: float) -> Observed:
    """Like `observe`, after every receiver has finished, at the latest after `seconds`."""
    unfinished = Delivery.objects.filter(delivery_id__in=delivery_ids, status=Delivery.Status.RECEIVED)
    deadline = monotonic() + seconds
    while unfinished.exists() and monotonic() < deadline:
        Pause().wait(SECONDS_BETWEEN_LOOKS)
    return observe(delivery_ids)
