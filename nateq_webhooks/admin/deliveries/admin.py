"""The admin of deliveries: a list with filters and an exact search, and a page for each."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.base import RecordAdmin
from nateq_webhooks.admin.changelists.filters import EventFilter, StatusFilter, WebhookFilter
from nateq_webhooks.admin.changelists.neighbours import neighbours
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.saved_views import SavedView
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.deliveries.erase import MAX_OFFERING, ErasePage
from nateq_webhooks.admin.deliveries.export import ExportPage
from nateq_webhooks.admin.deliveries.outcome import attach_failing_runs, attach_held_runs, outcome
from nateq_webhooks.admin.deliveries.page import build
from nateq_webhooks.admin.deliveries.payload_fields import PAYLOAD_FIELDS
from nateq_webhooks.admin.deliveries.payload_pages import BodyDownload, PayloadPage
from nateq_webhooks.admin.deliveries.processing import processing_time, with_last_run
from nateq_webhooks.admin.deliveries.replay import ReplayPage, TryNowPage
from nateq_webhooks.admin.deliveries.replay_many import ReplayManyPage
from nateq_webhooks.admin.deliveries.signed import SignedPage
from nateq_webhooks.admin.deliveries.view import title_of
from nateq_webhooks.admin.pages import AdminPage
from nateq_webhooks.admin.permissions import PermittedRows, mark_hidden_webhooks, may_erase, may_see_payload
from nateq_webhooks.models import Delivery, OtherContent
from nateq_webhooks.models.delivery import has_delivery_id


def _search_alternatives(term: str) -> list[Q]:
    """Return the alternatives of the search; each one uses an index."""
    bare = term.strip()
    return [has_delivery_id(term), Q(resource_id=bare), Q(organization_id=bare)]


def _with_processing(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Add the end of the last run, and whether the delivery came with other contents."""
    other_contents = OtherContent.objects.filter(delivery=OuterRef("pk"))
    return with_last_run(rows).annotate(has_other_contents=Exists(other_contents))


def _attach_outcomes(deliveries: Sequence[Any], permitted: PermittedRows, request: HttpRequest) -> None:
    attach_failing_runs(deliveries, permitted, errors=may_see_payload(request))
    attach_held_runs(deliveries, permitted)


@admin.register(Delivery)
class DeliveryAdmin(RecordAdmin[Delivery]):
    """Deliveries, read-only: a list with an exact search, and a page that shows what came and what ran."""

    pages: ClassVar[Sequence[type[AdminPage]]] = (
        BodyDownload,
        PayloadPage,
        SignedPage,
        ReplayPage,
        TryNowPage,
        ReplayManyPage,
        ExportPage,
        ErasePage,
    )
    fields = ()
    "The page shows values of its own instead of a form."
    actions: Any = ("replay_selected", "export_selected", "erase_selected")
    list_display = (
        "shown_status",
        "shown_event",
        "shown_received_at",
        "shown_resource_id",
        "shown_outcome",
        "shown_webhook",
        "shown_organization",
    )
    list_display_links = ("shown_status", "shown_event")
    list_filter: ClassVar[Any] = (
        ("status", StatusFilter),
        EventFilter,
        ("webhook", WebhookFilter),
        ("received_at", PeriodFilter),
    )
    list_select_related = ("webhook",)
    list_spec = ListSpec(
        index=("status", "event", "webhook_id"),
        parameters=frozenset({"status__exact", "event", "webhook__id__exact", "received_at__gte", "received_at__lt"}),
        facet_columns=("status", "event", "webhook_id", "received_at"),
        deferred=("body", "payload", "headers", "notes", "identity", "content_hash"),
        date_column="received_at",
        has_histogram=True,
        search_alternatives=_search_alternatives,
        searches_payloads=True,
        annotate=_with_processing,
        mark_hidden=mark_hidden_webhooks,
        complete=_attach_outcomes,
    )
    saved_views: ClassVar[Sequence[SavedView]] = (
        SavedView(
            gettext_lazy("Failing, last 24 hours"), "status__exact=failed&status__exact=dead&received_at__gte=-24h"
        ),
        SavedView(gettext_lazy("In progress"), "status__exact=received"),
        SavedView(gettext_lazy("Today"), "received_at__gte=today"),
    )
    payload_fields: ClassVar[Sequence[str]] = PAYLOAD_FIELDS
    search_fields = ("delivery_id",)
    search_help_text = gettext_lazy("A delivery id, a resource id or an organization, exactly as Nateq sent it.")
    sortable_by = ("shown_received_at",)

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of Django's pages and ours."""
        return [*(page.url_pattern(self) for page in self.pages), *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Delivery | None:  # noqa: ARG002
        """Return the delivery without the payload's column: the page reads the bytes, which have it as it came."""
        rows = self.get_queryset(request).defer("payload")
        try:
            return rows.get(pk=Delivery._meta.pk.to_python(object_id))
        except (Delivery.DoesNotExist, ValidationError):
            return None

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
            context |= {"page": build(self, request, obj), "subtitle": title_of(obj)}
            context["neighbours"] = neighbours(self, request, obj.pk)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may have deliveries run again."""
        return request.user.has_perm(ReplayManyPage.permission)

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may export deliveries."""
        return request.user.has_perm(ExportPage.permission)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may erase a person's data."""
        return may_erase(PermittedRows(self.admin_site, request), request)

    @admin.action(description=gettext_lazy("Replay the selected deliveries"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        """Ask which receivers, and why."""
        return ReplayManyPage.for_action(self, request, queryset)

    @admin.action(description=gettext_lazy("Export the selected deliveries"), permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:
        """Ask in which format."""
        return ExportPage.for_action(self, request, queryset)

    @admin.action(description=gettext_lazy("Erase a person that the selected name"), permissions=["erase"])
    def erase_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse:  # noqa: ARG002
        """Ask whose data, and offer the people whom the first of them name."""
        return ErasePage.for_action(self, list(queryset.order_by("-pk").values_list("pk", flat=True)[:MAX_OFFERING]))

    @admin.display(description=gettext_lazy("status"))
    def shown_status(self, delivery: Delivery) -> str:
        """Return the status as a badge."""
        return formatting.delivery_badge(delivery, has_runs=getattr(delivery, "has_runs", True))

    @admin.display(description=gettext_lazy("event"))
    def shown_event(self, delivery: Delivery) -> str | None:
        """Return the event's name."""
        return formatting.name(delivery.event)

    @admin.display(description=gettext_lazy("resource id"))
    def shown_resource_id(self, delivery: Delivery) -> str | None:
        """Return the id of the resource that the event is about."""
        return formatting.identifier(delivery.resource_id)

    @admin.display(description=gettext_lazy("webhook"))
    def shown_webhook(self, delivery: Delivery) -> str:
        """Return the webhook's name, unless the project hides the webhook from the user."""
        if getattr(delivery, "is_webhook_hidden", False):
            return self.get_empty_value_display()
        return formatting.name(delivery.webhook.name) or self.get_empty_value_display()

    def column_for(self, request: HttpRequest, name: Any) -> Any:
        """Return the name of a column. `webhook` becomes ours, which does not name a hidden webhook."""
        return super().column_for(request, "shown_webhook" if name == "webhook" else name)

    @admin.display(description=gettext_lazy("organization"))
    def shown_organization(self, delivery: Delivery) -> str | None:
        """Return the organization's id."""
        return formatting.identifier(delivery.organization_id)

    @admin.display(description=gettext_lazy("attempts"))
    def shown_attempts(self, delivery: Delivery) -> str:
        """Return how many attempts the sender made, and whether they brought different contents."""
        if not getattr(delivery, "has_other_contents", False):
            return str(delivery.attempts_seen)
        return _("%(number)s, with different contents") % {"number": delivery.attempts_seen}

    @admin.display(description=gettext_lazy("received"), ordering="pk")
    def shown_received_at(self, delivery: Delivery) -> str:
        """Return how long ago the delivery was stored, and how often it came if that is not once."""
        received = formatting.ago(delivery.received_at)
        if delivery.attempts_seen == 1 and not getattr(delivery, "has_other_contents", False):
            return received
        words = _("Attempts: %(number)s") % {"number": self.shown_attempts(delivery)}
        return format_html(
            '{} <span class="nateq-attempts" title="{}">\u00d7{}</span>', received, words, delivery.attempts_seen
        )

    @admin.display(description=gettext_lazy("outcome"))
    def shown_outcome(self, delivery: Delivery) -> SafeString | str | None:
        """Return the receiver that fails or is held back and why, or else how long the delivery took."""
        return outcome(delivery)

    @admin.display(description=gettext_lazy("processing time"))
    def shown_processing_time(self, delivery: Delivery) -> str | None:
        """Return the time from storing the delivery until its last run ended."""
        return formatting.duration(processing_time(delivery))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Return deliveries with their webhook, without its secret."""
        rows = super().get_queryset(request)
        return rows.select_related("webhook").defer("webhook__secret", "webhook__events")
