"""Nateq's API for webhooks under /api/v1, and what only the sandbox has: sending and the fault switches."""

import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.response import Response

from nateq_webhooks.protocol.api import (
    LIMIT_PARAMETER,
    LIVE_KEY_PREFIX,
    OFFSET_PARAMETER,
    SCOPE,
    ErrorCode,
)
from nateq_webhooks.protocol.api_answers import Quota, RequestError, bearer_key, invalid, no_such
from nateq_webhooks.rest import throttle
from nateq_webhooks.rest.parameters import OffsetParameters
from nateq_webhooks.rest.views import ContractView
from nateq_webhooks.sandbox.faults import Fault
from nateq_webhooks.sandbox.keys import Key
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site import deliveries
from nateq_webhooks.sandbox.site.models import Webhook
from nateq_webhooks.sandbox.site.running import Running, running
from nateq_webhooks.sandbox.site.server import lose_answer
from nateq_webhooks.sandbox.site.webhooks import Webhooks

_API_ERRORS: Final = {
    Fault.API_401: (ErrorCode.AUTHENTICATION_FAILED, "The API key could not be checked"),
    Fault.API_403: (ErrorCode.INSUFFICIENT_PERMISSION, "The owner of this API key may not do this"),
    Fault.API_500: (ErrorCode.INTERNAL_ERROR, "Something went wrong"),
}
"""The error that each fault returns to a valid request."""


_SEND_KEYS: Final = ("event", "data", "count", "webhook_id")


class SandboxView(ContractView):
    """A view of the API, in the sandbox that serves its requests."""

    http_method_names = ["get", "post", "patch", "delete"]
    operations: ClassVar[dict[str, str]] = {}
    "The name of each method's operation, by which it can be withheld."
    caller: Key
    sandbox: Running

    def identify(self, request: Any) -> Key:
        """Return the key. Raises `RequestError` for one that the sandbox does not have, or that may not be used."""
        self.sandbox = running(request)
        offered = bearer_key(request.META.get("HTTP_AUTHORIZATION", ""))
        key = next((key for key in self.sandbox.keys if secrets.compare_digest(offered, key.text)), None)
        if key is None:
            is_live = offered.startswith(LIVE_KEY_PREFIX)
            message = "This is a sandbox: it has no live keys" if is_live else "The API key does not exist"
            raise RequestError(ErrorCode.INVALID_API_KEY, message)
        address = ipaddress.ip_address(request.META["REMOTE_ADDR"].partition("%")[0])
        if self.sandbox.networks and not any(address in network for network in self.sandbox.networks):
            raise RequestError(ErrorCode.IP_NOT_ALLOWED, f"This API key may not be used from {address}")
        return key

    def count(self) -> Quota:
        """Count the request, and return what the key has left."""
        sandbox = self.sandbox
        identity = f"{sandbox.quota_name}.{sandbox.keys.index(self.caller)}"
        quota = throttle.take(identity, sandbox.options.rate_limit, sandbox.clock())
        if quota.retry_after is None and sandbox.faults.happens(Fault.API_429):
            quota = replace(quota, remaining=0, retry_after=round(sandbox.faults.seconds(Fault.API_429)))
        return quota

    def authorize(self, request: Any) -> None:
        """Check the scope, then the faults of the API, then what is withheld."""
        if SCOPE not in self.caller.scopes:
            details = {"required": [SCOPE], "granted": sorted(self.caller.scopes)}
            raise RequestError(ErrorCode.INSUFFICIENT_SCOPE, f"This API key lacks the scope {SCOPE}", details)
        for fault, (code, message) in _API_ERRORS.items():
            if self.sandbox.faults.happens(fault):
                raise RequestError(code, message)
        if self.operations.get(request.method) in self.sandbox.options.withhold:
            raise RequestError(ErrorCode.ENDPOINT_NOT_PUBLIC, "This endpoint is not part of the public API")

    @property
    def webhooks(self) -> Webhooks:
        """The webhooks that the key sees."""
        return self.sandbox.webhooks.of(self.caller.organization)

    def webhook(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises `RequestError` (404)."""
        return _found(self.webhooks.get(webhook_id), webhook_id)

    def page(self, rows: QuerySet[Any], request: Any) -> Response:
        """Return a page of a list."""
        values = OffsetParameters.read(request)
        first, limit = values[OFFSET_PARAMETER], values[LIMIT_PARAMETER]
        data = [row.value().as_json() for row in rows[first : first + limit]]
        return self.answer(data, {"total": rows.count(), LIMIT_PARAMETER: limit, OFFSET_PARAMETER: first})


class WebhookListView(SandboxView):
    """`/webhooks`."""

    operations: ClassVar = {"GET": "list", "POST": "create"}

    def get(self, request: Any) -> Response:
        """Return a page of the webhooks, newest first."""
        return self.page(self.webhooks.rows(), request)

    def post(self, request: Any) -> Response:
        """Create a webhook; only this answer has its secret, and a fault may lose it."""
        with _fields():
            webhook = self.webhooks.create(request.data.get("url"), request.data.get("events")).value()
        if self.sandbox.faults.happens(Fault.LOSE_CREATE_ANSWER):
            lose_answer(request)
        return self.answer(webhook.as_json() | {"secret": webhook.secret}, status=201)


class EventsView(SandboxView):
    """`/webhooks/events`."""

    operations: ClassVar = {"GET": "events"}

    def get(self, request: Any) -> Response:  # noqa: ARG002 - of the framework
        """Return the catalogue."""
        events = [{"name": name, "description": text} for name, text in self.sandbox.catalogue.items()]
        return self.answer(events, {"total": len(events)})


class WebhookView(SandboxView):
    """`/webhooks/{id}`."""

    operations: ClassVar = {"GET": "get", "PATCH": "update", "DELETE": "delete"}

    def get(self, request: Any, webhook_id: str) -> Response:  # noqa: ARG002 - of the framework
        """Return the webhook."""
        return self.answer(self.webhook(webhook_id).value().as_json())

    def patch(self, request: Any, webhook_id: str) -> Response:
        """Change fields of the webhook."""
        with _fields():
            webhook = self.webhooks.update(webhook_id, request.data)
        return self.answer(_found(webhook, webhook_id).value().as_json())

    def delete(self, request: Any, webhook_id: str) -> Response:  # noqa: ARG002 - of the framework
        """Delete the webhook with its deliveries and its log."""
        if not self.webhooks.delete(webhook_id):
            raise no_such("webhook", webhook_id)
        return self.answer({"id": webhook_id, "deleted": True})


class RotateView(SandboxView):
    """`/webhooks/{id}/rotate-secret`."""

    operations: ClassVar = {"POST": "rotate_secret"}

    def post(self, request: Any, webhook_id: str) -> Response:  # noqa: ARG002 - of the framework
        """Give the webhook a new secret."""
        webhook = _found(self.webhooks.rotate_secret(webhook_id), webhook_id).value()
        return self.answer(webhook.as_json() | {"secret": webhook.secret})


class LogsView(SandboxView):
    """`/webhooks/{id}/logs`."""

    operations: ClassVar = {"GET": "logs"}

    def get(self, request: Any, webhook_id: str) -> Response:
        """Return a page of the log, newest first."""
        return self.page(deliveries.entries().filter(webhook=self.webhook(webhook_id)), request)


class UnknownView(SandboxView):
    """Every other address below the API's."""

    def check_method(self, request: Any) -> None:  # noqa: ARG002 - of the framework
        """Say that there is nothing, whatever the method."""
        raise Http404


class OwnView(SandboxView):
    """A view that only the sandbox has: it needs a key, but no scope, and neither the limit nor a fault applies."""

    def count(self) -> Quota:
        """Count nothing."""
        limit = self.sandbox.options.rate_limit
        return Quota(limit=limit, remaining=limit)

    def authorize(self, request: Any) -> None:
        """Let every key in."""


class SendView(OwnView):
    """`/sandbox/events`."""

    def post(self, request: Any) -> Response:
        """Accept an event; it is committed when this answers."""
        document = request.data
        count = document.get("count", 1)
        with _fields():
            if unknown := sorted(set(document) - set(_SEND_KEYS)):
                problem = f"is not a key of this request. The keys are {', '.join(_SEND_KEYS)}."
                raise InvalidError(dict.fromkeys(unknown, problem))
            ids = self.sandbox.deliveries.accept(
                document.get("event"),
                document.get("data"),
                count,
                document.get("webhook_id"),
                among=self.webhooks,
            )
        self.sandbox.sender.wake()
        return self.answer({"accepted": count, "delivery_ids": ids}, status=202)


class FaultsView(OwnView):
    """`/sandbox/faults`."""

    def get(self, request: Any) -> Response:  # noqa: ARG002 - of the framework
        """Return the switches."""
        return self.answer({fault: switch.as_json() for fault, switch in self.sandbox.faults.current().items()})

    def post(self, request: Any) -> Response:
        """Set the switches that are named."""
        with _fields():
            self.sandbox.faults.update(request.data)
        return self.get(request)

    def delete(self, request: Any) -> Response:
        """Switch all off."""
        self.sandbox.faults.clear()
        return self.get(request)


@contextmanager
def _fields() -> Iterator[None]:
    """Turn an `InvalidError` into the API's error."""
    try:
        yield
    except InvalidError as error:
        raise invalid(error.fields, "fields") from error


def _found(webhook: Webhook | None, webhook_id: str) -> Webhook:
    if webhook is None:
        raise no_such("webhook", webhook_id)
    return webhook
