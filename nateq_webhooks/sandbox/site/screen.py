"""The settings screen: a view for each page and each form."""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import TooManyFieldsSent
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views import View

from nateq_webhooks.protocol.examples import example_data
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site import deliveries
from nateq_webhooks.sandbox.site.filters import pretty
from nateq_webhooks.sandbox.site.forms import FaultsForm, SendForm, WebhookForm
from nateq_webhooks.sandbox.site.models import Delivery, Webhook
from nateq_webhooks.sandbox.site.running import Running, running

ROWS: Final = 25
"""Attempts per page of the history."""

SECRET_TAG: Final = "secret"  # noqa: S105 - the name of a tag
"""Marks a message beside which the webhook's page shows the secret, once. The secret itself is in no cookie."""

_MAX_SHOWN: Final = 200


class Page(View):
    """A page of the screen."""

    sandbox: Running

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Respond."""
        self.sandbox = running(request)
        try:
            return super().dispatch(request, *args, **kwargs)
        except TooManyFieldsSent:
            return error_page(request, 422, "That can't be done", "The form has too many fields.")

    def http_method_not_allowed(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        """Say so on a page."""
        text = f"{str(request.method)[:20]} is not a method of this page."
        return error_page(request, 405, "That can't be done here", text)

    def shown(self, template: str, status: int = 200, *, here: str = "webhooks", **values: Any) -> HttpResponse:
        """Render a page."""
        return render(self.request, f"{template}.html", {"here": here, **values}, status=status)

    def done(self, path: str, text: str, tags: str = "") -> HttpResponse:
        """Show another page, with a message about what was done."""
        messages.success(self.request, text, extra_tags=tags)
        return _see_other(path)

    def webhook(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises `Http404`."""
        webhook = self.sandbox.webhooks.get(webhook_id)
        if webhook is None:
            raise Http404(f"There is no webhook {webhook_id[:80]}.")
        return webhook


class WebhooksPage(Page):
    """All webhooks."""

    def get(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Show them."""
        webhooks = [(webhook, deliveries.counts(webhook)) for webhook in self.sandbox.webhooks.rows()]
        return self.shown("webhooks", webhooks=webhooks)


class CreatePage(Page):
    """The form for a new webhook."""

    def get(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Show it."""
        return self.shown("form", form=WebhookForm(self.sandbox.webhooks))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Create a webhook."""
        form = WebhookForm(self.sandbox.webhooks, request.POST)
        if not form.is_valid():
            return self.shown("form", 422, form=form)
        webhook = self.sandbox.webhooks.create(form.cleaned_data["url"], form.cleaned_data["events"])
        return self.done(f"/webhooks/{webhook.public_id}", "The webhook was created.", SECRET_TAG)


class WebhookPage(Page):
    """A webhook and its delivery history."""

    def get(self, request: HttpRequest, webhook_id: str) -> HttpResponse:
        """Show it."""
        webhook = self.webhook(webhook_id)
        history = Paginator(deliveries.entries().filter(webhook=webhook), ROWS)
        return self.shown(
            "webhook",
            webhook=webhook,
            counts=deliveries.counts(webhook),
            page=history.get_page(request.GET.get("page")),
        )


class EditPage(Page):
    """The form for a webhook that exists."""

    def get(self, request: HttpRequest, webhook_id: str) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Show it."""
        webhook = self.webhook(webhook_id)
        initial = {"url": webhook.url, "events": webhook.events, "is_active": webhook.is_active}
        return self.shown("form", webhook=webhook, form=WebhookForm(self.sandbox.webhooks, initial=initial))

    def post(self, request: HttpRequest, webhook_id: str) -> HttpResponse:
        """Change the webhook."""
        webhook = self.webhook(webhook_id)
        form = WebhookForm(self.sandbox.webhooks, request.POST)
        if not form.is_valid():
            return self.shown("form", 422, webhook=webhook, form=form)
        self.sandbox.webhooks.update(webhook_id, form.cleaned_data)
        return self.done(f"/webhooks/{webhook_id}", "The webhook was changed.")


class RotatePage(Page):
    """Gives a webhook a new secret."""

    def post(self, request: HttpRequest, webhook_id: str) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Do it."""
        self.sandbox.webhooks.rotate_secret(self.webhook(webhook_id).public_id)
        return self.done(f"/webhooks/{webhook_id}", "The webhook has a new secret.", SECRET_TAG)


class DeletePage(Page):
    """Deletes a webhook."""

    def post(self, request: HttpRequest, webhook_id: str) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Do it."""
        webhook = self.webhook(webhook_id)
        self.sandbox.webhooks.delete(webhook_id)
        return self.done("/", f"The webhook for {webhook.url} was deleted.")


class SendPage(Page):
    """The form that sends an event to one webhook."""

    def get(self, request: HttpRequest, webhook_id: str) -> HttpResponse:
        """Show it, filled with an example of the event."""
        webhook = self.webhook(webhook_id)
        wanted = request.GET.get("event", "")
        event = wanted if wanted in self.sandbox.catalogue else webhook.events[0]
        initial = {"event": event, "data": pretty(example_data(event)), "count": 1}
        return self.shown("send", webhook=webhook, form=SendForm(initial=initial))

    def post(self, request: HttpRequest, webhook_id: str) -> HttpResponse:
        """Send the event."""
        webhook = self.webhook(webhook_id)
        form = SendForm(request.POST)
        if form.is_valid():
            event, count = form.cleaned_data["event"], form.cleaned_data["count"]
            try:
                self.sandbox.deliveries.accept(event, form.cleaned_data["data"], count, webhook_id)
            except InvalidError as error:
                form.refuse(error)
            else:
                self.sandbox.sender.wake()
                sent = f"{event} was accepted" if count == 1 else f"{count} events {event} were accepted"
                return self.done(f"/webhooks/{webhook_id}", f"{sent}. Reload the page to see the result.")
        return self.shown("send", 422, webhook=webhook, form=form)


class DeliveryPage(Page):
    """A delivery, every attempt at it and what came back."""

    def get(self, request: HttpRequest, seq: int) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Show it."""
        delivery = Delivery.objects.select_related("webhook").filter(pk=seq).first()
        if delivery is None:
            raise Http404(f"There is no delivery number {seq}.")
        attempts = [entry.value() for entry in deliveries.entries().filter(delivery=delivery)]
        return self.shown("delivery", delivery=delivery, webhook=delivery.webhook, attempts=attempts)


class ResendPage(Page):
    """Sends a delivery again."""

    def post(self, request: HttpRequest, seq: int) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Do it."""
        if not deliveries.resend(seq):
            raise Http404(f"The delivery number {seq} is just being sent, or does not exist.")
        self.sandbox.sender.wake()
        return self.done(f"/deliveries/{seq}", "It is sent again. Reload the page to see the result.")


class FaultsPage(Page):
    """The fault switches."""

    def get(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002 - of the framework
        """Show them."""
        return self.shown("faults", here="faults", form=FaultsForm(self.sandbox.faults.current()))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Set all switches, or switch them off."""
        if "clear" in request.POST:
            self.sandbox.faults.clear()
            return self.done("/faults", "Everything works again.")
        form = FaultsForm(self.sandbox.faults.current(), request.POST)
        if form.is_valid():
            try:
                self.sandbox.faults.update(form.wanted())
            except InvalidError as error:
                form.refuse(error)
            else:
                return self.done("/faults", "The switches are set.")
        return self.shown("faults", 422, here="faults", form=form)


def error_page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    """Return a page that says what is wrong."""
    return render(request, "error.html", {"here": "", "title": title, "text": text}, status=status)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404: for an object that does not exist, or an address."""
    said = str(exception.args[0]) if exception.args and isinstance(exception.args[0], str) else ""
    text = said or f"{request.path[:_MAX_SHOWN]} is not a page of this screen."
    return error_page(request, 404, "It is not there", text)


def failed(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - of the framework
    """Answer 500, without the database, which may have failed."""
    return HttpResponse("The sandbox failed; its log says why.", status=500, content_type="text/plain; charset=utf-8")


def _see_other(path: str) -> HttpResponse:
    response = HttpResponseRedirect(path)
    response.status_code = 303
    return response
