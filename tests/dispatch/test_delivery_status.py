"""What a delivery's status is, by the statuses of its runs."""

from itertools import combinations, cycle

import pytest
from django.db import connection

from nateq_webhooks import signals
from nateq_webhooks.dispatch.finalize import derived_status, mark_all_processed, update_delivery
from nateq_webhooks.models import Delivery, Run
from tests.dispatch.scene import ALIAS, Connect, Deliver

COMBINATIONS = [
    chosen for length in range(len(Run.Status.values) + 1) for chosen in combinations(Run.Status.values, length)
]


def expected(runs: tuple[str, ...]) -> str:
    """Say it as the promise does: any to be tried again: failed; else any unfinished: received; else any dead: dead."""
    if any(status == "failed" for status in runs):
        return "failed"
    if any(status in ("waiting", "running") for status in runs):
        return "received"
    return "dead" if any(status == "dead" for status in runs) else "processed"


@pytest.mark.parametrize("runs", COMBINATIONS, ids="+".join)
def test_a_delivery_follows_from_every_combination_of_runs(runs: tuple[str, ...]) -> None:
    assert derived_status(set(runs)) == expected(runs)


@pytest.mark.django_db
def test_it_is_written_as_derived_whatever_it_was_before(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    delivery = deliver()
    for runs, before in zip(COMBINATIONS, cycle(["received", "failed", "dead", "processed", "received"]), strict=False):
        Run.objects.all().delete()
        Delivery.objects.update(status=before)
        Run.objects.bulk_create(Run(delivery=delivery, receiver=f"test.{status}", status=status) for status in runs)

        is_well = update_delivery(ALIAS, delivery.pk)

        delivery.refresh_from_db()
        assert delivery.status == expected(runs), (before, runs)
        assert is_well == (expected(runs) == "processed")


@pytest.mark.django_db
def test_of_many_at_once_none_is_marked_as_processed_that_has_a_run_to_do(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    first, second = deliver(), deliver()
    for runs in COMBINATIONS:
        Run.objects.all().delete()
        Delivery.objects.update(status="received")
        mine = [Run.objects.create(delivery=one, receiver="test.mine", status="succeeded") for one in (first, second)]
        Run.objects.bulk_create(Run(delivery=second, receiver=f"test.{status}", status=status) for status in runs)

        marked = mark_all_processed(ALIAS, mine)

        ready = {first.pk, second.pk} if expected(runs) == "processed" else {first.pk}
        all_or_none = connection.vendor != "postgresql" and len(ready) == 1
        assert marked == (set() if all_or_none else ready), runs
        assert set(Delivery.objects.filter(status="processed").values_list("pk", flat=True)) == marked, runs
        finalized = Run.objects.filter(next_try_at=None, receiver="test.mine")
        assert set(finalized.values_list("delivery_id", flat=True)) == marked, runs
