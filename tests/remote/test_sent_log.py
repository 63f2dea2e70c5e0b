"""What Nateq tried: its own log of a webhook, beside what this site holds of each delivery id."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.remote import attempt_log
from nateq_webhooks.sandbox import Sandbox
from tests.builders import build_delivery, insert, store_rejection
from tests.conftest import wait_until
from tests.remote.conftest import KEY
from tests.sandbox.receiver import Receiver

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def sending(registered: Webhook, sandbox: Sandbox, receiver: Receiver) -> Callable[[int], str]:
    """Have Nateq send one delivery that is answered with a status code; return its id."""
    sandbox.webhooks.update(registered.nateq_id, {"url": receiver.url})

    def send(status: int) -> str:
        receiver.status = status
        [delivery_id] = sandbox.send("ticket.created")
        wait_until(lambda: any(each.delivery_id == delivery_id for each in sandbox.log))
        return delivery_id

    return send


def staff(*codenames: str) -> Client:
    user = User.objects.create_user(f"staff {uuid.uuid4().hex}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def address(webhook: Webhook, query: str = "") -> str:
    return reverse("admin:nateq_webhooks_webhook_sent", args=[webhook.pk]) + query


def test_the_log_is_beside_what_is_held(boss: Client, registered: Webhook, sending: Callable[[int], str]) -> None:
    stored, unseen = sending(200), sending(200)
    [delivery] = insert([build_delivery(registered, delivery_id=stored, status="dead")])

    shown = boss.get(address(registered)).text

    assert shown.index(unseen) < shown.index(stored)
    assert "Stored: Failed for good" in shown
    assert f"/delivery/{delivery.pk}/change/" in shown
    assert "Not seen here" in shown
    assert registered.secret not in shown
    assert KEY not in shown


def test_an_attempt_that_was_refused_leads_to_the_refused_request(
    boss: Client, registered: Webhook, nateq: NateqClient, sending: Callable[[int], str]
) -> None:
    sending(200)
    sending(413)
    refused = store_rejection(registered, "too_large", received_at=timezone.now())
    everything = {"deliveries": Delivery.objects.all(), "rejections": Rejection.objects.all()}

    found = remote.sent_log(nateq, registered, 1, **everything)  # type: ignore[arg-type]

    assert [each.rejection for each in found.attempts if each.entry.response_status == 200] == [None]
    matched = [each.rejection for each in found.attempts if each.rejection is not None]
    assert matched == [refused]
    shown = boss.get(address(registered)).text
    assert "Refused: Body too large" in shown
    assert f"/rejection/{refused.pk}/change/" in shown


def test_the_log_is_paged(
    boss: Client, registered: Webhook, sending: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_log, "PAGE_SIZE", 2)
    ids = [sending(200) for _ in range(3)]

    first = boss.get(address(registered)).text
    assert [each in first for each in ids] == [False, True, True]
    assert "?page=2" in first
    second = boss.get(address(registered, "?page=2")).text
    assert [each in second for each in ids] == [True, False, False]
    assert "?page=1" in second
    assert "?page=3" not in second


@pytest.mark.parametrize("page", ["0", "-1", "x", "9" * 50, "\u0661", ""])
def test_an_odd_page_is_the_first_or_the_last(boss: Client, registered: Webhook, page: str) -> None:
    assert boss.get(address(registered, f"?page={page}")).status_code == 200


def test_an_error_of_the_api_is_shown_as_text(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    sandbox.faults.set("api_403", rate=1.0)

    shown = boss.get(address(registered)).text

    assert "Settings -&gt; Developers -&gt; API Keys" in shown
    assert KEY not in shown


def test_a_webhook_that_is_gone_or_not_registered_is_an_error_in_words(
    boss: Client, registered: Webhook, sandbox: Sandbox
) -> None:
    sandbox.webhooks.delete(registered.nateq_id)
    assert "errornote" in boss.get(address(registered)).text

    by_hand = Webhook.objects.create(name="by hand")
    assert "is not registered" in boss.get(address(by_hand)).text
    change = boss.get(reverse("admin:nateq_webhooks_webhook_change", args=[by_hand.pk])).text
    assert address(by_hand) not in change


def test_who_may_not_see_deliveries_sees_the_log_only(registered: Webhook, sending: Callable[[int], str]) -> None:
    stored = sending(200)
    insert([build_delivery(registered, delivery_id=stored)])

    shown = staff("view_webhook", "change_webhook").get(address(registered)).text

    assert stored in shown
    assert "Stored" not in shown.replace("Stored deliveries are not looked up", "")
    assert "Not seen here" not in shown
    assert staff("view_webhook", "view_delivery").get(address(registered)).status_code == 403
    assert staff("view_webhook", "change_webhook").post(address(registered)).status_code == 405
