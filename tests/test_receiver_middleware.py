"""`ReceiverMiddleware` answers the sender before any other middleware, and leaves every other request alone."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.checks.reachability import check_reachability
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Connect, envelope

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Any]

OURS = "nateq_webhooks.middleware.ReceiverMiddleware"
HERE = "tests.test_receiver_middleware"


class Refuses:
    """A middleware that answers everything with 418."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=418)


class OtherUrls:
    """A middleware that selects other URLs for a request, as those for several hosts do."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        moved: Any = type("urls", (), {"urlpatterns": [path("moved/", include("nateq_webhooks.urls"))]})
        request.urlconf = moved
        return self.get_response(request)


def teapot(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    return HttpResponse(status=418)


def urls(*patterns: Any) -> Any:
    return type("urls", (), {"urlpatterns": [*patterns, path("nateq/", include("nateq_webhooks.urls"))]})


@pytest.fixture(params=["sync", "async"])
def request_of(request: pytest.FixtureRequest, settings: Settings) -> Send:
    """Send a request through Django's handler, with a middleware after ours that lets nothing through."""
    settings.MIDDLEWARE = [OURS, f"{HERE}.Refuses"]

    def send(url: str, body: bytes = b"", *, method: str = "post", **headers: str) -> Any:
        client: Any = AsyncClient() if request.param == "async" else Client()
        call = getattr(client, method)
        call = async_to_sync(call) if request.param == "async" else call
        arguments = {"data": body, "content_type": "application/json"} if method == "post" else {}
        return call(url, headers={"X-Nateq-Signature": sign(body, SECRET)} | headers, **arguments)

    return send


def body_of(delivery_id: str = "dlv_1") -> bytes:
    return json.dumps(envelope(delivery_id=delivery_id)).encode()


def test_a_delivery_is_received_whatever_other_middleware_do(
    request_of: Send, webhook: Webhook, connect: Connect
) -> None:
    got: list[str] = []
    connect(signals.ticket_created, lambda *, event, **kwargs: got.append(event.delivery_id))

    answer = request_of(webhook.get_absolute_url(), body_of())

    assert (answer.status_code, answer.content) == (200, b'{"status": "stored"}')
    assert got == ["dlv_1"]
    assert Delivery.objects.get().status == Delivery.Status.PROCESSED


@pytest.mark.parametrize(
    "spelling",
    [
        lambda url: url.rstrip("/"),
        lambda url: url[: -len(str(uuid.UUID(int=0))) - 1] + url.split("/")[-2].upper() + "/",
    ],
    ids=["no slash at the end", "upper case"],
)
def test_every_spelling_of_the_url_is_recognized(
    request_of: Send, webhook: Webhook, spelling: Callable[[str], str]
) -> None:
    assert request_of(spelling(webhook.get_absolute_url()), body_of()).status_code == 200


def test_other_answers_of_the_view_are_the_same(request_of: Send, webhook: Webhook) -> None:
    url = webhook.get_absolute_url()

    assert request_of(url, body_of(), **{"X-Nateq-Signature": "sha256=" + "0" * 64}).status_code == 401
    assert request_of(url.replace(str(webhook.pk), str(uuid.uuid4())), body_of()).status_code == 404
    assert request_of(url, method="get").status_code == 405


def test_requests_to_other_views_are_passed_on(request_of: Send, webhook: Webhook, settings: Settings) -> None:
    settings.ROOT_URLCONF = urls(path("other/<uuid:webhook_id>/", teapot))

    for url in ("/", "/nateq/", f"/other/{webhook.pk}/", f"{webhook.get_absolute_url()}more/", "/nateq/%00/"):
        assert request_of(url, body_of()).status_code == 418
    assert request_of(webhook.get_absolute_url(), body_of()).status_code == 200


def test_an_earlier_pattern_for_one_webhook_still_takes_its_requests(
    request_of: Send, webhook: Webhook, settings: Settings
) -> None:
    request_of(webhook.get_absolute_url().replace(str(webhook.pk), str(uuid.uuid4())), body_of())
    settings.ROOT_URLCONF = urls(path(webhook.get_absolute_url().lstrip("/"), teapot))

    assert request_of(webhook.get_absolute_url(), body_of()).status_code == 418


def test_the_urls_that_a_middleware_before_it_selects_count(
    request_of: Send, webhook: Webhook, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{HERE}.OtherUrls", OURS, f"{HERE}.Refuses"]

    assert request_of(f"/moved/{webhook.pk}/", body_of()).status_code == 200
    assert request_of(webhook.get_absolute_url(), body_of()).status_code == 418


def test_it_commits_before_it_answers_under_atomic_requests(
    request_of: Send, webhook: Webhook, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    in_block: list[bool] = []
    connect(signals.ticket_created, lambda **kwargs: in_block.append(len(connection.savepoint_ids) > 0))

    assert request_of(webhook.get_absolute_url(), body_of()).status_code == 200
    assert in_block == [False]


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        (["{0}", "django.middleware.common.CommonMiddleware", "site.LoginRequiredMiddleware"], []),
        (["django.middleware.common.CommonMiddleware", "{0}", "site.LoginRequiredMiddleware"], ["W036", "W037"]),
        (["site.LoginRequiredMiddleware", "{0}", "django.middleware.common.CommonMiddleware"], ["W038"]),
    ],
    ids=["first", "after CommonMiddleware", "after one that requires a login"],
)
def test_the_checks_know_that_nothing_after_it_sees_the_sender(
    settings: Settings, middleware: list[str], expected: list[str]
) -> None:
    settings.MIDDLEWARE = [each.format(OURS) for each in middleware]
    settings.PREPEND_WWW, settings.ALLOWED_HOSTS = True, ["www.shop.example"]
    settings.NATEQ_WEBHOOKS = {"PUBLIC_URL": "https://shop.example"}

    assert [str(each.id).removeprefix("nateq_webhooks.") for each in check_reachability()] == expected
