"""Where this site's own API differs from the sandbox, with the same client.

What a test marked `BOTH` says of the sandbox is so here, too. These are the sandbox's only: faults (this API has no
switch for them), withheld operations, what is posted to a URL that the client chooses, and the payloads in the log.
"""

import uuid
from collections.abc import Iterator
from functools import partial

import pytest

from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import ApiError, NateqNotFoundError, NateqPermissionError, NateqValidationError
from nateq_webhooks.models import Webhook
from tests.builders import store_deliveries
from tests.contract.calls import ABOUT_ONE, CALLS
from tests.contract.conftest import EVENTS, URL, Connect
from tests.contract.servers import SITE, SiteServer, site_key, site_server

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site() -> Iterator[SiteServer]:
    with site_server() as site:
        yield site


@pytest.fixture
def client(site: SiteServer, connect: Connect) -> NateqClient:
    return connect(site, site.key)


@pytest.mark.parametrize("name", CALLS)
def test_a_key_without_the_scope_is_403_and_the_message_names_the_scope(
    site: SiteServer, connect: Connect, name: str
) -> None:
    with pytest.raises(NateqPermissionError) as refused:
        CALLS[name](connect(site, site_key("payloads:read")), "wh_0")

    assert (refused.value.status, refused.value.code) == (403, "INSUFFICIENT_SCOPE")
    assert "lacks the scope webhooks:" in str(refused.value)
    assert refused.value.details["granted"] == ["payloads:read"]  # type: ignore[index]


def test_an_address_outside_the_allow_list_is_403(site: SiteServer, connect: Connect) -> None:
    with pytest.raises(NateqPermissionError) as refused:
        connect(site, site_key("webhooks:read", allowed_addresses=["192.0.2.0/24"])).webhooks.list()

    assert refused.value.code == "IP_NOT_ALLOWED"


@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_webhook_of_another_organization_is_404(site: SiteServer, connect: Connect, name: str) -> None:
    webhook = Webhook.objects.create(name="theirs", organization_id="org_2")
    client = connect(site, site_key("webhooks:manage", organization_id="org_1"))

    with pytest.raises(NateqNotFoundError) as refused:
        CALLS[name](client, str(webhook.pk))

    assert refused.value.status == 404
    assert Webhook.objects.get().is_active


@pytest.mark.parametrize(
    ("url", "events", "wrong"),
    [
        ("shop", EVENTS, {"url"}),
        (f"{SITE}/nateq/", EVENTS, {"url"}),
        ("https://elsewhere.example/", ["ticket.eaten"], {"url", "events"}),
    ],
)
def test_fields_that_are_not_valid_are_422_and_named(
    client: NateqClient, url: str, events: list[str], wrong: set[str]
) -> None:
    created = client.webhooks.create(url=URL, events=EVENTS)
    calls = client.webhooks
    for make in (
        partial(calls.create, url=url, events=events),
        partial(calls.update, created.id, url=url, events=events),
    ):
        with pytest.raises(NateqValidationError) as refused:
            make()
        assert (refused.value.status, refused.value.code) == (422, "VALIDATION_ERROR")
        assert set(refused.value.details) == wrong  # type: ignore[call-overload]
    assert [(webhook.url, webhook.events) for webhook in calls.list()] == [(URL, tuple(EVENTS))]


def test_the_same_creation_sent_again_makes_no_second_webhook(client: NateqClient) -> None:
    """The client has no idempotency key; the id in the URL serves as one."""
    url = f"{SITE}/nateq/{uuid.uuid4()}/"
    created = client.webhooks.create(url=url, events=EVENTS)

    with pytest.raises(NateqValidationError):
        client.webhooks.create(url=url, events=EVENTS)

    assert [webhook.id for webhook in client.webhooks.list()] == [created.id]


def test_no_events_are_all_events(client: NateqClient) -> None:
    assert client.webhooks.create(url=URL, events=[]).events == ()


def test_a_webhook_with_deliveries_is_not_deleted(client: NateqClient) -> None:
    created = client.webhooks.create(url=URL, events=EVENTS)
    store_deliveries(Webhook.objects.get(), 3)

    with pytest.raises(ApiError, match="has deliveries"):
        client.webhooks.delete(created.id)

    assert len(list(client.webhooks.logs(created.id))) == 3
