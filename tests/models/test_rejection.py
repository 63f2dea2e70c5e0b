"""The newest 200 of each webhook, whoever writes at the same time."""

import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT


def rejections(webhook: Webhook, count: int, reason: str = "no_match") -> list[Rejection]:
    now = timezone.now()
    return [Rejection(webhook=webhook, reason=reason, received_at=now, size=number) for number in range(count)]


@pytest.mark.django_db
def test_the_newest_200_of_each_webhook_and_reason_are_kept(webhook: Webhook) -> None:
    other = Webhook.objects.create(name="support")
    Rejection.objects.record([*rejections(webhook, 150), *rejections(other, 150), *rejections(webhook, 5, "not_hex")])

    Rejection.objects.record(rejections(webhook, 120))
    Rejection.objects.record(rejections(webhook, 500, "not_post"))

    kept = Counter(Rejection.objects.values_list("webhook", "reason"))
    assert kept == {
        (webhook.pk, "no_match"): 200,
        (webhook.pk, "not_hex"): 5,
        (webhook.pk, "not_post"): 200,
        (other.pk, "no_match"): 150,
    }
    assert Rejection.objects.filter(webhook=webhook, reason="no_match").order_by("pk")[0].size == 70


@pytest.mark.django_db
def test_pruning_costs_two_statements_however_much_there_is(webhook: Webhook) -> None:
    Rejection.objects.record(rejections(webhook, 200))

    with CaptureQueriesContext(connection) as queries:
        Rejection.objects.record(rejections(webhook, 20))

    statements = [query["sql"].split()[0] for query in queries if "nateq_webhooks_rejection" in query["sql"]]
    assert statements.count("INSERT") == statements.count("DELETE") == 1
    assert len(statements) <= 4


@pytest.mark.django_db(transaction=True)
def test_if_one_rejection_can_not_be_stored_none_is(webhook: Webhook) -> None:
    gone = Webhook(pk=uuid.uuid4(), name="gone")

    with pytest.raises(IntegrityError):
        Rejection.objects.record([*rejections(webhook, 1), *rejections(gone, 1)])

    assert not Rejection.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_writers_at_once_never_leave_more_than_200(webhook: Webhook) -> None:
    """Each prunes what it sees: without taking turns, none would see what the others add."""
    Rejection.objects.record(rejections(webhook, MAX_REJECTIONS_KEPT - 5))
    seen: list[int] = []
    done = threading.Event()

    def write(_number: int) -> None:
        try:
            for _round in range(12):
                Rejection.objects.record(rejections(webhook, 20))
                seen.append(webhook.rejections.count())
        finally:
            connections.close_all()

    def watch() -> None:
        try:
            while not done.is_set():
                seen.append(webhook.rejections.count())
        finally:
            connections.close_all()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(5) as writers:
            list(writers.map(write, range(5)))
    finally:
        done.set()
        watcher.join()

    assert webhook.rejections.count() == MAX_REJECTIONS_KEPT
    assert max(seen) == MAX_REJECTIONS_KEPT
