"""A delivery's page: did it come, was it genuine, what ran, what failed."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from nateq_webhooks.admin import cells
from nateq_webhooks.admin.notes import sentence
from nateq_webhooks.admin.payload import Payload, readable
from nateq_webhooks.admin.record import RecordAdmin
from nateq_webhooks.models import Attempt, Delivery, Run

MAX_RUNS_SHOWN: Final = 100
"""Runs on a delivery's page, the newest first; the list of runs has them all."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a page's summary."""

    label: str
    value: object


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as the delivery's page shows it."""

    run: Run
    url: str
    badge: str
    duration: str | None
    started: str | None
    next_try: str | None


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """A repeated attempt as the delivery's page shows it."""

    number: int | None
    received: str | None
    remote_addr: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Everything on a delivery's page."""

    badge: str
    notes: Sequence[str]
    facts: Sequence[Fact]
    payload: Payload
    headers: Sequence[tuple[str, str]]
    runs: Sequence[RunLine]
    has_more_runs: bool
    why_nothing_ran: str
    attempts: Sequence[AttemptLine]


class DeliveryPageAdmin(RecordAdmin[Delivery]):
    """The page of one delivery and what belongs to it; `DeliveryAdmin` adds the list."""

    def get_urls(self) -> list[URLPattern]:
        """Add the download of the stored bytes."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_body"
        view = self.admin_site.admin_view(self.body_view)
        return [path("<int:pk>/body/", view, name=name), *super().get_urls()]

    def body_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer with the body as it came, for the disk and never for the browser to interpret."""
        delivery = get_object_or_404(self.get_queryset(request), pk=pk)
        if not self.has_view_permission(request, delivery):
            raise PermissionDenied
        response = HttpResponse(delivery.body, content_type="text/plain; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="delivery-{pk}.txt"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Delivery | None = None,
    ) -> HttpResponse:
        """Show the page instead of a form."""
        if obj is not None:
            context["page"] = self._page(request, obj)
            context["subtitle"] = cells.visible(str(obj).strip()) or _("Delivery %(number)s") % {"number": obj.pk}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page(self, request: HttpRequest, delivery: Delivery) -> Page:
        runs = list(delivery.runs.order_by("-round", "pk")[: MAX_RUNS_SHOWN + 1])
        may_open = request.user.has_perm("nateq_webhooks.view_run")
        return Page(
            badge=cells.badge(delivery),
            notes=[sentence(code) for code in delivery.notes],
            facts=list(self._facts(request, delivery)),
            payload=readable(delivery),
            headers=list(delivery.headers.items()),
            runs=[self._run_line(run, may_open=may_open) for run in runs[:MAX_RUNS_SHOWN]],
            has_more_runs=len(runs) > MAX_RUNS_SHOWN,
            why_nothing_ran="" if runs else _why_nothing_ran(delivery),
            attempts=[_attempt_line(attempt) for attempt in delivery.attempts.all()],
        )

    def _facts(self, request: HttpRequest, delivery: Delivery) -> Iterator[Fact]:
        """Yield the summary: what it is, from whom, when, and how it was signed."""
        may_open = request.user.has_perm("nateq_webhooks.view_webhook")
        webhook = delivery.webhook
        yield Fact(_("Event"), cells.text(delivery.event))
        yield Fact(_("Resource id"), cells.text(delivery.resource_id))
        yield Fact(_("Delivery id"), cells.text(delivery.delivery_id))
        yield Fact(_("Organization"), cells.text(delivery.organization_id))
        yield Fact(_("Webhook"), cells.link(self.page_of(webhook) if may_open else "", webhook.name))
        yield Fact(_("Happened"), cells.moment(delivery.timestamp))
        yield Fact(_("Received"), cells.moment(delivery.received_at))
        if delivery.attempts_seen > 1:
            yield Fact(_("Last received"), cells.moment(delivery.last_received_at))
        yield Fact(_("Attempts seen"), delivery.attempts_seen)
        yield Fact(_("First stored attempt"), delivery.attempt)
        yield Fact(_("Version"), cells.text(delivery.version))
        yield Fact(_("From address"), cells.text(delivery.remote_addr or ""))
        yield Fact(_("Signed with secret"), cells.text(delivery.secret_id))
        yield Fact(_("Size"), _("%(number)s bytes") % {"number": len(delivery.body)})

    def _run_line(self, run: Run, *, may_open: bool) -> RunLine:
        return RunLine(
            run=run,
            url=self.page_of(run) if may_open else "",
            badge=cells.badge(run),
            duration=cells.duration(run.duration),
            started=cells.moment(run.started_at),
            next_try=cells.moment(run.next_try_at) if run.status == Run.Status.FAILED else None,
        )


def _attempt_line(attempt: Attempt) -> AttemptLine:
    return AttemptLine(attempt.number, cells.moment(attempt.received_at), attempt.remote_addr)


def _why_nothing_ran(delivery: Delivery) -> str:
    """Say why a delivery has no runs."""
    if delivery.status == Delivery.Status.INVALID:
        return _("It could not be read, so no receiver ran.")
    if delivery.status == Delivery.Status.IGNORED:
        return _("The webhook does not list this event, so no receiver ran.")
    if delivery.dispatch_at is not None:
        return _("Its receivers have not been started yet.")
    return _("No receiver was connected to this event.")
