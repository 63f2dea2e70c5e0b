"""The pages of the settings screen: a method for each page and each form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.protocol.examples import example_data
from nateq_webhooks.sandbox.deliveries import MAX_COUNT, State
from nateq_webhooks.sandbox.exchange import Request
from nateq_webhooks.sandbox.faults import DEFAULT_SECONDS, Fault
from nateq_webhooks.sandbox.log import Attempt
from nateq_webhooks.sandbox.rendering import pretty
from nateq_webhooks.sandbox.resources import Resources
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.webhooks import SandboxWebhook

ROWS: Final = 25
"""Attempts per page of the history."""


@dataclass(frozen=True, slots=True)
class ScreenPage:
    """A template and its values."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """The result of a form: the page to show next, and a message to show there once."""

    location: str
    text: str
    secret: str = field(default="", repr=False)


class NotFound(Exception):  # noqa: N818 - a missing page is not an error of the program
    """The object of a page does not exist."""


class Pages:
    """Every page and form. Methods take the request and the variable parts of its path."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def webhooks(self, _: Request) -> ScreenPage:
        """Show all webhooks."""
        webhooks = self._resources.webhooks.all()
        counts = {webhook.id: self._resources.deliveries.counts(webhook.id) for webhook in webhooks}
        return ScreenPage("webhooks", {"here": "webhooks", "webhooks": webhooks, "counts": counts})

    def new(self, _: Request) -> ScreenPage:
        """Show the form for a new webhook."""
        return self._form(None, url="", events=(), is_active=True)

    def create(self, request: Request) -> ScreenPage | Redirect:
        """Create a webhook."""
        fields = _WebhookFields.of(request)
        try:
            webhook = self._resources.webhooks.create(fields.url, fields.events)
        except InvalidError as error:
            return self._form(None, url=fields.url, events=fields.events, is_active=True, problems=error.fields)
        return Redirect(f"/webhooks/{webhook.id}", "The webhook was created.", webhook.secret)

    def webhook(self, request: Request, webhook_id: str) -> ScreenPage:
        """Show a webhook and its delivery history."""
        webhook = self._webhook(webhook_id)
        total = self._resources.log.count(webhook_id)
        text = request.query.get("page", "1")
        last = max(1, -(-total // ROWS))
        number = min(max(int(text), 1), last) if text.isascii() and text.isdigit() and len(text) < 9 else 1
        return ScreenPage(
            "webhook",
            {
                "here": "webhooks",
                "webhook": webhook,
                "counts": self._resources.deliveries.counts(webhook_id),
                "attempts": self._resources.log.page(webhook_id, ROWS, (number - 1) * ROWS),
                "total": total,
                "page": number,
                "pages": last,
            },
        )

    def edit(self, _: Request, webhook_id: str) -> ScreenPage:
        """Show the form for a webhook that exists."""
        webhook = self._webhook(webhook_id)
        return self._form(webhook, url=webhook.url, events=webhook.events, is_active=webhook.is_active)

    def update(self, request: Request, webhook_id: str) -> ScreenPage | Redirect:
        """Change a webhook."""
        webhook = self._webhook(webhook_id)
        fields = _WebhookFields.of(request)
        changes = {"url": fields.url, "events": fields.events, "is_active": fields.is_active}
        try:
            self._resources.webhooks.update(webhook_id, changes)
        except InvalidError as error:
            return self._form(webhook, **changes, problems=error.fields)
        return Redirect(f"/webhooks/{webhook_id}", "The webhook was changed.")

    def rotate_secret(self, _: Request, webhook_id: str) -> Redirect:
        """Give a webhook a new secret."""
        webhook = self._resources.webhooks.rotate_secret(self._webhook(webhook_id).id)
        if webhook is None:
            raise NotFound(f"The webhook {webhook_id} was deleted.")
        return Redirect(f"/webhooks/{webhook_id}", "The webhook has a new secret.", webhook.secret)

    def delete(self, _: Request, webhook_id: str) -> Redirect:
        """Delete a webhook."""
        webhook = self._webhook(webhook_id)
        self._resources.webhooks.delete(webhook_id)
        return Redirect("/", f"The webhook for {webhook.url} was deleted.")

    def compose(self, request: Request, webhook_id: str) -> ScreenPage:
        """Show the form that sends an event, filled with an example of it."""
        webhook = self._webhook(webhook_id)
        wanted = request.query.get("event", "")
        event = wanted if wanted in self._resources.catalogue else webhook.events[0]
        return self._composer(webhook, event, pretty(example_data(event)), "1")

    def send(self, request: Request, webhook_id: str) -> ScreenPage | Redirect:
        """Send an event to one webhook."""
        webhook = self._webhook(webhook_id)
        form = request.form()
        event, text, count = (form.get(name, [""])[0] for name in ("event", "data", "count"))
        try:
            data = load_object(text.encode("utf-8", "replace"))
        except ValueError as error:
            return self._composer(webhook, event, text, count, {"data": str(error)})
        number = int(count) if count.isascii() and count.isdigit() and len(count) < 9 else 0
        try:
            self._resources.deliveries.accept(event, data, number, webhook_id)
        except InvalidError as error:
            return self._composer(webhook, event, text, count, error.fields)
        self._resources.wake()
        sent = f"{event} was accepted" if number == 1 else f"{number} events {event} were accepted"
        return Redirect(f"/webhooks/{webhook_id}", f"{sent}. Reload the page to see the result.")

    def delivery(self, _: Request, seq: str) -> ScreenPage:
        """Show a delivery, every attempt at it and what came back."""
        delivery = self._resources.deliveries.get(int(seq))
        webhook = self._resources.webhooks.get(delivery.webhook_id) if delivery else None
        if delivery is None or webhook is None:
            raise NotFound(f"There is no delivery number {seq}.")
        attempts: list[Attempt] = self._resources.log.of_delivery(delivery.seq)
        return ScreenPage(
            "delivery",
            {"here": "webhooks", "delivery": delivery, "webhook": webhook, "attempts": attempts, "State": State},
        )

    def resend(self, _: Request, seq: str) -> Redirect:
        """Send a delivery again."""
        if not self._resources.deliveries.resend(int(seq)):
            raise NotFound(f"The delivery number {seq} is just being sent, or does not exist.")
        self._resources.wake()
        return Redirect(f"/deliveries/{seq}", "It is sent again. Reload the page to see the result.")

    def faults(self, _: Request) -> ScreenPage:
        """Show the fault switches."""
        return self._switches({})

    def set_faults(self, request: Request) -> ScreenPage | Redirect:
        """Set all fault switches, or switch them off."""
        form = request.form()
        if "clear" in form:
            self._resources.faults.clear()
            return Redirect("/faults", "Everything works again.")
        try:
            self._resources.faults.update({fault: _switch(form, fault) for fault in Fault})
        except InvalidError as error:
            return self._switches(error.fields, form)
        return Redirect("/faults", "The switches are set.")

    def _switches(self, problems: Mapping[str, str], form: Mapping[str, list[str]] | None = None) -> ScreenPage:
        values_of = {}
        for fault, switch in self._resources.faults.current().items():
            typed = {name: (form or {}).get(f"{fault}.{name}", [""])[0] for name in ("count", "rate", "seconds")}
            current = {"count": switch.count, "rate": f"{switch.rate:g}", "seconds": f"{switch.seconds:g}"}
            values_of[fault] = typed if form else current
        values = {"here": "faults", "shown": values_of, "problems": problems, "timed": DEFAULT_SECONDS}
        return ScreenPage("faults", values, status=422 if problems else 200)

    def _form(
        self, webhook: SandboxWebhook | None, *, problems: Mapping[str, str] | None = None, **fields: Any
    ) -> ScreenPage:
        values = {"here": "webhooks", "webhook": webhook, "problems": problems or {}, **fields}
        return ScreenPage("form", values, status=422 if problems else 200)

    def _composer(
        self, webhook: SandboxWebhook, event: str, text: str, count: str, problems: Mapping[str, str] | None = None
    ) -> ScreenPage:
        values = {
            "here": "webhooks",
            "webhook": webhook,
            "event": event,
            "data": text,
            "count": count,
            "most": MAX_COUNT,
            "problems": problems or {},
        }
        return ScreenPage("send", values, status=422 if problems else 200)

    def _webhook(self, webhook_id: str) -> SandboxWebhook:
        webhook = self._resources.webhooks.get(webhook_id)
        if webhook is None:
            raise NotFound(f"There is no webhook {webhook_id[:80]}.")
        return webhook


@dataclass(frozen=True, kw_only=True, slots=True)
class _WebhookFields:
    """The fields of a webhook's form."""

    url: str
    events: list[str]
    is_active: bool

    @classmethod
    def of(cls, request: Request) -> "_WebhookFields":
        form = request.form()
        return cls(url=form.get("url", [""])[0].strip(), events=form.get("events", []), is_active="is_active" in form)


def _switch(form: Mapping[str, list[str]], fault: Fault) -> dict[str, Any]:
    """Read a switch from the form; text that is not a number is kept, for the error message."""
    switch: dict[str, Any] = {}
    for name in ("count", "rate", "seconds"):
        text = form.get(f"{fault}.{name}", [""])[0].strip()
        if not text:
            continue
        try:
            switch[name] = int(text) if name == "count" else float(text)
        except ValueError:
            switch[name] = text
    return switch
