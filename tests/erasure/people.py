"""Rows about a person in every table, rows about others, and a search through a dump of all tables."""

import json
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from nateq_webhooks.models import AuditEntry, Delivery, OtherContent, Rejection, Replay, Run, RunTry, Webhook
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.models.idempotent_answer import IdempotentAnswer
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.protocol.envelope import read
from tests.builders import ago, build_delivery, build_run

SARA: Final = {"id": "cus_sara9", "name": "سارة الحربي", "email": "Sara.Harbi@example.com", "phone": "+966500000101"}
OMAR: Final = {"id": "cus_omar8", "name": "Omar Haddad", "email": "omar@example.net", "phone": "+442079460104"}

TRACES: Final = (
    "cus_sara9",
    "سارة الحربي",
    json.dumps("سارة الحربي")[1:-1],
    "sara.harbi@example.com",
    "sara.harbi%40example.com",
    "966500000101",
)
"""What a dump must not have any more, in any case of letters."""


@dataclass
class Scene:
    """What was stored."""

    webhook: Webhook
    tickets: list[Delivery]
    "The person's."
    others: list[Delivery]
    "Of another person."
    quoting: Delivery
    "Of another person, with the first person's address in its text."


def body_of(event: str, data: Any, delivery_id: str, **over: Any) -> bytes:
    document = {
        "event": event,
        "timestamp": "2026-06-30T12:00:00Z",
        "organization_id": "org_1",
        "data": data,
        "metadata": {"delivery_id": delivery_id, "attempt": 1, "version": "1.0"},
    }
    return json.dumps(document | over, ensure_ascii=False).encode()


def delivery_of(webhook: Webhook, body: bytes, **over: Any) -> Delivery:
    """Build the row as the inbox would."""
    parsed = read(body)
    columns: dict[str, Any] = {
        "identity": parsed.identity,
        "content_hash": parsed.content_hash,
        "delivery_id": parsed.event.delivery_id,
        "event": parsed.event.name,
        "resource": parsed.event.resource,
        "resource_id": parsed.resource_id,
        "organization_id": parsed.event.organization_id,
        "body": body,
        "payload": None if parsed.payload_json is None else json.loads(parsed.payload_json),
        "headers": {"Content-Type": "application/json"},
    }
    return build_delivery(webhook, **(columns | over))


def ticket(webhook: Webhook, number: int, person: dict[str, Any], text: str = "Help", **over: Any) -> Delivery:
    data = {"id": f"tkt_{number}", "subject": text, "requester": person, "score": 3}
    return delivery_of(webhook, body_of("ticket.created", data, f"dlv_{number}"), **over)


def store_scene(webhook: Webhook) -> Scene:
    Webhook.objects.filter(pk=webhook.pk).update(has_removed=True)  # else each test waits until all processes know it
    old = ago(days=3)
    tickets = [
        ticket(webhook, 1, SARA, "من سارة الحربي", received_at=old),
        ticket(webhook, 2, SARA | {"email": "sara.harbi@example.com", "city": "Riyadh"}, received_at=ago(days=2)),
        # No JSON column stores it.
        ticket(webhook, 3, SARA | {"nul": "\0"}, payload=None, received_at=ago(days=2)),
        delivery_of(
            webhook,
            body_of("message.received", {"id": "m_4", "messages": [{"author": OMAR}, {"author": SARA}]}, "dlv_4"),
            received_at=ago(days=1),
        ),
    ]
    invalid = delivery_of(
        webhook, b'{"data": {"requester": {"id": "cus_sara9"', status=Delivery.Status.INVALID, received_at=ago(hours=9)
    )
    others = [ticket(webhook, number, OMAR, received_at=ago(hours=8)) for number in range(10, 13)]
    quoting = ticket(webhook, 20, OMAR, "Ask sara.harbi@example.com, please", received_at=ago(hours=7))
    quoting.headers = {"X-Contact": "sara.harbi@example.com"}
    for each in (*tickets, invalid, *others, quoting):
        each.save()
    _store_what_quotes(tickets[0], others[0])
    return Scene(webhook, tickets, others, quoting)


def _store_what_quotes(own: Delivery, foreign: Delivery) -> None:
    traceback = "Traceback ...\nKeyError: " + repr(SARA) + json.dumps(SARA)
    for number, delivery in enumerate((own, foreign)):
        run = build_run(
            delivery,
            Run.Status.DEAD,
            error=f"ValueError: no mail to {SARA['email']} of GET /?id%3Dcus_sara9&mail=sara.harbi%40example.com",
            traceback=traceback,
        )
        run.save()
        RunTry.objects.create(run=run, number=1, finished_at=ago(hours=1), error=f"of {SARA['name']} ({SARA['id']})")
        OtherContent.objects.create(
            delivery=delivery,
            content_hash=f"{number:064}",
            event="lead.created",
            received_at=ago(hours=1),
            secret_id="x",
            size=9,
            body=body_of("lead.created", {"id": "led_1", "requester": SARA}, "dlv_x"),
        )
    Run.objects.create(delivery=foreign, receiver="shop.fine", status="succeeded", next_try_at=None)
    Run.objects.create(delivery=own, receiver="shop.waits", next_try_at=PARKED_UNTIL)
    Replay.objects.create(
        reason="for سارة الحربي", filters={"resource": "cus_sara9", "error": "sara.harbi@example.com"}
    )
    Rejection.objects.create(reason="no_match", received_at=ago(hours=1), hint=json.dumps({"id": "cus_sara9"}))
    IdempotentAnswer.objects.create(name="n", request="r", document={"a": [{"b": "cus_sara9"}]})
    Hold.objects.create(scope="receiver:x", reason="until sara.harbi@example.com answers")
    AuditEntry.objects.create(action="exported", source="code", target="cus_sara9", details={"q": "+966500000101"})
    LogEntry.objects.create(
        user=get_user_model().objects.create(username="op"),
        content_type=ContentType.objects.get_for_model(Delivery),
        object_id="1",
        object_repr="ticket.created cus_sara9",
        action_flag=CHANGE,
        change_message="mailed sara.harbi@example.com",
    )


def dump() -> dict[str, list[str]]:
    """Return every row of every table as text, in lower case; bytes as UTF-8."""
    found: dict[str, list[str]] = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found[table] = ["\t".join(map(_as_text, row)) for row in cursor.fetchall()]
    return found


def _as_text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace").lower()
    return (json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)).lower()


def traces() -> list[tuple[str, str]]:
    """Return the table and the trace for each row that still has one."""
    return [
        (table, trace) for table, rows in dump().items() for row in rows for trace in TRACES if trace.lower() in row
    ]
