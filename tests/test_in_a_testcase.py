"""Requests that a site's own tests make inside Django's TestCase: views, caches and workers see its transaction."""

from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import TestCase, override_settings
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.testing import make_event, sign

UID = "tests.in_a_testcase"


@pytest.fixture(autouse=True)
def _fresh_configuration() -> None:
    """Replaces the fixture that empties the caches: a site's own tests have none."""


class TestInATestCase(TestCase):
    """The methods share the rows of `setUpTestData`. Each is rolled back: none may see what another one changed."""

    webhook: Webhook

    @classmethod
    def setUpTestData(cls) -> None:
        cls.webhook = Webhook.objects.create(name="shop")

    def setUp(self) -> None:
        self.calls: list[bool] = []
        self.fails = False

        def receive(*, run: Run, **kwargs: Any) -> None:
            if self.fails:
                raise ValueError("Not now.")
            self.calls.append(run.is_replay)

        signals.ticket_created.connect(receive, dispatch_uid=UID, weak=False)
        self.addCleanup(signals.ticket_created.disconnect, dispatch_uid=UID)

    def post(self, delivery_id: str = "dlv_1") -> int:
        event = make_event("ticket.created")
        event["metadata"]["delivery_id"] = delivery_id
        response = self.client.post(
            self.webhook.get_absolute_url(),
            event,
            content_type="application/json",
            headers={"X-Nateq-Signature": sign(event, self.webhook.secret)},
        )
        return response.status_code

    def test_a_delivery_is_stored_and_its_receiver_runs_once(self) -> None:
        assert [self.post(), self.post()] == [200, 200]
        assert self.calls == [False]
        assert Delivery.objects.get().status == Delivery.Status.PROCESSED

    def test_a_later_try_is_made_by_the_worker(self) -> None:
        self.fails = True
        self.post()
        self.fails = False
        Run.objects.update(next_try_at=timezone.now())
        call_command("nateq_worker", once=True, verbosity=0)
        assert self.calls == [False]
        assert Run.objects.get().status == Run.Status.SUCCEEDED

    def test_a_replay_runs_in_the_worker(self) -> None:
        self.post()
        dispatch.replay(Delivery.objects.all())
        call_command("nateq_worker", once=True, verbosity=0)
        assert self.calls == [False, True]

    @override_settings(NATEQ_WEBHOOKS={"ACK": "processed"})
    def test_an_answer_that_waits_says_that_a_receiver_failed(self) -> None:
        self.fails = True
        assert self.post() == 503
        self.fails = False
        assert self.post() == 200

    def test_a_change_of_the_webhook_ends_with_its_test(self) -> None:
        """In random order either of the two may run first; the other must not be refused."""
        self._switch_off_between_two_deliveries()

    def test_a_change_of_the_webhook_ends_with_its_test_for_the_next_one(self) -> None:
        self._switch_off_between_two_deliveries()

    def _switch_off_between_two_deliveries(self) -> None:
        assert self.post("dlv_before") == 200
        self.webhook.is_active = False
        self.webhook.save()
        assert self.post("dlv_after") == 404

    def test_a_pause_ends_with_its_test(self) -> None:
        self._pause()

    def test_a_pause_ends_with_its_test_for_the_next_one(self) -> None:
        self._pause()

    def _pause(self) -> None:
        self.post("dlv_before")
        dispatch.pause(reason="a test")
        self.post("dlv_after")
        assert self.calls == [False]

    def test_inside_a_transaction_of_its_own_a_request_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            self.post()
