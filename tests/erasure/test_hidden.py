"""Deliveries of which it can't be told whether they are the person's: the report says how many there are."""

from typing import Any

import pytest

from nateq_webhooks import dispatch, retention, signals
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.unredacted_body import UnredactedBody
from tests.builders import ago, build_run
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.conftest import configure
from tests.dispatch.scene import Configure
from tests.erasure.people import OMAR, SARA, ticket, traces

__all__ = ["configure"]

MODES = pytest.mark.parametrize("blank", [False, True])

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _removals_are_known(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)


@MODES
def test_a_delivery_without_its_content_is_counted_and_its_errors_are_blanked(
    webhook: Webhook, configure: Configure, *, blank: bool
) -> None:
    configure(RETENTION={"payload": 30})
    old = ticket(webhook, 1, SARA, received_at=ago(days=40))
    old.save()
    build_run(old, "dead", error=f"no mail to {SARA['email']}").save()
    retention.prune()
    ticket(webhook, 2, SARA).save()
    ticket(webhook, 3, OMAR).save()

    planned = dispatch.erase({"data.requester.id": "cus_sara9"}, blank=blank, dry_run=True)
    report = dispatch.erase({"data.requester.id": "cus_sara9"}, blank=blank)

    assert (report.deliveries, report.hidden, planned.hidden) == (1, 1, 1)
    assert traces() == []
    assert report.as_json()["hidden"] == 1


def test_a_delivery_without_its_content_is_found_by_the_id_that_stays(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30})
    ticket(webhook, 1, SARA, received_at=ago(days=40)).save()
    ticket(webhook, 2, SARA, received_at=ago(days=40)).save()
    retention.prune()

    report = dispatch.erase({"data.id": "tkt_1"})

    assert (report.deliveries, report.hidden) == (1, 1)
    assert Delivery.objects.get().resource_id == "tkt_2"


def test_an_organization_is_found_without_any_content(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30})
    ticket(webhook, 1, SARA, received_at=ago(days=40)).save()
    retention.prune()

    report = dispatch.erase(organization="org_1")

    assert (report.deliveries, report.hidden) == (1, 0)


@pytest.mark.parametrize("path", ["data.requester.id", "data.requester"])
def test_a_masked_value_that_is_searched_for_is_counted(
    sender: Sender, connect: Connect, configure: Configure, path: str
) -> None:
    configure(DISPATCH="inline", REDACT=[{"path": path, "store": True}])
    connect(signals.ticket_created, lambda **kwargs: None, "shop.receive")
    for number, person in enumerate((SARA, OMAR)):
        data: dict[str, Any] = {"id": f"tkt_{number}", "requester": person}
        assert sender.post(envelope(delivery_id=f"dlv_{number}", data=data)).status_code == 200
    assert not UnredactedBody.objects.exists()

    assert dispatch.erase({"data.requester.id": "cus_sara9"}, dry_run=True).hidden == 2
    other = dispatch.erase({"data.id": "tkt_0"}, dry_run=True)
    assert (other.deliveries, other.hidden) == (1, 0)
