"""What users' own tests need: the door and the receivers inside Django's TestCase, as docs/how-to/testing.md says."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import TestCase, override_settings
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import envelope

UID = "tests.in_a_testcase"


@pytest.fixture(autouse=True)
def _fresh_configuration() -> None:
    """A user's tests have no fixture that forgets, so these have none either."""


class TestInATestCase(TestCase):
    """The methods share what `setUpTestData` made, and each is rolled back: what one changed the next must not see."""

    webhook: Webhook

    @classmethod
    def setUpTestData(cls) -> None:
        cls.webhook = Webhook.objects.create(name="shop", secret="whsec_test_0123456789abcdef")

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
        body = json.dumps(envelope(delivery_id=delivery_id)).encode()
        signature = sign(body, "whsec_test_0123456789abcdef")
        response = self.client.post(
            self.webhook.get_absolute_url(),
            data=body,
            content_type="application/json",
            headers={"X-Nateq-Signature": signature},
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

    def test_what_one_test_did_to_the_webhook_is_over_with_it(self) -> None:
        """Whichever of the two comes first in random order, the other must not be refused."""
        self._switch_off_between_two_deliveries()

    def test_what_one_test_did_to_the_webhook_is_over_with_it_for_the_next(self) -> None:
        self._switch_off_between_two_deliveries()

    def _switch_off_between_two_deliveries(self) -> None:
        assert self.post("dlv_before") == 200
        self.webhook.is_active = False
        self.webhook.save()
        assert self.post("dlv_after") == 404

    def test_what_one_test_paused_is_over_with_it(self) -> None:
        self._pause()

    def test_what_one_test_paused_is_over_with_it_for_the_next(self) -> None:
        self._pause()

    def _pause(self) -> None:
        self.post("dlv_before")
        dispatch.pause(reason="a test")
        self.post("dlv_after")
        assert self.calls == [False]

    def test_inside_a_transaction_of_its_own_the_door_is_shut(self) -> None:
        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            self.post()
