"""`/webhooks`: the webhooks as Nateq's own API shows them, their events, and the log of their deliveries."""

from typing import Any
from uuid import UUID

from rest_framework.response import Response

from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView, no_such
from nateq_webhooks.api.delivery_list import time_limit
from nateq_webhooks.api.documents import webhook_document
from nateq_webhooks.api.log import LogParameters, read_log
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.api import LIMIT_PARAMETER, OFFSET_PARAMETER
from nateq_webhooks.rest.parameters import OffsetParameters, Parameters


class WebhooksView(ApiView):
    """The webhooks, the newest first."""

    access = {"GET": access.WEBHOOKS}

    def get(self, request: Any) -> Response:
        """List a page."""
        parameters = OffsetParameters.read(request)
        limit, offset = parameters[LIMIT_PARAMETER], parameters[OFFSET_PARAMETER]
        rows = self.caller.rows(Webhook).order_by("-created_at", "pk").defer("secret")
        with time_limit(self.caller, rows):
            total = rows.count()
            found = list(rows[offset : offset + limit])
        data = [webhook_document(webhook, request._request) for webhook in found]  # noqa: SLF001 - Django's request
        return self.answer(data, {"total": total, LIMIT_PARAMETER: limit, OFFSET_PARAMETER: offset})


class WebhookView(ApiView):
    """One webhook."""

    access = {"GET": access.WEBHOOKS}

    def webhook(self, text: str) -> Webhook:
        """Return the webhook of a path. Raises `RequestError` (404) if the caller does not see it."""
        try:
            key = UUID(text)
        except ValueError:
            raise no_such("webhook", text) from None
        rows = self.caller.rows(Webhook).defer("secret")
        with time_limit(self.caller, rows):
            found: Webhook | None = rows.filter(pk=key).first()
        if found is None:
            raise no_such("webhook", text)
        return found

    def get(self, request: Any, pk: str) -> Response:
        """Show it; its secret is in no answer."""
        Parameters.read(request)
        return self.answer(webhook_document(self.webhook(pk), request._request))  # noqa: SLF001 - Django's request


class LogsView(WebhookView):
    """The log of a webhook."""

    access = {"GET": access.LOGS}

    def get(self, request: Any, pk: str) -> Response:
        """List a page: one entry per attempt, the newest first."""
        parameters = LogParameters.read(request)
        page = read_log(self.caller, self.webhook(pk), parameters)
        return self.answer(page.entries, {LIMIT_PARAMETER: parameters[LIMIT_PARAMETER], "next_cursor": page.next})


class EventsView(ApiView):
    """The events that webhooks may subscribe to."""

    access = {"GET": access.WEBHOOKS}

    def get(self, request: Any) -> Response:
        """List all: the published ones, then those of Nateq's catalogue that this version does not know."""
        Parameters.read(request)
        data = [{"name": name, "description": text} for name, text in known_events().items()]
        return self.answer(data, {"total": len(data)})
