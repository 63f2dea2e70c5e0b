"""`deliver`: an event is stored and its receivers have run when it returns, whatever the settings say."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import Client, SimpleTestCase, TestCase, TransactionTestCase
from django.urls import NoReverseMatch, clear_script_prefix
from django.utils import timezone
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.errors import DeliveryRefusedError, NateqWebhooksError, SecretError
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.testing import deliver, make_event
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

Deliver = Callable[..., Delivery]

UID = "shop.open_ticket"


@pytest.fixture(params=[False, True], ids=["view", "http"])
def either(request: pytest.FixtureRequest) -> Deliver:
    """`deliver` in both of its ways."""

    def deliver_(event_or_body: Any, **options: Any) -> Delivery:
        return deliver(event_or_body, through_http=request.param, **options)

    return deliver_


@pytest.fixture
def received(connect: Connect) -> list[Any]:
    """The data that a receiver of every event got."""
    found: list[Any] = []
    connect(signals.event_received, lambda event, **kwargs: found.append(event.data), UID)
    return found


class _Receives(SimpleTestCase):
    """The same in each of Django's classes of tests, which have neither fixtures nor hooks of this suite."""

    databases = {"default"}

    def setUp(self) -> None:
        self.subjects: list[str] = []
        self.committed: list[str] = []

        def receive(*, event: Any, **kwargs: Any) -> None:
            self.subjects.append(event.data["subject"])
            transaction.on_commit(lambda: self.committed.append(event.data["subject"]))
            if event.data["subject"] == "fails":
                raise LookupError("no such customer")

        signals.ticket_created.connect(receive, dispatch_uid=UID, weak=False)
        self.addCleanup(signals.ticket_created.disconnect, dispatch_uid=UID)

    def test_its_receivers_have_run(self) -> None:
        for through_http in (False, True):
            event = make_event("ticket.created", subject="Help")
            delivery = deliver(event, through_http=through_http)
            again = deliver(event, through_http=through_http)

            assert delivery.status == Delivery.Status.PROCESSED
            assert delivery.body == json.dumps(event).encode()
            assert [run.status for run in delivery.runs.all()] == [Run.Status.SUCCEEDED]
            assert (again.pk, delivery.attempts_seen, again.attempts_seen) == (delivery.pk, 1, 2)
        assert self.subjects == ["Help", "Help"]

    def test_one_that_raised_has_its_traceback(self) -> None:
        delivery = deliver(make_event("ticket.created", subject="fails"))

        assert delivery.status == Delivery.Status.FAILED
        [run] = delivery.runs.all()
        assert "LookupError: no such customer" in run.traceback
        assert deliver(bytes(delivery.body)).attempts_seen == 2
        assert self.subjects == ["fails"]

    def test_what_is_left_to_the_commit_has_happened_if_there_was_one(self) -> None:
        deliver(make_event("ticket.created", subject="Help"))
        assert self.committed == ["Help"]
        deliver(make_event("ticket.created", subject="fails"))
        assert self.committed == ["Help"]


class TestInATestCase(_Receives, TestCase):
    stored: Delivery

    @classmethod
    def setUpTestData(cls) -> None:
        cls.stored = deliver("lead.created")

    def test_data_of_the_class_may_be_delivered(self) -> None:
        assert self.stored.status == Delivery.Status.PROCESSED

    def test_callbacks_of_a_commit_run_once_where_they_are_captured(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as captured:
            transaction.on_commit(lambda: self.committed.append("mine"))
            deliver(make_event("ticket.created", subject="Help"))
        assert self.committed == ["Help", "mine"]
        assert len(captured) == 1

    def test_only_a_robust_callback_may_raise(self) -> None:
        def leave(*, event: Any, **kwargs: Any) -> None:
            transaction.on_commit(lambda: 1 / 0, robust=event.name == "lead.created")

        signals.event_received.connect(leave, dispatch_uid="shop.leave", weak=False)
        self.addCleanup(signals.event_received.disconnect, dispatch_uid="shop.leave")

        with self.assertLogs("nateq_webhooks", "ERROR"):
            assert deliver("lead.created").status == Delivery.Status.PROCESSED
        with pytest.raises(ZeroDivisionError):
            deliver("lead.updated")


class TestInATransactionTestCase(_Receives, TransactionTestCase):
    pass


del _Receives


@pytest.mark.django_db(transaction=True)
def test_outside_of_every_transaction(either: Deliver, received: list[Any]) -> None:
    assert either(make_event("ticket.closed", id="tkt_1")).status == Delivery.Status.PROCESSED
    assert [data["id"] for data in received] == ["tkt_1"]


@pytest.mark.parametrize(
    "event_or_body",
    [
        "ticket.created",
        "voice-call",
        make_event("ticket.created"),
        json.dumps(make_event("ticket.created")),
        json.dumps(make_event("ticket.created")).encode(),
    ],
    ids=["name", "unknown name", "dict", "text", "bytes"],
)
def test_an_event_may_be_given_in_each_form(either: Deliver, received: list[Any], event_or_body: Any) -> None:
    assert either(event_or_body).status == Delivery.Status.PROCESSED
    assert len(received) == 1


@pytest.mark.parametrize("body", [b"\xff\x00", b"", b"null", "[1]", "", "not JSON"])
def test_a_body_that_can_not_be_read_is_stored_as_invalid(either: Deliver, received: list[Any], body: Any) -> None:
    delivery = either(body)

    assert delivery.status == Delivery.Status.INVALID
    assert bytes(delivery.body) == (body if isinstance(body, bytes) else body.encode())
    assert received == []


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'ticket\.created'"):
        deliver("ticket_created")
    event: Any = 5
    with pytest.raises(TypeError, match="a dict, bytes or a str"):
        deliver(event)


class BrokenRunner:
    """A runner of the site's own, which must not be asked."""

    @property
    def hold(self) -> Any:
        raise AssertionError("asked")

    wake = hold


@pytest.mark.parametrize(
    "options",
    [
        {"DISPATCH": "worker"},
        {"DISPATCH": "tasks"},
        {"DISPATCH": "celery"},
        {"DISPATCH": "tests.testing.test_delivery.BrokenRunner"},
        {"ACK": "processed"},
        {"SECRET_ENCODING": "base64", "SIGNATURE_HEADER": "X-Other"},
        {"PUBLIC_URL": "https://shop.example/app"},
    ],
    ids=str,
)
def test_receivers_run_whatever_the_settings_say(
    either: Deliver, received: list[Any], settings: Settings, options: dict[str, Any]
) -> None:
    settings.NATEQ_WEBHOOKS = options

    assert either("ticket.created").status == Delivery.Status.PROCESSED
    assert len(received) == 1


def test_the_configured_runner_is_back_afterwards(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"DISPATCH": "worker"}
    before = api.runner()
    deliver("ticket.created")
    assert api.runner() is before


def test_a_webhook_is_created_once_and_then_used(either: Deliver) -> None:
    first, second = either("ticket.created"), either("ticket.closed")

    assert Webhook.objects.get() == first.webhook == second.webhook


def test_the_only_active_webhook_is_used_in_its_own_header(either: Deliver) -> None:
    Webhook.objects.create(name="off", is_active=False)
    webhook = Webhook.objects.create(name="shop", signature_header="X-Shop-Signature", events=["lead.created"])

    assert either("lead.created").webhook == webhook
    assert either("ticket.created").status == Delivery.Status.IGNORED


def test_of_several_webhooks_one_must_be_named(either: Deliver) -> None:
    Webhook.objects.create(name="other")
    shop = Webhook.objects.create(name="shop")

    with pytest.raises(Webhook.MultipleObjectsReturned, match=r"'other', 'shop'.*webhook="):
        either("ticket.created")
    assert either("ticket.created", webhook=shop).webhook == shop


def test_the_secret_is_the_one_in_the_database(either: Deliver) -> None:
    webhook = Webhook.objects.create(name="shop")
    Webhook.objects.update(secret="whsec_another_secret_than_before")

    assert either("ticket.created", webhook=webhook).status == Delivery.Status.PROCESSED


@pytest.mark.parametrize(
    ("values", "status", "reason", "text"),
    [
        ({"is_active": False}, 404, "", "switched off"),
        ({"registration": Webhook.Registration.PENDING}, 503, "", "being registered"),
        ({"organization_id": "org_9"}, 403, "other_organization", "403 (other_organization)"),
    ],
)
def test_a_refused_delivery_raises_its_reason(
    either: Deliver, values: dict[str, Any], status: int, reason: str, text: str
) -> None:
    webhook = Webhook.objects.create(name="shop")
    Webhook.objects.update(**values)

    with pytest.raises(DeliveryRefusedError) as caught:
        either("ticket.created", webhook=webhook)

    assert isinstance(caught.value, NateqWebhooksError)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert text in str(caught.value)
    assert '"shop"' in str(caught.value)
    assert "whsec_" not in str(caught.value)
    assert not Delivery.objects.exists()


def test_a_webhook_without_a_secret_can_sign_nothing(either: Deliver) -> None:
    webhook = Webhook.objects.create(name="shop", secret="whsec_0123456789abcdef")
    Webhook.objects.update(secret="")

    with pytest.raises(SecretError):
        either("ticket.created", webhook=webhook)


def test_a_body_that_is_too_large_is_refused(either: Deliver, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"MAX_BODY_BYTES": 1000}

    with pytest.raises(DeliveryRefusedError, match="too_large"):
        either(make_event("ticket.created", subject="x" * 1000))


def test_a_stored_delivery_that_is_refused_now_raises(either: Deliver) -> None:
    event = make_event("ticket.created")
    delivery = either(event)
    Webhook.objects.update(is_active=False)

    with pytest.raises(DeliveryRefusedError):
        either(event, webhook=delivery.webhook)


def redirecting(get_response: Any) -> Any:
    return lambda request: HttpResponseRedirect("https://www.shop.example/")


def answering(get_response: Any) -> Any:
    def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse("closed") if "tenant" not in request.headers else get_response(request)

    return answer


def test_an_answer_of_a_middleware_is_no_delivery(settings: Settings) -> None:
    settings.MIDDLEWARE = ["tests.testing.test_delivery.redirecting"]
    with pytest.raises(DeliveryRefusedError, match=r"answer is 302. It redirects to https://www.shop.example/\."):
        deliver("ticket.created", through_http=True)
    settings.MIDDLEWARE = ["tests.testing.test_delivery.answering"]
    with pytest.raises(DeliveryRefusedError, match=r"not stored: the answer is 200\.$"):
        deliver("ticket.created", through_http=True)
    assert deliver("ticket.created", client=Client(headers={"tenant": "a"})).status == Delivery.Status.PROCESSED
    assert deliver("ticket.created").status == Delivery.Status.PROCESSED


def test_a_site_that_takes_https_only_receives_it(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert deliver("ticket.created", through_http=True).status == Delivery.Status.PROCESSED


@pytest.mark.parametrize("urls", ["tests.urls", "tests.urls_of_languages", "tests.urls_of_the_default_language"])
@pytest.mark.parametrize("prefix", [None, "/app"])
def test_the_whole_request_finds_the_receiver_wherever_it_is(settings: Settings, urls: str, prefix: str | None) -> None:
    settings.ROOT_URLCONF, settings.FORCE_SCRIPT_NAME, settings.LANGUAGE_CODE = urls, prefix, "ar"
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]

    try:
        for _ in range(2):  # the first request sets the thread's script prefix
            assert deliver("ticket.created", through_http=True).status == Delivery.Status.PROCESSED
    finally:
        clear_script_prefix()


@pytest.mark.django_db(transaction=True)
def test_an_asynchronous_test_delivers_in_a_thread(received: list[Any]) -> None:
    async def deliver_one() -> Delivery:
        return await sync_to_async(deliver)("ticket.created")

    assert async_to_sync(deliver_one)().status == Delivery.Status.PROCESSED
    assert len(received) == 1


@pytest.mark.urls("tests.urls_without_a_receiver")
def test_only_the_whole_request_needs_a_url_of_the_receiver() -> None:
    assert deliver("ticket.created").status == Delivery.Status.PROCESSED
    with pytest.raises(NoReverseMatch):
        deliver("ticket.created", through_http=True)


def test_inside_a_transaction_of_its_own_nothing_can_be_delivered(either: Deliver) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        either("ticket.created")


def test_what_keeps_the_receivers_from_running_is_raised(
    either: Deliver, received: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> int:
        raise DatabaseError("lost")

    monkeypatch.setattr(api, "run_inserted", fail)
    monkeypatch.setattr(api, "run_delivery", fail)  # where the database returns no keys

    with pytest.raises(DatabaseError, match="lost"):
        either("ticket.created")


def test_with_the_content_as_identity_two_events_are_two_deliveries(
    either: Deliver, received: list[Any], settings: Settings
) -> None:
    settings.NATEQ_WEBHOOKS = {"IDENTITY": "content"}
    event = make_event("ticket.created")
    delivery, other = either(event), either("ticket.created")

    again = either(event | {"metadata": make_event("ticket.created")["metadata"] | {"attempt": 2}})

    assert delivery.pk != other.pk
    assert (again.pk, again.attempts_seen) == (delivery.pk, 2)
    assert len(received) == 2


def test_answers_that_wait_run_what_failed_once_more(either: Deliver, connect: Connect, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"ACK": "processed"}
    fails = [True]

    def receive(**kwargs: Any) -> None:
        if fails:
            raise ValueError(fails.pop())

    connect(signals.ticket_created, receive, UID)
    event = make_event("ticket.created")

    assert [either(event).status for _ in range(3)] == ["failed", "processed", "processed"]
    assert Run.objects.get().tries == 2


def test_what_is_paused_stays_as_it_is(either: Deliver, received: list[Any]) -> None:
    dispatch.pause(reason="a test")

    delivery = either("ticket.created")
    assert (delivery.status, received) == (Delivery.Status.RECEIVED, [])

    dispatch.resume()
    call_command("nateq_worker", once=True, verbosity=0)
    delivery.refresh_from_db()
    assert (delivery.status, len(received)) == (Delivery.Status.PROCESSED, 1)


def test_a_paused_receiver_waits_while_the_others_run(either: Deliver, received: list[Any], connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.paused")
    dispatch.pause(receiver="shop.paused")

    delivery = either("ticket.created")

    assert delivery.status == Delivery.Status.RECEIVED
    assert {run.receiver: run.status for run in delivery.runs.all()} == {UID: "succeeded", "shop.paused": "waiting"}


def test_a_rate_limit_holds(either: Deliver, received: list[Any], settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"RATE_LIMITS": {UID: 0.01}}

    assert [either("ticket.created").status for _ in range(2)] == ["processed", "received"]
    assert len(received) == 1


def test_an_order_holds(either: Deliver, connect: Connect, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"ORDERED_BY": "data.id"}

    def receive(event: Any, run: Run, **kwargs: Any) -> None:
        if event.name == "ticket.created" and run.tries == 1:
            raise ValueError

    connect(signals.event_received, receive, UID)

    statuses = [either(name).status for name in ("ticket.created", "ticket.updated", "lead.created")]
    assert statuses == ["failed", "received", "processed"]
    Run.objects.filter(status=Run.Status.FAILED).update(next_try_at=timezone.now())
    call_command("nateq_worker", once=True, verbosity=0)
    assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}


def test_an_async_receiver_has_run(either: Deliver, connect: Connect) -> None:
    subjects: list[str] = []

    async def receive(*, event: Any, **kwargs: Any) -> None:
        subjects.append(event.data["subject"])

    connect(signals.ticket_created, receive, UID)

    assert either(make_event("ticket.created", subject="Help")).status == Delivery.Status.PROCESSED
    assert subjects == ["Help"]
