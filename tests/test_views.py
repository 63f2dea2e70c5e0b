"""The receiver view: every answer, what is stored, and the cost in statements."""

import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from typing import Any, ClassVar

import django
import pytest
from asgiref.sync import async_to_sync
from django.core import mail
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.wsgi import WSGIRequest
from django.db import OperationalError, connection, transaction
from django.db.models import Model
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.log import AdminEmailHandler
from pytest_django import Settings

from nateq_webhooks import conf, dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.inbox import storage
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.delivery_row import NewDelivery, UpsertResult
from nateq_webhooks.models import Attempt, Delivery, Run, Secret, Webhook
from nateq_webhooks.models.run import NewRun
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.views import receive
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = pytest.mark.django_db


@pytest.fixture
def seen(connect: Connect) -> list[dict[str, Any]]:
    """What a receiver of every event got."""
    calls: list[dict[str, Any]] = []
    connect(signals.event_received, lambda **kwargs: calls.append(kwargs), "test.seen")
    return calls


@contextmanager
def table_missing(model: type[Model]) -> Iterator[None]:
    """Rename the table of a model, so that every statement on it fails."""
    table = model._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(model, table, "elsewhere")
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(model, "elsewhere", table)


def assert_asks_to_try_again(response: Any) -> None:
    assert (response.status_code, response["Retry-After"]) == (503, "30")


class TestStored:
    def test_a_signed_delivery_is_stored_and_reaches_its_receiver(self, sender: Sender, connect: Connect) -> None:
        calls: list[dict[str, Any]] = []
        connect(signals.ticket_created, lambda **kwargs: calls.append(kwargs))
        body = json.dumps(envelope()).encode()

        response = sender.post(body)

        assert (response.status_code, response.json()) == (200, {"status": "stored"})
        delivery = Delivery.objects.get()
        assert delivery.body == body
        assert delivery.status == Delivery.Status.PROCESSED
        assert (delivery.event, delivery.resource, delivery.resource_id) == ("ticket.created", "ticket", "tkt_1")
        assert (delivery.organization_id, delivery.attempt, delivery.version) == ("org_1", 1, "1.0")
        assert delivery.timestamp is not None
        assert delivery.timestamp.isoformat() == "2026-06-30T12:00:00+00:00"
        assert delivery.received_at == delivery.last_received_at
        assert delivery.remote_addr == "127.0.0.1"
        assert delivery.secret_id.startswith("sec_")
        assert delivery.dispatch_at is None
        assert delivery.notes == []
        assert delivery.headers["X-Nateq-Signature"] == sign(body, SECRET)
        assert Delivery.objects.filter(payload__data__subject="Help").exists()
        assert calls[0]["event"].data == {"id": "tkt_1", "subject": "Help"}
        assert calls[0]["sender"] is Delivery
        assert calls[0]["delivery"] == delivery
        assert Run.objects.get().status == Run.Status.SUCCEEDED

    def test_a_delivery_without_receivers_is_processed_at_once(self, sender: Sender) -> None:
        sender.post(envelope())

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.dispatch_at) == (Delivery.Status.PROCESSED, None)
        assert not Run.objects.exists()

    def test_a_retry_of_a_stored_delivery_runs_no_receiver_again(
        self, sender: Sender, seen: list[dict[str, Any]]
    ) -> None:
        sender.post(envelope())

        response = sender.post(envelope(attempt=2), REMOTE_ADDR="192.0.2.7")

        assert (response.status_code, response.json()) == (200, {"status": "already stored"})
        assert len(seen) == 1
        delivery = Delivery.objects.get()
        assert (delivery.attempt, delivery.attempts_seen) == (1, 2)
        assert delivery.last_received_at > delivery.received_at
        attempt = Attempt.objects.get()
        assert (attempt.number, attempt.remote_addr) == (2, "192.0.2.7")
        assert attempt.received_at == delivery.last_received_at

    def test_only_fifty_repeated_attempts_are_kept_but_all_are_counted(self, sender: Sender) -> None:
        for number in range(1, 56):
            assert sender.post(envelope(attempt=number)).status_code == 200

        assert Delivery.objects.get().attempts_seen == 55
        assert Attempt.objects.count() == 50

    def test_an_event_that_is_not_subscribed_is_stored_as_ignored(
        self, sender: Sender, seen: list[dict[str, Any]]
    ) -> None:
        sender.webhook.events = ["message.sent"]
        sender.webhook.save()

        assert sender.post(envelope("ticket.created")).status_code == 200
        assert sender.post(envelope("message.sent", delivery_id="dlv_2")).status_code == 200

        statuses = dict(Delivery.objects.values_list("event", "status"))
        assert statuses == {"ticket.created": "ignored", "message.sent": "processed"}
        assert [call["event"].name for call in seen] == ["message.sent"]

    def test_an_older_secret_is_accepted_until_it_expires(self, sender: Sender) -> None:
        older = Secret.objects.create(webhook=sender.webhook, secret="the old secret, kept")
        assert sender.post(envelope(), secret="the old secret, kept").status_code == 200
        assert Delivery.objects.get().secret_id == str(older)

        older.expires_at = timezone.now()
        older.save()
        assert sender.post(envelope(), secret="the old secret, kept").status_code == 401

    def test_a_webhook_may_have_a_signature_header_of_its_own(self, sender: Sender) -> None:
        sender.webhook.signature_header = "X-Other"
        sender.webhook.save()
        body = json.dumps(envelope()).encode()

        assert sender.post(body).status_code == 401
        assert sender.post(body, headers={"X-Other": sign(body, SECRET)}).status_code == 200

    def test_forwarded_addresses_count_only_where_a_setting_says_so(self, sender: Sender, settings: Settings) -> None:
        headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}
        sender.post(envelope(delivery_id="one"), headers=headers)
        settings.NATEQ_WEBHOOKS = {"TRUSTED_PROXIES": 1}
        sender.post(envelope(delivery_id="two"), headers=headers)

        addresses = dict(Delivery.objects.values_list("delivery_id", "remote_addr"))
        assert addresses == {"one": "127.0.0.1", "two": "198.51.100.1"}

    def test_headers_that_may_carry_a_secret_are_kept_without_their_value(self, sender: Sender) -> None:
        sender.post(envelope(), headers={"Authorization": "Bearer x1y2", "X-Api-Key": "x1y2", "X-Request-Id": "seen"})

        headers = Delivery.objects.get().headers
        assert headers["X-Request-Id"] == "seen"
        assert "x1y2" not in json.dumps(headers)
        assert headers["Authorization"] == headers["X-Api-Key"] == "[redacted]"


class TestRefused:
    @pytest.mark.parametrize(
        "signature",
        ["", "0" * 64, "sha256=", "not hex", "é" * 64, "a" * 100_000, ",".join(["0" * 64] * 9)],
        ids=["empty", "wrong", "prefix only", "no digest", "not ASCII", "enormous", "nine values"],
    )
    def test_a_bad_signature_is_refused_and_leaves_nothing(self, sender: Sender, signature: str) -> None:
        response = sender.post(envelope(), signature=signature)

        assert (response.status_code, response.json()) == (401, {"error": "signature missing or wrong"})
        assert not Delivery.objects.exists()

    def test_a_body_signed_with_the_empty_key_is_refused(self, sender: Sender) -> None:
        Webhook.objects.filter(pk=sender.webhook.pk).update(secret="")
        body = json.dumps(envelope()).encode()

        assert sender.post(body, signature=hmac.new(b"", body, hashlib.sha256).hexdigest()).status_code == 401

    def test_the_log_says_why_and_what_to_do_and_no_secret(
        self, sender: Sender, caplog: pytest.LogCaptureFixture
    ) -> None:
        Secret.objects.create(webhook=sender.webhook, secret="the old secret, kept")
        with caplog.at_level(logging.WARNING, "nateq_webhooks"):
            sender.post(envelope(), secret="other")

        line = caplog.messages[0]
        assert 'webhook "shop" refused: X-Nateq-Signature (64 characters) matches none of its 2 secrets' in line
        assert "Webhooks > shop > Signing secrets" in line
        assert SECRET not in caplog.text
        assert "the old secret, kept" not in caplog.text

    @pytest.mark.parametrize(
        ("changes", "how", "expected", "said"),
        [
            ({}, {"signature": "0" * 63}, 401, "X-Nateq-Signature (63 characters) holds no signature: not_hex."),
            ({}, {"signature": ""}, 401, "X-Nateq-Signature (0 characters) holds no signature: empty."),
            ({"signature_header": "X-Other"}, {}, 401, "no header X-Other. If the signature comes in another"),
            ({"secret": ""}, {}, 401, "no usable signing secret. Each one is empty, too short, expired"),
            ({"organization_id": "org_2"}, {}, 403, "to another organization than 'org_2'. Change or clear"),
            ({}, {"CONTENT_LENGTH": "9999999"}, 413, 'larger than NATEQ_WEBHOOKS["MAX_BODY_BYTES"] allows.'),
        ],
        ids=["no digest", "empty", "absent", "no secret", "organization", "too large"],
    )
    def test_the_log_has_a_line_of_its_own_for_each_reason(
        self,
        sender: Sender,
        caplog: pytest.LogCaptureFixture,
        changes: dict[str, Any],
        how: dict[str, Any],
        expected: int,
        said: str,
    ) -> None:
        Webhook.objects.filter(pk=sender.webhook.pk).update(**changes)

        assert sender.post(envelope(), **how).status_code == expected

        assert len([message for message in caplog.messages if message.startswith('Delivery to webhook "shop"')]) == 1
        assert 'Delivery to webhook "shop" refused: ' in caplog.text
        assert said in caplog.text

    def test_an_unknown_and_an_inactive_webhook_are_not_found(self, sender: Sender) -> None:
        unknown = sender.client.post(f"/nateq/{uuid.uuid4()}/", b"{}", content_type="application/json")
        sender.webhook.is_active = False
        sender.webhook.save()
        inactive = sender.post(envelope())

        for response in (unknown, inactive):  # the same: a sender without a secret does not learn which webhooks exist
            assert (response.status_code, response.json()) == (404, {"error": "no such webhook"})
        assert not Delivery.objects.exists()

    def test_another_organization_is_refused_and_a_missing_one_is_not(self, sender: Sender) -> None:
        sender.webhook.organization_id = "org_2"
        sender.webhook.save()

        assert sender.post(envelope()).status_code == 403
        assert not Delivery.objects.exists()
        assert sender.post(envelope(organization_id=None)).status_code == 200
        assert sender.post(envelope(organization_id="org_2", delivery_id="dlv_2")).status_code == 200

    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
    def test_only_post_is_allowed_with_and_without_the_last_slash(self, sender: Sender, method: str) -> None:
        url = sender.webhook.get_absolute_url()

        for response in (getattr(sender.client, method)(url), getattr(sender.client, method)(url.rstrip("/"))):
            assert (response.status_code, response["Allow"]) == (405, "POST")

    def test_a_pending_webhook_asks_the_sender_to_come_back(self, sender: Sender) -> None:
        sender.webhook.registration = Webhook.Registration.PENDING
        sender.webhook.save()

        response = sender.post(envelope())

        assert_asks_to_try_again(response)
        assert not Delivery.objects.exists()

    def test_while_the_secret_is_rotated_an_unknown_signature_is_asked_to_come_back(self, sender: Sender) -> None:
        sender.webhook.registration = Webhook.Registration.ROTATING
        sender.webhook.save()

        assert sender.post(envelope(), secret="the new secret, unknown").status_code == 503
        assert sender.post(envelope(), signature="no digest").status_code == 401
        assert sender.post(envelope()).status_code == 200


class TestUnreadable:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not_json"),
            (b"{", "not_json"),
            (b"[]", "not_object"),
            (b'"text"', "not_object"),
            (b"\xff\xfe", "not_utf8"),
            (b'{"n": ' + b"9" * 5000 + b"}", "number_too_long"),
            (b"[" * 100_000, "too_deep"),
            (b'{"data": ' + b"[" * 600 + b"]" * 600 + b"}", "too_deep"),
        ],
        ids=["empty", "cut off", "list", "text", "not UTF-8", "5,000 digits", "100,000 arrays", "600 levels"],
    )
    def test_a_signed_body_that_is_no_object_is_stored_once_as_invalid(
        self, sender: Sender, seen: list[dict[str, Any]], body: bytes, reason: str
    ) -> None:
        assert sender.post(body).status_code == 400
        assert sender.post(body).status_code == 400

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.notes, delivery.body) == (Delivery.Status.INVALID, [reason], body)
        assert (delivery.payload, delivery.dispatch_at, delivery.attempts_seen) == (None, None, 2)
        assert not seen


class TestOdd:
    """Signed and readable, but not as the page says: stored and dispatched, with a note."""

    @pytest.mark.parametrize(
        ("change", "note"),
        [
            ({"timestamp": None}, "timestamp_unusable"),
            ({"timestamp": "yesterday"}, "timestamp_unusable"),
            ({"timestamp": 1782820800}, "timestamp_unusable"),
            ({"timestamp": "0001-01-01T00:00:00+23:59"}, "timestamp_unusable"),
            ({"timestamp": "9999-12-31T23:59:59-23:59"}, "timestamp_unusable"),
            ({"timestamp": "2026-06-30T12:00:00"}, "timestamp_naive"),
            ({"event": 7}, "event_unusable"),
            ({"event": ""}, "event_unusable"),
            ({"event": "e" * 300}, "cut"),
            ({"event": "a\x00b"}, "cut"),
            ({"organization_id": ["org"]}, "organization_unusable"),
            ({"organization_id": "\ud800"}, "cut"),
            ({"metadata": None}, "metadata_unusable"),
            ({"metadata": []}, "delivery_id_unusable"),
            ({"metadata": {"delivery_id": "x", "attempt": "2", "version": "1.0"}}, "attempt_unusable"),
            ({"metadata": {"delivery_id": "x", "attempt": 2**40, "version": "1.0"}}, "attempt_unusable"),
            ({"metadata": {"delivery_id": "x", "attempt": 1, "version": 2}}, "version_unusable"),
            ({"metadata": {"delivery_id": "x" * 10_000, "attempt": 1, "version": "1"}}, "cut"),
            ({"metadata": {"delivery_id": None}}, "delivery_id_unusable"),
            ({"metadata": {"delivery_id": []}}, "delivery_id_unusable"),
            ({"metadata": {"delivery_id": 1.5}}, "delivery_id_unusable"),
            ({"metadata": {"delivery_id": ""}}, "delivery_id_unusable"),
            ({"data": "\x00"}, "payload_not_queryable"),
            ({"data": "\ud800"}, "payload_not_queryable"),
            ({"data": {"\udfff": 1}}, "payload_not_queryable"),
            ({"data": float("nan")}, "payload_not_queryable"),
            ({"data": float("-inf")}, "payload_not_queryable"),
        ],
        ids=repr,
    )
    def test_it_is_stored_and_dispatched_with_a_note_once(
        self, sender: Sender, seen: list[dict[str, Any]], change: dict[str, Any], note: str
    ) -> None:
        assert sender.post(envelope() | change).status_code == 200
        assert sender.post(envelope() | change).status_code == 200

        delivery = Delivery.objects.get()
        assert note in delivery.notes
        assert delivery.status == Delivery.Status.PROCESSED
        assert len(seen) == 1

    def test_data_that_no_json_column_stores_reaches_the_receiver_from_the_bytes(
        self, sender: Sender, seen: list[dict[str, Any]]
    ) -> None:
        body = json.dumps(envelope(data={"id": "x", "big": 10**22, "zero": -0.0, "deep": "@"})).replace(
            '"@"', "[" * 40 + "1e400, 1e22" + "]" * 40
        )
        assert sender.post(body.encode()).status_code == 200

        assert Delivery.objects.get().payload is None
        data = seen[0]["event"].data
        assert (data["big"], str(data["zero"])) == (10**22, "-0.0")
        for _ in range(40):
            data["deep"] = data["deep"][0]
        assert data["deep"] == float("inf")

    @pytest.mark.parametrize("data", [None, [], [1], "text", 7, True, {}, {"id": 5}, {"id": [1]}, {"ticketId": "t"}])
    def test_data_may_be_anything(self, sender: Sender, seen: list[dict[str, Any]], data: Any) -> None:
        assert sender.post(envelope(data=data)).status_code == 200

        assert seen[0]["event"].data == data
        assert Delivery.objects.get().resource_id == ("5" if data == {"id": 5} else "")

    def test_ids_that_are_equal_only_under_a_collation_are_different_deliveries(self, sender: Sender) -> None:
        ids: list[Any] = ["abc", "ABC", "abc ", "ábc", "😀", "😁", 7, "7", "7\x00"]
        for delivery_id in ids:
            assert sender.post(envelope(delivery_id=delivery_id)).status_code == 200

        assert Delivery.objects.count() == len(ids)
        assert Delivery.objects.filter(attempts_seen=1).count() == len(ids)

    def test_without_a_usable_id_the_content_is_the_identity_whatever_the_attempt(self, sender: Sender) -> None:
        sender.post(envelope(metadata={"attempt": 1}))
        sender.post(envelope(metadata={"attempt": 2}))
        sender.post(envelope(metadata={"attempt": 1}, data={"id": "tkt_2"}))

        assert list(Delivery.objects.order_by("pk").values_list("attempts_seen", flat=True)) == [2, 1]

    def test_the_last_of_duplicate_keys_counts_everywhere(self, sender: Sender, seen: list[dict[str, Any]]) -> None:
        body = json.dumps(envelope(data=1)).replace('"data": 1', '"data": {"id": "a"}, "data": {"id": "b"}')
        assert sender.post(body.encode()).status_code == 200

        assert seen[0]["event"].data == {"id": "b"}
        assert Delivery.objects.filter(payload__data__id="b", resource_id="b").exists()


class TestReceivers:
    def test_a_raising_receiver_stops_no_other_and_the_answer_stays_200(
        self, sender: Sender, connect: Connect, seen: list[dict[str, Any]]
    ) -> None:
        def fails(**kwargs: Any) -> None:
            raise LookupError("no such customer")

        connect(signals.ticket_created, fails, "fails")

        assert sender.post(envelope()).status_code == 200

        assert len(seen) == 1
        run = Run.objects.get(receiver="fails")
        assert run.status == Run.Status.FAILED
        assert run.error == "LookupError: no such customer"
        assert "in fails" in run.traceback
        assert Delivery.objects.get().status == Delivery.Status.FAILED

    def test_an_async_receiver_runs_and_writes_in_the_runs_transaction(self, sender: Sender, connect: Connect) -> None:
        async def write(**kwargs: Any) -> None:
            await Webhook.objects.acreate(name="written")

        connect(signals.ticket_created, write, "writes")
        sender.post(envelope())

        assert Run.objects.get().status == Run.Status.SUCCEEDED
        assert Webhook.objects.filter(name="written").exists()


@contextmanager
def broken(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> Iterator[list[Exception]]:
    """Let the store's statement raise these errors, one per call, before it works again."""
    left = list(errors)
    real = storage._statement_for

    def statement_for(connection: Any) -> storage.Statement:
        work = real(connection)

        def run(connection: Any, new: NewDelivery) -> UpsertResult:
            if left:
                raise left.pop(0)
            return work(connection, new)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_statement_for", statement_for)
        yield left


class TestTrouble:
    def test_a_delivery_that_cannot_be_stored_gets_503_with_retry_after(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sender.post(envelope(delivery_id="warm"))
        with broken(monkeypatch, OperationalError("the server is gone: secret detail")):
            response = sender.post(envelope())

        assert_asks_to_try_again(response)
        assert response.json() == {"error": "not stored, try again"}
        assert sender.post(envelope()).status_code == 200

    @pytest.mark.parametrize(
        "error",
        [
            OperationalError(1213, "Deadlock"),
            OperationalError(1205, "Lock wait"),
            OperationalError("database is locked"),
        ],
        ids=["deadlock", "lock wait", "sqlite"],
    )
    def test_a_deadlock_or_a_lock_timeout_is_repeated_twice(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, error: OperationalError
    ) -> None:
        with broken(monkeypatch, error, error) as left:
            assert sender.post(envelope()).status_code == 200
        assert not left
        with broken(monkeypatch, error, error, error):
            assert sender.post(envelope(delivery_id="another")).status_code == 503

    @pytest.mark.django_db(transaction=True)
    def test_a_repeated_attempt_whose_details_cannot_be_kept_is_counted_all_the_same(
        self, sender: Sender, caplog: pytest.LogCaptureFixture
    ) -> None:
        sender.post(envelope())
        with table_missing(Attempt):
            response = sender.post(envelope(attempt=2))

        assert (response.status_code, response.json()) == (200, {"status": "already stored"})
        assert Delivery.objects.get().attempts_seen == 2
        assert "was counted, but its details were not kept" in caplog.text

    @pytest.mark.django_db(transaction=True)
    def test_a_row_that_cannot_be_read_for_its_signal_changes_no_answer(
        self, sender: Sender, caplog: pytest.LogCaptureFixture
    ) -> None:
        sent: list[dict[str, Any]] = []

        def unreadable(execute: Any, sql: str, *args: Any) -> Any:
            if sql.startswith("SELECT") and "nateq_webhooks_delivery" in sql:
                raise OperationalError("the server is gone")
            return execute(sql, *args)

        sender.post(envelope(delivery_id="warm"))
        signals.delivery_received.connect(lambda **kwargs: sent.append(kwargs), weak=False, dispatch_uid="test.sent")
        try:
            with connection.execute_wrapper(unreadable):
                response = sender.post(envelope())
        finally:
            signals.delivery_received.disconnect(dispatch_uid="test.sent")

        assert not sent
        assert response.json() == {"status": "stored"}
        assert "is stored, but its signal could not be sent" in caplog.text

    @pytest.mark.django_db(transaction=True)
    def test_a_missing_table_is_503_and_not_500(self, sender: Sender) -> None:
        with table_missing(Delivery):
            assert sender.post(envelope()).status_code == 503


class TestBody:
    def test_a_body_over_the_limit_is_refused_before_a_byte_is_read(self, sender: Sender) -> None:
        response = sender.client.post(
            sender.webhook.get_absolute_url(),
            b"{}",
            content_type="application/json",
            CONTENT_LENGTH=str(1024 * 1024 + 1),
            **{"wsgi.input": Unreadable(AssertionError("read"))},  # type: ignore[arg-type]
        )

        assert response.status_code == 413

    def test_a_body_of_exactly_the_limit_is_taken_whatever_django_limits(
        self, sender: Sender, settings: Settings
    ) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
        body = json.dumps(envelope(data="x")).encode()
        body = body.replace(b'"x"', b'"' + b"x" * (1024 * 1024 - len(body) + 1) + b'"')

        assert len(body) == 1024 * 1024
        assert sender.post(body).status_code == 200
        assert Delivery.objects.get().body == body

    def test_a_larger_limit_is_a_setting(self, sender: Sender, settings: Settings) -> None:
        settings.NATEQ_WEBHOOKS = {"MAX_BODY_BYTES": 3 * 1024 * 1024}

        assert sender.post(envelope(data="x" * 2_900_000)).status_code == 200

        delivery = Delivery.objects.get()
        assert (delivery.payload, delivery.notes) == (None, ["payload_not_queryable"])

    @pytest.mark.parametrize("touch", ["body", "POST", "both"])
    def test_a_middleware_may_read_the_body_or_the_form_first(self, webhook: Webhook, touch: str) -> None:
        request = signed_request(webhook)
        if touch != "POST":
            assert request.body
        if touch != "body":
            assert not request.POST

        assert receive(request, webhook.pk).status_code == 200

    def test_code_after_the_view_can_still_read_the_body(self, webhook: Webhook) -> None:
        request = signed_request(webhook)

        receive(request, webhook.pk)

        assert json.loads(request.body) == envelope()

    @pytest.mark.parametrize("how", ["stream", "form", "server"])
    def test_a_body_that_was_already_read_is_503_and_the_log_names_the_cause(
        self, webhook: Webhook, caplog: pytest.LogCaptureFixture, how: str
    ) -> None:
        request = signed_request(webhook, "multipart/form-data; boundary=x" if how == "form" else "application/json")
        if how == "stream":
            request.read(3)
        elif how == "form":
            assert request.POST is not None
            assert not hasattr(request, "_body")
        else:
            request.environ["wsgi.input"].read()

        assert receive(request, webhook.pk).status_code == 503
        assert "middleware" in caplog.text
        said = "Only 0 of" if how == "server" else "the exact bytes are gone. Let it use request.body instead."
        assert said in caplog.text
        assert not Delivery.objects.exists()

    def test_a_chunked_body_is_read_where_the_server_says_where_it_ends(self, webhook: Webhook) -> None:
        request = signed_request(webhook, chunked=True, terminated=True)
        assert request.body == b""  # what Django makes of it

        assert receive(request, webhook.pk).status_code == 200
        assert Delivery.objects.exists()

    def test_a_chunked_body_over_the_limit_is_read_no_further(self, webhook: Webhook) -> None:
        request = signed_request(webhook, chunked=True, terminated=True)
        stream = BytesIO(b"x" * 3_000_000)
        request.environ["wsgi.input"] = stream

        assert receive(request, webhook.pk).status_code == 413
        assert stream.tell() == 1024 * 1024 + 1

    def test_a_chunked_body_without_a_known_end_is_411(
        self, webhook: Webhook, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = receive(signed_request(webhook, chunked=True), webhook.pk)

        assert (answer.status_code, json.loads(answer.content)) == (411, {"error": "Content-Length needed"})
        assert "or its body is chunked and this server does not say where such a body ends." in caplog.text


def signed_request(
    webhook: Webhook,
    content_type: str = "application/json",
    *,
    chunked: bool = False,
    terminated: bool = False,
) -> WSGIRequest:
    body = json.dumps(envelope()).encode()
    request = RequestFactory().generic(
        "POST",
        webhook.get_absolute_url(),
        body,
        content_type,
        headers={"X-Nateq-Signature": sign(body, SECRET)},
    )
    request.environ["wsgi.input"] = BytesIO(body)
    if chunked:
        request.environ.pop("CONTENT_LENGTH")
        request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        request.environ["wsgi.input_terminated"] = terminated
    return WSGIRequest(request.environ)


class TestSite:
    """What a project may do to every view."""

    @pytest.mark.django_db(transaction=True)
    def test_with_atomic_requests_the_commit_comes_before_the_answer_and_before_any_receiver(
        self, sender: Sender, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        in_atomic_block: list[bool] = []
        real = storage.upsert

        def upsert(alias: str, new: NewDelivery, runs: Sequence[NewRun]) -> tuple[UpsertResult, Sequence[Any]]:
            in_atomic_block.append(connection.in_atomic_block)
            return real(alias, new, runs)

        monkeypatch.setattr("nateq_webhooks.inbox.storage.upsert", upsert)
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        connect(signals.ticket_created, lambda **kwargs: None)

        assert sender.post(envelope()).status_code == 200
        assert in_atomic_block == [False]

    @pytest.mark.django_db(transaction=True)
    def test_without_autocommit_it_commits_by_itself_before_the_answer(self, sender: Sender) -> None:
        sender.post(envelope(delivery_id="warm"))
        connection.set_autocommit(False)
        try:
            assert sender.post(envelope()).json() == {"status": "stored"}
            connection.rollback()
        finally:
            connection.set_autocommit(True)

        assert Delivery.objects.filter(delivery_id="dlv_1").exists()

    @pytest.mark.django_db(transaction=True)
    def test_inside_a_transaction_it_refuses_to_answer_before_the_commit(self, sender: Sender) -> None:
        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            sender.post(envelope())

    def test_it_needs_neither_login_nor_csrf_token(self, sender: Sender) -> None:
        strict = Sender(sender.webhook, Client(enforce_csrf_checks=True))

        assert strict.post(envelope()).status_code == 200

    @override_settings(USE_I18N=False, APPEND_SLASH=False)
    def test_it_works_without_translations(self, sender: Sender) -> None:
        assert sender.post(envelope()).status_code == 200


class TestUrl:
    """The URL may have lost its last slash."""

    @pytest.mark.parametrize(
        ("append_slash", "debug"),
        [(True, False), (False, False), (True, True)],
        ids=["APPEND_SLASH", "neither", "DEBUG, where Django's redirect of a POST raises an error"],
    )
    def test_it_answers_with_and_without_the_last_slash_alike(
        self, sender: Sender, seen: list[dict[str, Any]], settings: Settings, append_slash: bool, debug: bool
    ) -> None:
        settings.APPEND_SLASH, settings.DEBUG = append_slash, debug
        path = sender.webhook.get_absolute_url()
        assert path.endswith("/")

        answers = [post_to(Client(), url, envelope(delivery_id=url)) for url in (path, path.rstrip("/"))]

        assert [(answer.status_code, answer.content) for answer in answers] == [(200, b'{"status": "stored"}')] * 2
        assert dict(answers[0].items()) == dict(answers[1].items())
        assert Delivery.objects.count() == len(seen) == 2

    @pytest.mark.django_db(transaction=True)
    def test_it_answers_with_and_without_the_last_slash_under_asgi(self, webhook: Webhook) -> None:
        for url in (webhook.get_absolute_url(), webhook.get_absolute_url().rstrip("/")):
            body = json.dumps(envelope(delivery_id=url)).encode()
            headers = {"X-Nateq-Signature": sign(body, SECRET)}
            answer = async_to_sync(AsyncClient().post)(url, body, content_type="application/json", headers=headers)
            assert (answer.status_code, answer.content) == (200, b'{"status": "stored"}')

    def test_it_answers_with_the_digits_in_upper_case(self, sender: Sender) -> None:
        key = str(sender.webhook.pk)
        path = sender.webhook.get_absolute_url()

        answer = post_to(Client(), path.replace(key, key.upper()), envelope())

        assert (answer.status_code, answer.content) == (200, b'{"status": "stored"}')
        assert Delivery.objects.get().webhook == sender.webhook

    def test_the_url_that_is_shown_has_the_slash(self, webhook: Webhook) -> None:
        assert webhook.public_url == f"https://shop.example/nateq/{webhook.pk}/"


def post_to(client: Client, url: str, document: Any) -> Any:
    body = json.dumps(document).encode()
    return client.post(url, body, content_type="application/json", headers={"X-Nateq-Signature": sign(body, SECRET)})


class OddError(Exception):
    """An error of a server that is no `OSError`; gunicorn raises one for a chunk without a size."""


class Unreadable(BytesIO):
    """A stream that can't be read."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, *_args: Any) -> bytes:
        raise self._error


CHUNKED = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


class TestAnonymous:
    """A sender without a secret causes no 500 and no logged error, so no mail to the administrators."""

    @pytest.fixture(autouse=True)
    def _mails_every_error(self, settings: Settings) -> Iterator[None]:
        settings.ADMINS = [("Admin", "admin@shop.example")] if django.VERSION < (6,) else ["admin@shop.example"]
        handler = AdminEmailHandler()
        handler.setLevel(logging.ERROR)
        logging.getLogger().addHandler(handler)
        yield
        logging.getLogger().removeHandler(handler)

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("9" * 5_000, 413),
            ("-1", 411),
            ("٢", 411),
            ("two", 411),
            ("", 401),
            ("0", 401),
            ("0" * 5_000, 401),
            ("1000", 503),
        ],
    )
    def test_a_content_length_is_never_a_500(self, sender: Sender, header: str, expected: int) -> None:
        environ: Any = {"CONTENT_LENGTH": header, "wsgi.input": BytesIO(b"{}")}
        response = sender.client.generic("POST", sender.webhook.get_absolute_url(), b"{}", **environ)

        assert response.status_code == expected
        assert not mail.outbox

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    @pytest.mark.parametrize("header", ["9" * 5_000, "-1", "٢"])
    def test_a_content_length_is_never_a_500_with_another_method(
        self, sender: Sender, method: str, header: str
    ) -> None:
        url = sender.webhook.get_absolute_url()

        assert sender.client.generic(method, url, CONTENT_LENGTH=header).status_code == 405
        assert not mail.outbox

    @pytest.mark.parametrize("extra", [{}, CHUNKED], ids=["with length", "chunked"])
    @pytest.mark.parametrize(
        ("error", "expected", "logged"),
        [
            (ConnectionResetError("reset by peer"), 503, "closed the connection"),
            (OSError("timed out"), 503, "closed the connection"),
            (OddError("zz"), 400, "can't read the body"),
            (ValueError("zz"), 400, "can't read the body"),
            (AssertionError("no more data"), 400, "can't read the body"),
        ],
    )
    def test_a_body_that_cannot_be_read_is_no_500(
        self,
        sender: Sender,
        caplog: pytest.LogCaptureFixture,
        extra: dict[str, Any],
        error: Exception,
        expected: int,
        logged: str,
    ) -> None:
        environ: Any = {"CONTENT_LENGTH": "2", "wsgi.input": Unreadable(error)} | extra
        response = sender.client.generic("POST", sender.webhook.get_absolute_url(), b"", **environ)

        assert response.status_code == expected
        assert [record.levelname for record in caplog.records if record.name == "nateq_webhooks"] == ["WARNING"]
        assert logged in caplog.text
        assert "zz" not in caplog.text
        assert not Delivery.objects.exists()
        assert not mail.outbox

    @pytest.mark.parametrize("registration", [Webhook.Registration.PENDING, Webhook.Registration.ROTATING])
    def test_a_bad_signature_while_the_secret_is_not_known_sends_no_mail(
        self, sender: Sender, registration: Webhook.Registration
    ) -> None:
        sender.webhook.registration = registration
        sender.webhook.save()

        response = sender.post(envelope(), signature="0" * 64)

        assert_asks_to_try_again(response)
        assert not mail.outbox

    @pytest.mark.parametrize(
        ("send", "status"),
        [
            (lambda sender: sender.post(b"{", signature="0" * 64), 401),
            (lambda sender: sender.post(b"x" * 1_100_000, signature=""), 413),
            (lambda sender: sender.client.get(sender.webhook.get_absolute_url()), 405),
            (lambda sender: sender.client.post(f"/nateq/{uuid.uuid4()}/"), 404),
        ],
        ids=["401", "413", "405", "404"],
    )
    def test_no_refusal_sends_a_mail(self, sender: Sender, send: Callable[[Sender], Any], status: int) -> None:
        assert send(sender).status_code == status
        assert not mail.outbox

    def test_a_webhook_with_an_unusable_secret_sends_no_mail(self, sender: Sender) -> None:
        Webhook.objects.update(secret="")

        assert sender.post(envelope()).status_code == 401
        assert not mail.outbox

    @pytest.mark.django_db(transaction=True)
    def test_an_unavailable_database_sends_no_mail_before_the_signature_is_verified(self, sender: Sender) -> None:
        with table_missing(Webhook):
            cache.invalidate()
            assert sender.post(envelope()).status_code == 503
        assert not mail.outbox

    @pytest.mark.filterwarnings("ignore:Django 2028 will not have a default mailer")
    def test_a_verified_delivery_that_cannot_be_stored_sends_a_mail(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sender.post(envelope(delivery_id="warm"))
        with broken(monkeypatch, OperationalError("the server is gone")):
            assert sender.post(envelope()).status_code == 503

        assert mail.outbox


class Breaks:
    """A runner of which every part raises the error of the test."""

    error: ClassVar[BaseException]

    @property
    def hold(self) -> timedelta:
        """Raise."""
        raise self.error

    def wake(self, due: dispatch.Due) -> None:
        """Raise."""
        raise self.error


class Timeout(BaseException):
    """Like the timeouts of gevent and eventlet, not a subclass of `Exception`."""


class TestStoredOr503:
    """A stored delivery is acknowledged whatever running its receivers raises; the view never answers 500."""

    @pytest.mark.parametrize(
        "error", [SynchronousOnlyOperation("a loop runs"), Timeout(), RecursionError(), ImportError("celery")], ids=repr
    )
    def test_a_stored_delivery_is_acknowledged_whatever_the_runner_raises(
        self, sender: Sender, connect: Connect, settings: Settings, error: BaseException
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: None)
        settings.NATEQ_WEBHOOKS = {"DISPATCH": "tests.test_views.Breaks"}
        Breaks.error = error
        if not isinstance(error, Exception):
            settings.NATEQ_WEBHOOKS = {"DISPATCH": "tests.test_views.BreaksLate"}

        response = sender.post(envelope())

        assert (response.status_code, response.json()) == (200, {"status": "stored"})
        delivery = Delivery.objects.get()
        assert delivery.dispatch_at is not None
        assert delivery.dispatch_at <= delivery.received_at

    @pytest.mark.parametrize("error", [SynchronousOnlyOperation("a loop runs"), Timeout()], ids=repr)
    def test_with_ack_processed_it_is_503_and_stored(
        self, sender: Sender, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def fail(due: object) -> bool:
            raise error

        settings.NATEQ_WEBHOOKS = {"ACK": "processed"}
        monkeypatch.setattr(api, "process", fail)

        response = sender.post(envelope())

        assert_asks_to_try_again(response)
        assert Delivery.objects.exists()

    @pytest.mark.parametrize("step", ["_announce", "link_reissue", "end_former_secrets"])
    def test_an_error_after_the_commit_changes_no_answer(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
    ) -> None:
        def fail(*args: object) -> None:
            raise SynchronousOnlyOperation("a loop runs")

        Webhook.objects.filter(pk=sender.webhook.pk).update(rotation_scanned_to=0)
        sender.post(envelope(delivery_id="first"))
        Webhook.objects.filter(pk=sender.webhook.pk).update(rotation_scanned_to=0)
        monkeypatch.setattr(f"nateq_webhooks.inbox.follow_up.{step}", fail)

        answers = [sender.post(envelope(attempt=attempt)).json() for attempt in (2, 3)]

        assert answers == [{"status": "stored"}, {"status": "already stored"}]
        assert "is stored, but the steps after storing it failed" in caplog.text

    @pytest.mark.parametrize("where", ["find", "store"])
    def test_a_database_that_cannot_be_used_in_an_event_loop_is_503(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        def fail(*args: object) -> None:
            raise SynchronousOnlyOperation("a loop runs")

        sender.post(envelope(delivery_id="warm"))
        path = {"find": "nateq_webhooks.inbox.configuration.cache.get", "store": "nateq_webhooks.inbox.storage.upsert"}[
            where
        ]
        monkeypatch.setattr(path, fail)

        response = sender.post(envelope())

        assert_asks_to_try_again(response)


class BreaksLate(Breaks):
    """Its `hold` works, and its `wake` does not."""

    @property
    def hold(self) -> timedelta:
        """Hold nothing."""
        return timedelta()


@pytest.mark.usefixtures("caches_stay_fresh")
class TestCost:
    def test_a_new_delivery_costs_one_statement_and_a_duplicate_two(self, sender: Sender) -> None:
        sender.post(envelope(delivery_id="warm"))

        assert statements(lambda: sender.post(envelope())) == (1 if has_returning() else 2)
        assert statements(lambda: sender.post(envelope())) == (2 if has_returning() else 4)

    def test_a_bad_signature_an_unknown_webhook_and_too_large_a_body_cost_none(self, sender: Sender) -> None:
        sender.post(envelope())
        assert statements(lambda: sender.post(envelope(), secret="wrong")) == 0
        assert statements(lambda: sender.client.post(f"/nateq/{uuid.uuid4()}/")) == 0
        assert statements(lambda: sender.post(b"x" * 1_100_000)) == 0

    def test_a_new_delivery_with_one_receiver_costs_at_most_ten(self, sender: Sender, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None)
        sender.post(envelope(delivery_id="warm"))

        assert statements(lambda: sender.post(envelope())) <= 10


class Elsewhere:
    """A runner that runs nothing."""

    hold = timedelta()

    def wake(self, due: dispatch.Due) -> None:
        """Do nothing."""


class Held(Elsewhere):
    """A runner that holds stored deliveries for itself at first, as inline does."""

    hold = timedelta(minutes=5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "way", ["worker", "tasks", "celery", "tests.test_views.Elsewhere", "tests.test_views.Held", "inline"]
)
@pytest.mark.usefixtures("caches_stay_fresh")
def test_storing_costs_the_same_number_of_statements_with_every_runner(
    sender: Sender, connect: Connect, settings: Settings, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for extra in {"tasks": ["django_tasks"] if django.VERSION < (6,) else [], "celery": ["celery"]}.get(way, []):
        pytest.importorskip(extra)
    connect(signals.ticket_created, lambda **kwargs: None)
    settings.NATEQ_WEBHOOKS = {"DISPATCH": way}
    woken: list[dispatch.Due] = []
    monkeypatch.setattr(api, "wake", woken.append)  # the request ends here
    sender.post(envelope(delivery_id="warm"))

    inserts_runs = way == "inline" and has_returning()
    in_two = not has_returning() or (inserts_runs and connection.vendor != "postgresql")
    assert statements(lambda: sender.post(envelope())) == (2 if in_two else 1)
    assert statements(lambda: sender.post(envelope(attempt=2))) == (2 if has_returning() else 4)

    delivery = Delivery.objects.get(delivery_id="dlv_1")
    assert delivery.status == Delivery.Status.RECEIVED
    assert [due.dispatch_at for due in woken[1:]] == [delivery.dispatch_at, None]
    assert [run.delivery_id for run in woken[1].runs] == ([delivery.pk] if inserts_runs else [])
    assert not woken[2].runs


def has_returning() -> bool:
    return connection.vendor != "mysql" or bool(connection.mysql_is_mariadb)  # type: ignore[attr-defined]


def statements(work: Callable[[], object]) -> int:
    """Count statements, BEGIN, COMMIT and savepoints left out."""
    with CaptureQueriesContext(connection) as queries:
        work()
    control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return sum(not query["sql"].startswith(control) for query in queries.captured_queries)


def test_a_database_without_returning_gets_the_portable_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage._statement_for(connection) is not storage._portable or not has_returning()
    monkeypatch.setitem(vars(connection.features), "can_return_columns_from_insert", False)

    assert storage._statement_for(connection) is storage._portable


def test_the_portable_statement_behaves_like_the_one_of_each_database(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, seen: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(storage, "_statement_for", lambda connection: storage._portable)

    assert sender.post(envelope()).json() == {"status": "stored"}
    assert sender.post(envelope(attempt=2)).json() == {"status": "already stored"}
    assert sender.post(b"[]").status_code == 400

    assert len(seen) == 1
    assert Delivery.objects.get(delivery_id="dlv_1").attempts_seen == 2


WRONG_SETTINGS: list[Any] = [
    {"RETENTION": {"payload": "90"}},
    {"REDACT": "data.email"},
    {"SECRET_KEYS": ["short"]},
    {"ALLOWED_NETWORKS": ["10.0.0.1/8"]},
    {"REPLAY_WINDOW": 3600},
    {"RETENTON": {}},
    {"MAX_BODY_BYTES": "1"},
    None,
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wrong", WRONG_SETTINGS, ids=map(str, WRONG_SETTINGS))
def test_wrong_settings_lose_no_delivery(
    sender: Sender, settings: Settings, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    conf._report.cache_clear()
    settings.NATEQ_WEBHOOKS = wrong

    answers = [sender.post(envelope()) for _time in range(3)]
    answers.append(sender.client.post(f"{sender.webhook.get_absolute_url()[:-3]}/"))

    assert {(each.status_code, each.get("Retry-After")) for each in answers} == {(503, "30")}
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "NATEQ_WEBHOOKS" in error.getMessage()
    settings.NATEQ_WEBHOOKS = {}
    assert sender.post(envelope()).status_code == 200
