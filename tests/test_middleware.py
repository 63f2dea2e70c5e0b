"""The receiver view behind a middleware that reads the request first, in Django's two kinds of handlers."""

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Connect, envelope

pytestmark = pytest.mark.django_db(transaction=True)

Post = Callable[..., Any]

FORM = "multipart/form-data; boundary=x"


class Looks:
    """A middleware that touches the request in the ways of `touches` before the view does."""

    touches: ClassVar[list[str]] = []

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        for touch in self.touches:
            if touch == "read":
                request.read(5)
            else:
                getattr(request, touch)
        return self.get_response(request)


@pytest.fixture(params=["sync", "async"])
def post(request: pytest.FixtureRequest, settings: Settings) -> Post:
    settings.MIDDLEWARE = ["tests.test_middleware.Looks", *settings.MIDDLEWARE]
    if request.param == "async":
        return async_to_sync(AsyncClient().post)
    return Client().post


@pytest.mark.parametrize(
    ("touches", "content_type", "expected"),
    [
        (["body"], "application/json", 200),
        (["POST"], "application/json", 200),
        (["FILES"], "application/json", 200),
        (["POST"], "application/x-www-form-urlencoded", 200),
        (["body", "POST"], FORM, 200),
        (["POST"], FORM, 503),
        (["read"], "application/json", 503),
    ],
    ids=str,
)
def test_a_body_that_can_still_be_had_is_received_and_one_that_cannot_is_asked_for_again(
    post: Post,
    webhook: Webhook,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    touches: list[str],
    content_type: str,
    expected: int,
) -> None:
    Looks.touches = touches
    got: list[str] = []

    async def note(*, event: Any, **kwargs: Any) -> None:
        got.append(event.delivery_id)

    connect(signals.ticket_created, note)
    body = json.dumps(envelope()).encode()

    answer = post(
        webhook.get_absolute_url(), body, content_type=content_type, headers={"X-Nateq-Signature": sign(body, SECRET)}
    )

    assert answer.status_code == expected
    if expected == 200:
        assert got == ["dlv_1"]
        assert Delivery.objects.get().body == body
    else:
        assert answer["Retry-After"] == "30"
        assert "middleware" in caplog.text
        assert not Delivery.objects.exists()
