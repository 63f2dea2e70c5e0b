"""A site on an ordinary bad day: traffic of two days, a receiver that fails, refused requests, replays."""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import ApiKey, Delivery, Rejection, Replay, Run, Webhook
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.protocol.examples import example_envelope
from tests.builders import build_delivery, build_run
from tests.conftest import SECRET, Connect, Sender

CUSTOMER: Final = "sara@customer.example"
"""Stands for whatever a customer wrote: in payloads, in error texts and tracebacks, in a header."""

LONG: Final = "a-very-long-name-without-any-place-to-break-it-" * 4

TRACEBACK: Final = f"""Traceback (most recent call last):
  File "/srv/shop/receivers.py", line 41, in tell_crm
    crm.contacts.create(email=event.data["requester"]["email"], {LONG}=True)
ConnectionError: crm.example did not answer for {CUSTOMER}
"""


@dataclass
class Scene:
    """What the tests look at."""

    webhook: Webhook
    sender: Sender
    dead: Delivery
    "Two receivers: one did it, the other one was given up."
    run: Run
    "The run that was given up."
    rejection: Rejection
    key: ApiKey
    replay: Replay
    under_way: Replay
    "A quarter of it is done, and a worker is there."


def staged(connect: Connect) -> Scene:
    """Store it all. The deliveries of the last hour are sent to the receiver view, the older ones are only rows."""
    connect(signals.event_received, lambda **kwargs: None, "shop.open_ticket")
    connect(signals.event_received, lambda **kwargs: None, "shop.tell_crm")
    webhook = Webhook.objects.create(name="shop", secret=SECRET, organization_id="")
    quiet = Webhook.objects.create(name=LONG[:100], secret="whsec_quiet_0123456789abcdef", is_active=False)
    _store_traffic(webhook)
    sender = Sender(webhook)
    key = ApiKey(name=LONG[:100], scopes=["deliveries:read"], allowed_addresses=["192.0.2.0/24"])
    key.issue()
    key.save()
    for number, event in enumerate(("ticket.created", "message.received", "conversation.started", "ticket.updated")):
        assert sender.post(body(event, number), headers={"X-Request-Id": CUSTOMER}).status_code == 200
    dead = Delivery.objects.get(delivery_id="dlv_live_0")
    again = Delivery.objects.get(delivery_id="dlv_live_1")
    given_up = _give_up(dead)
    sender.post(body("ticket.created", 9), secret="whsec_quiet_0123456789abcdef")
    sender.post(b"{}", signature="nonsense")
    recorder.flush()
    dispatch.pause(webhook=quiet, reason=f"Moving house, {LONG}", by="boss")
    replay = dispatch.replay([again.pk], ["shop.open_ticket"], by="boss", reason="CRM was down")
    under_way = Replay.objects.create(by="boss", reason="all of it", filters={"status": "dead"}, after=250, until=1000)
    Heartbeat.objects.create(name="worker 1")
    rejection = Rejection.objects.filter(webhook=webhook).latest("pk")
    return Scene(
        webhook=webhook,
        sender=sender,
        dead=dead,
        run=given_up,
        key=key,
        rejection=rejection,
        replay=replay,
        under_way=under_way,
    )


def body(event: str, number: int) -> dict[str, Any]:
    """The body of a delivery of today, `dlv_live_<number>`, about ticket `tkt_live_<number>`."""
    envelope = example_envelope(
        event,
        number=number,
        delivery_id=f"dlv_live_{number}",
        organization_id="org_live",
        timestamp=timezone.now().replace(microsecond=0),
    )
    envelope["data"] |= {
        "id": f"tkt_live_{number}",
        "requester": {"email": CUSTOMER, "name": "سارة"},
        "note": "</script><script>alert(1)</script>\u202egpj.exe",
        "tags": [f"tag {index}" for index in range(150)],
        LONG: LONG,
    }
    return envelope


def _store_traffic(webhook: Webhook) -> None:
    """Store 48 hours of rows, with a status for each colour of the chart."""
    statuses = itertools.cycle(["processed"] * 9 + ["failed", "ignored", "dead", "processed", "invalid"])
    rows = [
        build_delivery(
            webhook,
            timezone.now() - timedelta(minutes=40 * number),
            next(statuses),
            event="ticket.created" if number % 3 else "message.received",
            resource_id=f"tkt_{LONG}" if number % 7 == 0 else f"tkt_{number}",
            body=b'{"data": {"id": "tkt_1"}}',
        )
        for number in range(70, 0, -1)
    ]
    stored = Delivery.objects.bulk_create(rows)
    Run.objects.bulk_create(
        build_run(each, "dead", receiver="shop.tell_crm", error=f"TimeoutError: {CUSTOMER}", traceback=TRACEBACK)
        for each in stored
        if each.status == "dead"
    )


def _give_up(delivery: Delivery) -> Run:
    """Make one of its runs one that was given up, as after its last try."""
    failed = delivery.runs.get(receiver="shop.tell_crm")
    fields = {"status": "dead", "tries": 10, "error": f"ConnectionError: no answer for {CUSTOMER}"}
    Run.objects.filter(pk=failed.pk).update(**fields, traceback=TRACEBACK)
    Delivery.objects.filter(pk=delivery.pk).update(status="dead")
    failed.refresh_from_db()
    return failed
