"""What holds a run back: which hold it is, whoever asks."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import dispatch
from nateq_webhooks.dispatch.holds import get_hold
from nateq_webhooks.dispatch.pauses import pause_hold
from nateq_webhooks.dispatch.run_hold import HoldKind, RunHold, holds_of
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, breaker_scope, receiver_scope
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.builders import store_deliveries, store_run
from tests.dispatch.scene import ALIAS, Configure

pytestmark = pytest.mark.django_db


def waiting(webhook: Webhook, **over: Any) -> Run:
    return store_run(store_deliveries(webhook)[0], **({"status": Run.Status.WAITING} | over))


def held(run: Run) -> RunHold | None:
    return holds_of(ALIAS, [Run.objects.select_related("delivery").get(pk=run.pk)]).get(run.pk)


def kind(run: Run) -> HoldKind | None:
    found = held(run)
    return found.kind if found is not None else None


def test_nothing_holds_a_due_run_back(webhook: Webhook) -> None:
    assert held(waiting(webhook)) is None


def test_a_finished_run_is_never_held_back(webhook: Webhook) -> None:
    dispatch.pause()
    assert held(waiting(webhook, status=Run.Status.SUCCEEDED)) is None


def test_the_pause_of_everything(webhook: Webhook) -> None:
    run = waiting(webhook)
    dispatch.pause(reason="Deployment", by="sara")

    found = held(run)

    assert found is not None
    assert found.hold is not None
    assert (found.kind, found.hold.paused_by, found.hold.reason) == (HoldKind.EVERYTHING, "sara", "Deployment")
    assert found.is_pause


def test_the_pause_of_a_webhook_and_of_a_receiver(webhook: Webhook) -> None:
    one, other = waiting(webhook), waiting(webhook, receiver="shop.other")
    dispatch.pause(receiver="shop.other")
    assert (kind(one), kind(other)) == (None, HoldKind.RECEIVER)
    dispatch.pause(webhook=webhook)
    assert (kind(one), kind(other)) == (HoldKind.WEBHOOK, HoldKind.RECEIVER)


def test_a_run_created_during_a_pause_says_so_before_a_claim_has_moved_it(webhook: Webhook) -> None:
    dispatch.pause(webhook=webhook)
    assert kind(waiting(webhook)) is HoldKind.WEBHOOK


def test_the_circuit_breaker(webhook: Webhook) -> None:
    run = waiting(webhook)
    probe_at = timezone.now() + timedelta(minutes=1)
    pause_hold(ALIAS, breaker_scope(webhook.pk, run.receiver), probe_at=probe_at, reason="20 failures in a row")
    assert kind(run) is HoldKind.BREAKER


def test_a_rate_limit_is_no_pause(webhook: Webhook, configure: Configure) -> None:
    configure(RATE_LIMITS={"shop.send": 5.0})
    hold = get_hold(ALIAS, receiver_scope("shop.send"))

    found = held(waiting(webhook, held_by=hold.pk))

    assert found is not None
    assert (found.kind, found.rate, found.is_pause) == (HoldKind.RATE_LIMIT, 5.0, False)


def test_an_earlier_delivery_and_an_unknown_receiver(webhook: Webhook) -> None:
    assert kind(waiting(webhook, held_by=HELD_BY_ORDER)) is HoldKind.ORDER
    assert kind(waiting(webhook, next_try_at=PARKED_UNTIL)) is HoldKind.UNKNOWN_RECEIVER


def test_many_runs_cost_one_query(webhook: Webhook, django_assert_num_queries: Any) -> None:
    dispatch.pause(webhook=webhook)
    for _ in range(3):
        waiting(webhook)
    runs = list(Run.objects.select_related("delivery"))
    with django_assert_num_queries(1):
        assert len(holds_of(ALIAS, runs)) == 3
