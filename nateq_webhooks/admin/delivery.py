"""Deliveries: did it come, was it genuine, what ran."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import cells
from nateq_webhooks.admin.age import ago
from nateq_webhooks.admin.filters import EventFilter, PeriodFilter, StatusFilter, WebhookFilter
from nateq_webhooks.admin.notes import sentence
from nateq_webhooks.admin.payload import Payload, readable
from nateq_webhooks.admin.payload_search import PathValue, parse
from nateq_webhooks.admin.processing import processing_time, with_last_run
from nateq_webhooks.admin.record import RecordAdmin
from nateq_webhooks.admin.search import ways
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


@admin.register(Delivery)
class DeliveryAdmin(RecordAdmin[Delivery]):
    """Deliveries, to read: a list with an exact search, and a page that tells what came and what ran."""

    list_display = (
        "shown_status",
        "shown_event",
        "shown_resource_id",
        "shown_organization",
        "webhook",
        "shown_attempts",
        "shown_received_at",
        "shown_processing_time",
    )
    list_display_links = ("shown_status", "shown_event")
    list_filter: ClassVar[Any] = (
        ("status", StatusFilter),
        EventFilter,
        ("webhook", WebhookFilter),
        ("received_at", PeriodFilter),
    )
    list_select_related = ("webhook",)
    list_defer = ("body", "payload", "headers", "notes", "identity")
    list_parameters = frozenset({"status__exact", "event", "webhook__id__exact", "received_at__gte", "received_at__lt"})
    browse_columns = ("status", "event", "webhook_id")
    facet_columns = ("status", "event", "webhook_id", "received_at")
    search_fields = ("delivery_id",)
    search_help_text = gettext_lazy("A delivery id, a resource id or an organization, exactly as Nateq sent it.")
    payload_search_help_text = gettext_lazy(
        "Or a path into the payload and a value: data.requester.email=sara@example.com"
    )
    sortable_by = ("shown_received_at",)

    @admin.display(description=gettext_lazy("status"))
    def shown_status(self, delivery: Delivery) -> str:
        """Return the status with its sign."""
        return cells.badge(delivery)

    @admin.display(description=gettext_lazy("event"))
    def shown_event(self, delivery: Delivery) -> str | None:
        """Return the event's name."""
        return cells.text(delivery.event)

    @admin.display(description=gettext_lazy("resource id"))
    def shown_resource_id(self, delivery: Delivery) -> str | None:
        """Return the id of what the event is about."""
        return cells.text(delivery.resource_id)

    @admin.display(description=gettext_lazy("organization"))
    def shown_organization(self, delivery: Delivery) -> str | None:
        """Return the organization's id."""
        return cells.text(delivery.organization_id)

    @admin.display(description=gettext_lazy("attempts"))
    def shown_attempts(self, delivery: Delivery) -> int:
        """Return how often the sender came with it."""
        return delivery.attempts_seen

    @admin.display(description=gettext_lazy("received"), ordering="pk")
    def shown_received_at(self, delivery: Delivery) -> str:
        """Return how long ago the delivery was stored."""
        return ago(delivery.received_at)

    @admin.display(description=gettext_lazy("processing time"))
    def shown_processing_time(self, delivery: Delivery) -> str | None:
        """Return how long it took from the store to the end of the last run."""
        return cells.duration(processing_time(delivery))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Return deliveries with their webhook, without its secret."""
        rows = super().get_queryset(request)
        return rows.select_related("webhook").defer("webhook__secret", "webhook__events")

    def shown_rows(self, rows: QuerySet[Delivery]) -> QuerySet[Delivery]:
        """Return the rows of a page with when their last run ended."""
        return with_last_run(rows)

    def search_ways(self, term: str) -> list[Q]:
        """Search by the exact delivery id, resource id or organization."""
        return ways(term)

    def moment_of(self, rows: QuerySet[Delivery], pk: int) -> str:
        """Return when a delivery was received."""
        moment = rows.filter(pk=pk).values_list("received_at", flat=True).first()
        return date_format(timezone.localtime(moment), f"{cells.DATE_FORMAT} {cells.TIME_FORMAT}") if moment else ""

    def payload_search(self, term: str) -> PathValue | None:
        """Search by a path into the payload."""
        return parse(term)

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
