"""Values that are masked before a delivery is stored: receivers get the whole event until they have finished."""

import json
import logging
import re
from typing import Any
from unittest.mock import patch

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.database import encryption
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.maintenance import _recover
from nateq_webhooks.errors import DecryptionError, GiveUp
from nateq_webhooks.inbox import redaction
from nateq_webhooks.models import Delivery, OtherContent, Run
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.models.unredacted_body import UnredactedBody, UnredactedBodyQuerySet
from nateq_webhooks.protocol.envelope import content_hash
from nateq_webhooks.protocol.redaction import MASK
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.scene import make_due

pytestmark = pytest.mark.django_db(transaction=True)

MARKER = "marker-7f3a@example.com"
REDACT = [{"path": "data.requester.email", "store": True}, "data.subject"]


def body(**over: Any) -> Any:
    data = {"id": "tkt_1", "subject": "Help", "requester": {"email": MARKER, "id": "usr_1"}}
    return envelope(data=data) | over


@pytest.fixture(autouse=True)
def configured(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT}


@pytest.fixture
def got(connect: Connect) -> list[str]:
    """The address in each event that a receiver got; it fails as long as `failing` says."""
    emails: list[str] = []
    connect(
        signals.ticket_created, lambda event, **kwargs: emails.append(event.data["requester"]["email"]), "shop.keep"
    )
    return emails


def use(settings: Settings, **options: Any) -> None:
    settings.NATEQ_WEBHOOKS = {"REDACT": REDACT} | options


def dumped() -> str:
    """Every value of every table of the package, as text."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            if table.startswith("nateq_webhooks"):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                found += [_text(value) for row in cursor.fetchall() for value in row]
    assert "shop" in found
    return "\n".join(found)


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, memoryview)) else str(value)


def run_all() -> None:
    for _number in range(5):
        make_due()
        dispatch.run_due()


@pytest.fixture(params=["inline", "claimed", "worker", "processed", "ordered", "tasks"])
def way(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A way in which receivers are run."""
    if request.param == "tasks" and django.VERSION < (6,):
        pytest.importorskip("django_tasks")
    options = {
        "worker": {"DISPATCH": "worker"},
        "processed": {"ACK": "processed"},
        "ordered": {"ORDERED_BY": "event"},
        "tasks": {"DISPATCH": "tasks"},
    }
    use(settings, **options.get(request.param, {}))
    if request.param == "claimed":
        monkeypatch.setattr(api, "runs_to_insert", lambda event: [])
    return request.param


class TestReceivers:
    """What receivers get."""

    def test_they_get_the_whole_event_in_every_way_and_then_it_is_gone(
        self, sender: Sender, connect: Connect, got: list[str], way: str
    ) -> None:
        connect(
            signals.ticket_created, lambda event, **kwargs: got.append(event.data["requester"]["email"]), "shop.two"
        )

        assert sender.post(body()).status_code == 200
        run_all()

        assert got == [MARKER, MARKER]
        delivery = Delivery.objects.get()
        assert delivery.status == Delivery.Status.PROCESSED
        assert delivery.load_event().data["requester"] == {"email": MASK, "id": "usr_1"}
        assert not UnredactedBody.objects.exists()
        assert MARKER not in dumped()

    def test_each_try_gets_it_until_the_run_succeeds(self, sender: Sender, connect: Connect, way: str) -> None:
        tries: list[str] = []

        def fail_twice(event: Any, run: Run, **kwargs: Any) -> None:
            tries.append(event.data["requester"]["email"])
            if run.tries < 3:
                raise ValueError(f"No {tries[0]}, {event.data['subject']}")

        connect(signals.ticket_created, fail_twice, "shop.fail_twice")
        sender.post(body())
        if way != "worker":
            assert UnredactedBody.objects.exists()
        run_all()

        assert tries == [MARKER] * 3
        assert not UnredactedBody.objects.exists()
        assert MARKER not in dumped()
        assert RunTry.objects.first().error == f"ValueError: No {MASK}, {MASK}"  # type: ignore[union-attr]

    def test_it_is_gone_when_the_run_is_given_up(self, sender: Sender, connect: Connect, way: str) -> None:
        def refuse(**kwargs: Any) -> None:
            raise GiveUp(MARKER)

        connect(signals.ticket_created, refuse, "shop.refuse")
        sender.post(body())
        run_all()

        assert Delivery.objects.get().status == Delivery.Status.DEAD
        assert not UnredactedBody.objects.exists()
        assert MARKER not in dumped()

    def test_it_is_kept_as_long_as_one_receiver_has_not_finished(
        self, sender: Sender, connect: Connect, got: list[str], settings: Settings
    ) -> None:
        def fail(**kwargs: Any) -> None:
            raise ValueError

        connect(signals.ticket_created, fail, "shop.fail")

        sender.post(body())

        assert got == [MARKER]
        assert UnredactedBody.objects.count() == 1
        assert Delivery.objects.get().load_event().data["requester"]["email"] == MARKER

    def test_a_replay_afterwards_gets_masked_values_and_the_page_says_so(
        self, sender: Sender, got: list[str], boss: Client
    ) -> None:
        sender.post(body())
        delivery = Delivery.objects.get()
        page = boss.get(reverse("admin:nateq_webhooks_delivery_replay", args=[delivery.pk]), {"which": "all"})

        dispatch.replay([delivery.pk])
        run_all()

        assert "Values were masked before this delivery was stored" in page.content.decode()
        assert got == [MARKER, MASK]

    def test_a_whole_body_that_can_not_be_decrypted_is_a_failed_try_and_stays(
        self, sender: Sender, got: list[str], settings: Settings
    ) -> None:
        use(settings, DISPATCH="worker")
        sender.post(body())
        with patch.object(UnredactedBodyQuerySet, "body_of", side_effect=DecryptionError("No key.")):
            dispatch.run_due()

        assert Run.objects.get().error == f"DecryptionError: {MASK}"
        assert UnredactedBody.objects.exists()
        run_all()
        assert got == [MARKER]

    def test_an_error_is_recorded_without_content_if_the_values_can_not_be_read(
        self, sender: Sender, connect: Connect, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(event: Any, **kwargs: Any) -> None:
            patched.start()
            raise ValueError(event.data["requester"]["email"])

        patched = patch.object(UnredactedBodyQuerySet, "body_of", side_effect=OperationalError)
        connect(signals.ticket_created, fail, "shop.fail")
        sender.post(body())
        patched.stop()

        assert Run.objects.get().error == f"ValueError: {MASK}"
        assert MARKER not in "".join(logging.Formatter().format(record) for record in caplog.records)


class TestStored:
    """What is stored."""

    def test_values_are_masked_in_the_body_and_the_payload_and_nothing_else_is_changed(
        self, sender: Sender, got: list[str]
    ) -> None:
        raw = json.dumps(body(), indent=1).encode()
        sender.post(raw)

        delivery = Delivery.objects.get()
        assert delivery.body == raw.replace(MARKER.encode(), MASK.encode())
        assert delivery.payload == json.loads(delivery.body)
        assert delivery.payload["data"]["subject"] == "Help"
        assert (delivery.content_change, delivery.content_changed_at) == ("redaction", delivery.received_at)
        assert delivery.content_hash == content_hash(raw)

    def test_a_delivery_without_such_values_is_stored_as_it_came(self, sender: Sender, got: list[str]) -> None:
        sender.post(envelope())

        delivery = Delivery.objects.get()
        assert delivery.content_change is None
        assert delivery.body == json.dumps(envelope()).encode()

    def test_a_repetition_is_recognized_and_other_content_is_masked(self, sender: Sender, got: list[str]) -> None:
        sender.post(body())

        assert sender.post(body()).json() == {"status": "already stored"}
        assert not OtherContent.objects.exists()
        other = body(data=body()["data"] | {"subject": "Other"})
        assert sender.post(other).json() == {"status": "already stored"}
        assert MASK in OtherContent.objects.get().body.decode()
        assert MARKER not in dumped()
        assert got == [MARKER]

    def test_with_the_content_as_identity_two_persons_are_two_deliveries(
        self, sender: Sender, settings: Settings, got: list[str]
    ) -> None:
        use(settings, IDENTITY="content")
        another = body()
        another["data"]["requester"]["email"] = f"another-{MARKER}"

        assert [sender.post(each).json()["status"] for each in (body(), another, body())] == [
            "stored",
            "stored",
            "already stored",
        ]

    def test_what_no_receiver_runs_for_keeps_no_whole_body(self, sender: Sender) -> None:
        sender.post(body())

        assert Delivery.objects.get().status == Delivery.Status.PROCESSED
        assert not UnredactedBody.objects.exists()
        assert MARKER not in dumped()

    def test_a_body_that_is_not_json_is_not_stored(self, sender: Sender, boss: Client) -> None:
        assert sender.post(f'{{"data": "{MARKER}'.encode()).status_code == 400

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.body) == (Delivery.Status.INVALID, MASK.encode())
        assert MARKER not in dumped()
        page = boss.get(reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])).content.decode()
        assert "is not shown." in page
        assert "What is stored is complete" not in page

    def test_the_whole_body_is_encrypted(self, sender: Sender, settings: Settings, got: list[str]) -> None:
        pytest.importorskip("cryptography")
        use(settings, DISPATCH="worker")

        sender.post(body())

        stored = UnredactedBody.objects.get().body
        assert encryption.form_of(stored) is encryption.StoredForm.NEWEST_KEY
        assert json.loads(encryption.decrypt(stored)) == body()
        assert MARKER not in dumped()

    def test_without_the_extra_it_is_plain(
        self, sender: Sender, settings: Settings, got: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redaction, "encrypt", encryption.plain)
        use(settings, DISPATCH="worker")

        sender.post(body())
        run_all()

        assert got == [MARKER]

    def test_if_it_can_not_be_encrypted_as_configured_nothing_is_stored(self, sender: Sender, got: list[str]) -> None:
        with patch.object(redaction, "encrypt", side_effect=ImproperlyConfigured("no key")):
            assert sender.post(body()).status_code == 503

        assert not Delivery.objects.exists()

    def test_all_or_nothing_is_committed(self, sender: Sender, got: list[str]) -> None:
        with patch.object(UnredactedBody.objects, "using", side_effect=OperationalError):
            assert sender.post(body()).status_code == 503

        assert not Delivery.objects.exists()
        assert not Run.objects.exists()
        assert got == []
        assert sender.post(body()).json() == {"status": "stored"}

    def test_the_page_says_that_the_signature_can_not_be_checked_again(
        self, sender: Sender, got: list[str], boss: Client
    ) -> None:
        sender.post(body())
        url = reverse("admin:nateq_webhooks_delivery_change", args=[Delivery.objects.get().pk])

        page = boss.get(url).content.decode()

        assert "Verified when it came; it can&#x27;t be checked again: values were masked before it was stored." in page
        assert re.search(r"Values were masked before it was stored, on 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.", page)
        assert MARKER not in page


def test_what_a_killed_process_left_is_deleted_by_the_workers(sender: Sender, got: list[str]) -> None:
    with patch.object(UnredactedBodyQuerySet, "delete_unneeded"):
        sender.post(body())
    sender.post(body(metadata={"delivery_id": "dlv_2"}))
    Delivery.objects.filter(delivery_id="dlv_2").update(status=Delivery.Status.FAILED)
    waiting = Delivery.objects.get(delivery_id="dlv_2")
    UnredactedBody.objects.get_or_create(delivery=waiting, defaults={"body": b"{}"})
    assert UnredactedBody.objects.count() == 2

    _recover("default")

    assert UnredactedBody.objects.get().delivery == waiting


def test_an_error_while_deleting_is_logged_and_changes_nothing(
    sender: Sender, got: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(UnredactedBodyQuerySet, "delete_unneeded", side_effect=OperationalError):
        assert sender.post(body()).status_code == 200

    assert "could not be deleted: OperationalError" in caplog.text
    assert Delivery.objects.get().status == Delivery.Status.PROCESSED


@pytest.mark.usefixtures("caches_stay_fresh")
def test_a_delivery_without_values_to_mask_costs_no_further_statement(
    sender: Sender, settings: Settings, got: list[str]
) -> None:
    def statements(number: int) -> int:
        body = envelope(delivery_id=f"dlv_{number}", data={"id": "1", "requester": {"email": MASK}})
        with CaptureQueriesContext(
            connection,
        ) as captured:
            sender.post(body)
        return len(captured)

    statements(0)
    with_setting = statements(1)
    settings.NATEQ_WEBHOOKS = {}
    statements(2)

    assert with_setting == statements(3)


def test_a_delivery_of_retention_keeps_its_own_reason(sender: Sender, got: list[str]) -> None:
    sender.post(body())
    removed = Delivery.ContentChange.RETENTION
    Delivery.objects.update(content_change=removed, content_changed_at=timezone.now(), body=b"", payload=None)

    assert Delivery.objects.get().whole_body() == b""
