"""How long a delivery's processing took: from storing it until the last of its first runs ended.

It is queried for the rows of one page, through the unique index of delivery and receiver. A column would have to be
written whenever a run ends.
"""

from datetime import timedelta

from django.db.models import Exists, Max, OuterRef, QuerySet, Subquery

from nateq_webhooks.models import Delivery, Run


def with_last_run(deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Return the deliveries with `has_runs`, and `last_run_at`: when the last run ended, without replays."""
    runs = Run.objects.filter(delivery=OuterRef("pk")).order_by()
    last = runs.filter(round=0).values("delivery").annotate(last=Max("finished_at")).values("last")
    return with_runs(deliveries.annotate(last_run_at=Subquery(last)))


def with_runs(deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """Return the deliveries with `has_runs`: whether there is a run of any round."""
    return deliveries.annotate(has_runs=Exists(Run.objects.filter(delivery=OuterRef("pk")).order_by()))


def has_runs(delivery: Delivery) -> bool:
    """Return whether a delivery has any run, also one that the reader may not see."""
    return delivery.runs.exists()


def processing_time(delivery: Delivery) -> timedelta | None:
    """Return the processing time of a delivery read by `with_last_run`; None while it goes on, or nothing ran."""
    last_run_at = getattr(delivery, "last_run_at", None)
    if last_run_at is None or delivery.status not in Delivery.FINISHED:
        return None
    took: timedelta = last_run_at - delivery.received_at
    return max(took, timedelta(0))
