"""What a delivery's status is, by the statuses of its runs."""

from itertools import combinations, cycle

import pytest

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
def test_many_at_once_are_marked_as_processed_only_if_all_of_them_are(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    first, second = deliver(), deliver()
    for runs in COMBINATIONS:
        Run.objects.all().delete()
        Delivery.objects.update(status="received")
        Run.objects.create(delivery=first, receiver="test.one", status="succeeded")
        Run.objects.bulk_create(Run(delivery=second, receiver=f"test.{status}", status=status) for status in runs)

        all_well = mark_all_processed(ALIAS, [first.pk, second.pk])

        assert all_well == (expected(runs) == "processed"), runs
        wanted = {"processed"} if all_well else {"received"}
        assert set(Delivery.objects.values_list("status", flat=True)) == wanted, runs
