"""The sandbox sends everything again, over HTTP and to another process: nothing of an erased person comes back."""

import http.client
from urllib.parse import urlsplit

import pytest

from nateq_webhooks import dispatch
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import SharedSandbox, wait_until
from tests.erasure.people import OMAR, SARA, traces
from tests.server import running

WHERE = {"data.requester.id": SARA["id"], "data.sender.id": SARA["id"], "data.email": SARA["email"]}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("blank", [False, True])
def test_the_sandbox_sends_all_of_it_again(shared_sandbox: SharedSandbox, webhook: Webhook, *, blank: bool) -> None:
    sandbox = shared_sandbox(key="tg_test_0123456789abcdef", retry_base=0.05, seed=7)
    with running("gunicorn") as port:
        created = sandbox.webhooks.create(f"http://127.0.0.1:{port}{webhook.get_absolute_url()}", list(EVENTS))
        webhook.secret = created.secret
        webhook.save()
        for event, data in (
            ("ticket.created", {"id": "tkt_1", "requester": SARA}),
            ("message.received", {"id": "msg_1", "sender": SARA, "text": "أنا سارة الحربي"}),
            ("lead.created", {"id": "led_1"} | {name: value for name, value in SARA.items() if name != "id"}),
            ("ticket.updated", {"id": "tkt_2", "requester": OMAR, "text": f"Ask {SARA['email']}"}),
            ("ticket.closed", {"id": "tkt_3", "requester": OMAR}),
        ):
            sandbox.send(event, data)
        sandbox.wait_until_delivered()
        assert Delivery.objects.count() == 5

        report = dispatch.erase(WHERE, blank=blank)

        assert (report.deliveries, report.quoting) == (3, 1)
        assert RemovedDelivery.objects.exists()
        for seq in {attempt.delivery_seq for attempt in sandbox.log}:
            assert resend(sandbox, seq) < 400
        wait_until(lambda: len(sandbox.log) >= 10, seconds=120)
        assert {attempt.response_status for attempt in sandbox.log} == {200}
        assert traces() == []
        assert Delivery.objects.count() == (5 if blank else 2)


def resend(sandbox: Sandbox, seq: int) -> int:
    """Press the button "Send again" of the sandbox's screen; return the status."""
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(address.netloc, timeout=120)
    try:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"{address.scheme}://{address.netloc}",
        }
        connection.request("POST", f"/deliveries/{seq}/resend", "", headers)
        return connection.getresponse().status
    finally:
        connection.close()
