"""`/webhooks`: the webhooks as Nateq's own API has them, their events, and the log of their deliveries."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response

from nateq_webhooks import audit
from nateq_webhooks.api import access, webhook_changes
from nateq_webhooks.api.base import ApiView, SettingsWrongError
from nateq_webhooks.api.delivery_list import time_limit
from nateq_webhooks.api.documents import secret_document, webhook_document
from nateq_webhooks.api.idempotency import SECRET, answer_before, once, once_in_steps
from nateq_webhooks.api.log import LogParameters, read_log
from nateq_webhooks.api.webhook_changes import WebhookFields, check_permitted
from nateq_webhooks.database import encryption
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.api import LIMIT_PARAMETER, OFFSET_PARAMETER
from nateq_webhooks.protocol.api_answers import no_such
from nateq_webhooks.remote.claim import alias
from nateq_webhooks.remote.local_webhooks import is_local, left_at_nateq, secret_id
from nateq_webhooks.rest.parameters import OffsetParameters, Parameters


class SecretView(ApiView):
    """What the views have in common that change webhooks, and whose answer may have a new secret."""

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Check the request. Raises `SettingsWrongError` if it changes a webhook while no secret can be saved."""
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS and encryption.why_secrets_are_refused():
            raise SettingsWrongError

    def with_secret(self, webhook: Webhook, request: Any) -> dict[str, Any]:
        """Return the answer: the only one with this secret."""
        self._record(webhook)
        return secret_document(webhook, request._request, shows_secret=self.caller.sees_secrets)  # noqa: SLF001

    def recall(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return a kept answer with its secret, if that is the webhook's still; no other place has it."""
        webhook = self.caller.rows(Webhook).using(alias()).filter(pk=data["id"]).first()
        is_same = webhook is not None and secret_id(webhook) == data["secret_id"] and self.caller.sees_secrets
        if is_same:
            self._record(webhook)  # type: ignore[arg-type]
        return data | {SECRET: webhook.secret if is_same else None}  # type: ignore[union-attr]

    def _record(self, webhook: Webhook) -> None:
        if self.caller.sees_secrets:
            audit.record(audit.Action.SECRET_REVEALED, **audit.of_webhook(webhook), using=alias())


class WebhooksView(SecretView):
    """The webhooks, the newest first."""

    access = {"GET": access.WEBHOOKS, "POST": access.CREATE}

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

    def post(self, request: Any) -> Response:
        """Create one with a new secret, which is in this answer only. It is not registered at Nateq by that."""
        Parameters.read(request)
        fields = WebhookFields.read_body(request)
        check_permitted(self.caller, "add")

        def work() -> dict[str, Any]:
            webhook = webhook_changes.new_webhook(self.caller, request._request, fields)  # noqa: SLF001
            webhook_changes.store(webhook)
            return self.with_secret(webhook, request)

        return once(self.caller, request, work, status=201, recall=self.recall)


class OneWebhookView(SecretView):
    """What the views of one webhook have in common."""

    def webhook(self, text: str) -> Webhook:
        """Return the webhook of a path. Raises `RequestError` (404) if the caller does not see it."""
        try:
            key = UUID(text)
        except ValueError:
            raise no_such("webhook", text) from None
        rows = self.caller.rows(Webhook)
        # What is to be changed is read where it is written: a replica may not have it yet.
        rows = rows.defer("secret") if self.request.method in ("GET", "HEAD") else rows.using(alias())
        with time_limit(self.caller, rows):
            found: Webhook | None = rows.filter(pk=key).first()
        if found is None:
            raise no_such("webhook", text)
        return found

    def carry_out(self, request: Any, webhook: Webhook, work: Callable[[], Any], **options: Any) -> Response:
        """Do a change in one transaction, or in steps if it is one at Nateq, too."""
        return (once if is_local(webhook) else once_in_steps)(self.caller, request, work, **options)


class WebhookView(OneWebhookView):
    """One webhook."""

    access = {"GET": access.WEBHOOKS, "PATCH": access.CHANGE, "DELETE": access.DELETE}

    def get(self, request: Any, pk: str) -> Response:
        """Show it; its secret is in no answer."""
        Parameters.read(request)
        return self.answer(webhook_document(self.webhook(pk), request._request))  # noqa: SLF001 - Django's request

    def patch(self, request: Any, pk: str) -> Response:
        """Change what is given; at Nateq first if the webhook is registered there."""
        Parameters.read(request)
        fields = WebhookFields.read_body(request)
        if (before := answer_before(self.caller, request)) is not None:
            return before
        webhook = self.webhook(pk)
        check_permitted(self.caller, "change", webhook)

        def work() -> dict[str, Any]:
            values = webhook_changes.changed_fields(self.caller, request._request, webhook, fields)  # noqa: SLF001
            return webhook_document(webhook_changes.change(webhook, values), request._request)  # noqa: SLF001

        return self.carry_out(request, webhook, work)

    def delete(self, request: Any, pk: str) -> Response:
        """Delete it; at Nateq first if it is registered there."""
        Parameters.read(request)
        Parameters.read_body(request)
        if (before := answer_before(self.caller, request)) is not None:
            return before
        webhook = self.webhook(pk)
        identity = str(webhook.pk)
        if not is_local(webhook) or not webhook.deliveries.exists():  # else the reason is that, and no permission
            check_permitted(self.caller, "delete", webhook)

        def work() -> dict[str, Any]:
            notice = left_at_nateq(webhook) if is_local(webhook) else None
            return {"id": identity, "deleted": webhook_changes.delete(webhook), "notice": notice}

        return self.carry_out(request, webhook, work)


class RotateView(OneWebhookView):
    """The rotation of a webhook's secret."""

    access = {"POST": access.ROTATE}

    def post(self, request: Any, pk: str) -> Response:
        """Give it a new secret, which is in this answer only, and accept the former one for a while."""
        Parameters.read(request)
        Parameters.read_body(request)
        if (before := answer_before(self.caller, request, self.recall)) is not None:
            return before
        webhook = self.webhook(pk)
        check_permitted(self.caller, "change", webhook)

        def work() -> dict[str, Any]:
            return self.with_secret(webhook_changes.rotate(webhook), request)

        return self.carry_out(request, webhook, work, recall=self.recall)


class LogsView(OneWebhookView):
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
