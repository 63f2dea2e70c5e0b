"""What the audit log records, in each way in: the admin, the REST API, the commands and the Python API."""

import getpass
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.urls import reverse

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.replays import cancel, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import ApiKey, AuditEntry, Delivery, Replay, Run, Webhook
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.protocol.api import Scope
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.remote.local_webhooks import secret_id
from tests.admin.pages import webhook_form
from tests.builders import store_deliveries, store_run
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)

Entry = tuple[str, str, str, str]


def entries() -> list[Entry]:
    """The action, source, actor and target of each entry, the oldest first."""
    return list(AuditEntry.objects.order_by("pk").values_list("action", "source", "actor", "target"))


def details() -> dict[str, Any]:
    found: dict[str, Any] = AuditEntry.objects.latest("pk").details
    return found


@pytest.fixture
def stored(sender: Sender, connect: Connect) -> Delivery:
    """A delivery that a receiver has run."""
    connect(signals.ticket_created, lambda **kwargs: None, "shop.crm")
    sender.post(envelope())
    return Delivery.objects.get()


@pytest.fixture
def program() -> Any:
    """A program that asks the REST API with a key of every scope."""
    row = ApiKey(name="ci", scopes=list(Scope))
    key = row.issue()
    row.save()
    client = Client(headers={"Authorization": f"Bearer {key}"})

    def ask(method: str, path: str, **body: Any) -> Any:
        with override_settings(ROOT_URLCONF="tests.api.urls"):
            answer = client.generic(method, f"/api/v1{path}", json.dumps(body) if body else b"")
        assert answer.status_code < 300, answer.content
        return answer.json()["data"] if answer["Content-Type"] == "application/json" else answer.content

    return ask


def command(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output, stderr=output)
    return output.getvalue()


def admin_url(model: str, page: str, *arguments: object) -> str:
    return reverse(f"admin:nateq_webhooks_{model}_{page}", args=arguments)


ME = getpass.getuser()


class TestReplays:
    def test_of_one_delivery(self, boss: Client, stored: Delivery, program: Any) -> None:
        boss.post(admin_url("delivery", "replay", stored.pk), {"which": "all", "reason": "mona@example.com asked"})
        program("POST", f"/deliveries/{stored.pk}/replay")
        dispatch.replay(stored, by="nightly")

        numbers = list(Replay.objects.order_by("pk").values_list("pk", flat=True))
        assert entries() == [
            ("replayed", "admin", "boss", f"replay {numbers[0]}"),
            ("replayed", "api", "API key ci", f"replay {numbers[1]}"),
            ("replayed", "code", "nightly", f"replay {numbers[2]}"),
        ]
        assert "mona" not in str(AuditEntry.objects.values())

    def test_of_many_is_one_entry_with_numbers(self, stored: Delivery, webhook: Webhook) -> None:
        store_deliveries(webhook, 20)

        dispatch.replay(Delivery.objects.all())

        assert len(entries()) == 1
        assert (details()["deliveries"], details()["runs"]) == (21, 21)

    def test_a_filter_is_recorded_without_its_values(self, stored: Delivery) -> None:
        command("nateq_replay", "--event", "ticket.created", "--failed", "--error", "mona@example.com", "--no-input")

        [(action, source, actor, _target)] = entries()
        assert (action, source, actor) == ("replayed", "command", ME)
        assert details()["filters"] == ["event", "error"]

    def test_a_try_now_and_a_cancelled_replay(self, boss: Client, stored: Delivery) -> None:
        boss.post(admin_url("delivery", "try_now", stored.pk))
        replay = request_replay(Selection(event="ticket.created"))
        assert cancel("default", replay.pk)
        assert not cancel("default", replay.pk)

        assert [entry[:2] for entry in entries()] == [
            ("retried", "admin"),
            ("replayed", "code"),
            ("replay_cancelled", "code"),
        ]
        assert details() == {}

    def test_one_that_is_rolled_back_leaves_no_entry_and_one_without_entry_no_run(self, stored: Delivery) -> None:
        def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
            if "auditentry" in sql:
                raise DatabaseError("disk full")
            return execute(sql, *arguments)

        with connection.execute_wrapper(refuse), pytest.raises(DatabaseError, match="disk full"):
            dispatch.replay(stored)

        assert Run.objects.count() == 1
        assert not Replay.objects.exists()


class TestPauses:
    def test_in_each_way(self, boss: Client, stored: Delivery, program: Any, webhook: Webhook) -> None:
        boss.post(admin_url("webhook", "pause", webhook.pk), {"action": "pause", "reason": "because"})
        boss.post(admin_url("webhook", "pause", webhook.pk), {"action": "resume"})
        program("POST", "/receivers/shop.crm/pause", reason="because")
        boss.post(admin_url("run", "resume"), {"hold": Hold.objects.get(scope__contains="shop.crm").pk})
        command("nateq_pause", "--all")
        command("nateq_resume", "--all")
        dispatch.pause(receiver="shop.crm", by="deploy")
        dispatch.resume(receiver="shop.crm")

        assert entries() == [
            ("paused", "admin", "boss", f"webhook:{webhook.name}"),
            ("resumed", "admin", "boss", f"webhook:{webhook.name}"),
            ("paused", "api", "API key ci", "receiver:shop.crm"),
            ("resumed", "admin", "boss", "receiver:shop.crm"),
            ("paused", "command", ME, "everything"),
            ("resumed", "command", ME, "everything"),
            ("paused", "code", "deploy", "receiver:shop.crm"),
            ("resumed", "code", "", "receiver:shop.crm"),
        ]

    def test_what_was_not_paused_is_not_resumed(self) -> None:
        dispatch.pause(receiver="shop.crm")
        dispatch.resume(receiver="shop.crm")
        dispatch.resume(receiver="shop.crm")

        assert [entry[0] for entry in entries()] == ["paused", "resumed"]


def test_dropped_and_reassigned_runs(stored: Delivery, connect: Connect) -> None:
    for delivery in store_deliveries(stored.webhook, 3):
        store_run(delivery, "shop.gone", status=Run.Status.WAITING, next_try_at=PARKED_UNTIL)
    api.drop("default", "shop.gone", limit=1)
    command("nateq_orphans", "reassign", "shop.gone", "shop.crm", "--no-input")
    api.drop("default", "shop.gone")

    assert [entry[:3] for entry in entries()] == [("dropped", "code", ""), ("reassigned", "command", ME)]
    assert details() == {"runs": 2, "reassigned_to": "shop.crm"}


def test_a_signed_request_is_recorded_before_it_is_shown_and_the_delivery_page_shows_none(
    boss: Client, stored: Delivery
) -> None:
    new_secret = "whsec_new_0123456789abcdef"
    stored.webhook.secret = new_secret  # the signature that came is shown with the headers
    stored.webhook.save()
    signature = sign(bytes(stored.body), new_secret)
    assert signature not in boss.get(admin_url("delivery", "change", stored.pk)).content.decode()
    assert entries() == []

    signed = boss.post(admin_url("delivery", "signed", stored.pk))
    assert signature in signed.content.decode()
    assert "no-store" in signed["Cache-Control"]
    assert entries() == [("request_signed", "admin", "boss", f"delivery {stored.pk}")]
    assert boss.get(admin_url("delivery", "signed", stored.pk)).status_code == 405

    def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
        if "auditentry" in sql:
            raise DatabaseError("no entry")
        return execute(sql, *arguments)

    with connection.execute_wrapper(refuse), pytest.raises(DatabaseError):
        boss.post(admin_url("delivery", "signed", stored.pk))


def test_an_export_and_a_downloaded_body(boss: Client, stored: Delivery, program: Any) -> None:
    boss.post(admin_url("delivery", "export"), {"event": "ticket.created", "confirmed": "yes", "format": "csv"})
    exported = details()
    boss.get(admin_url("delivery", "body", stored.pk))
    program("GET", f"/deliveries/{stored.pk}/body")

    assert entries() == [
        ("exported", "admin", "boss", ""),
        ("payload_downloaded", "admin", "boss", f"delivery {stored.pk}"),
        ("payload_downloaded", "api", "API key ci", f"delivery {stored.pk}"),
    ]
    assert exported | {"deliveries": 1, "format": "csv", "bodies": True, "filters": ["event"]} == exported


class TestWebhooks:
    def test_created_changed_and_deleted_in_the_admin(self, boss: Client) -> None:
        page = boss.post(admin_url("webhook", "add"), webhook_form(name="shop 2"))
        webhook = Webhook.objects.get(name="shop 2")
        assert webhook.secret in page.content.decode()
        boss.post(admin_url("webhook", "change", webhook.pk), webhook_form(name="shop 2", organization_id="org_7"))
        boss.post(
            admin_url("webhook", "change", webhook.pk),
            webhook_form(name="shop 2", organization_id="org_7", new_secret=SECRET * 2),
        )
        boss.post(admin_url("webhook", "delete", webhook.pk), {"post": "yes"})

        assert [entry[0] for entry in entries()] == [
            "webhook_created",
            "secret_revealed",
            "webhook_changed",
            "secret_changed",
            "webhook_deleted",
        ]
        assert {entry[1:] for entry in entries()} == {("admin", "boss", "shop 2")}
        assert webhook.secret not in str(AuditEntry.objects.values())
        assert SECRET not in str(AuditEntry.objects.values())

    def test_created_changed_rotated_and_deleted_in_the_api(self, program: Any) -> None:
        made = program("POST", "/webhooks", name="shop 3")
        program("PATCH", f"/webhooks/{made['id']}", is_active=False)
        rotated = program("POST", f"/webhooks/{made['id']}/rotate-secret")
        program("DELETE", f"/webhooks/{made['id']}")

        assert [entry[0] for entry in entries()] == [
            "webhook_created",
            "secret_revealed",
            "webhook_changed",
            "secret_changed",
            "secret_revealed",
            "webhook_deleted",
        ]
        assert {entry[1:] for entry in entries()} == {("api", "API key ci", "shop 3")}
        assert made["secret"] not in str(AuditEntry.objects.values())
        assert rotated["secret"] not in str(AuditEntry.objects.values())

    def test_a_new_secret_that_the_admin_shows(self, boss: Client, webhook: Webhook) -> None:
        boss.post(admin_url("webhook", "secret", webhook.pk), {"confirmed": "yes", "current": secret_id(webhook)})

        assert [entry[0] for entry in entries()] == ["secret_changed", "secret_revealed"]

    def test_a_secret_is_not_shown_if_that_cannot_be_recorded(self, boss: Client, webhook: Webhook) -> None:
        def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
            if "auditentry" in sql:
                raise DatabaseError("disk full")
            return execute(sql, *arguments)

        confirmed = {"confirmed": "yes", "current": secret_id(webhook)}
        with connection.execute_wrapper(refuse), pytest.raises(DatabaseError, match="disk full"):
            boss.post(admin_url("webhook", "secret", webhook.pk), confirmed)

        webhook.refresh_from_db()
        assert webhook.secret == SECRET


def test_api_keys_in_the_admin_and_by_the_command(boss: Client) -> None:
    form = {"name": "support", "scopes": ["deliveries:read"], "requests_per_minute": "9"}
    boss.post(admin_url("apikey", "add"), form)
    key = ApiKey.objects.get()
    boss.post(admin_url("apikey", "changelist"), {"action": "revoke_selected", "_selected_action": [str(key.pk)]})
    boss.post(admin_url("apikey", "delete", key.pk), {"post": "yes"})
    command("nateq_key", "create", "ci", "--scopes", "deliveries:read")
    command("nateq_key", "revoke", "ci")
    command("nateq_key", "revoke", "ci")

    assert entries() == [
        ("api_key_created", "admin", "boss", "support"),
        ("api_key_revoked", "admin", "boss", "support"),
        ("api_key_revoked", "admin", "boss", "support"),
        ("api_key_created", "command", ME, "ci"),
        ("api_key_revoked", "command", ME, "ci"),
    ]
