"""How long deliveries took until their last receiver had finished: the median and the 95th percentile of the newest."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, Max, QuerySet

from nateq_webhooks.models import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessingTimes:
    """How long deliveries took from being stored until their last receiver was done."""

    median: timedelta
    p95: timedelta
    number: int
    "How many deliveries they are computed from."


def spans_of(runs: QuerySet[Run], pks: Collection[int]) -> dict[int, timedelta]:
    """Return by key how long deliveries took; those without a finished run are left out. One statement."""
    if not pks:
        return {}
    ends = runs.filter(delivery_id__in=pks, round=0, finished_at__isnull=False).order_by().values_list("delivery_id")
    took = ExpressionWrapper(Max("finished_at") - F("delivery__received_at"), output_field=DurationField())
    spans = ends.annotate(received=F("delivery__received_at")).annotate(took=took).values_list("delivery_id", "took")
    return {pk: max(span, timedelta()) for pk, span in spans}


def processing_times(spans: Sequence[timedelta]) -> ProcessingTimes | None:
    """Return the percentiles; None without any span."""
    if not spans:
        return None
    ranked = sorted(spans)
    return ProcessingTimes(median=_percentile(ranked, 50), p95=_percentile(ranked, 95), number=len(ranked))


def _percentile(ranked: Sequence[timedelta], percent: int) -> timedelta:
    """Return the smallest span that `percent` of a hundred spans do not exceed."""
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def grouped(keys: Iterable[tuple[uuid.UUID, int]]) -> dict[uuid.UUID | None, list[int]]:
    """Return the keys of deliveries by webhook."""
    found: dict[uuid.UUID | None, list[int]] = {}
    for webhook_id, pk in keys:
        found.setdefault(webhook_id, []).append(pk)
    return found
