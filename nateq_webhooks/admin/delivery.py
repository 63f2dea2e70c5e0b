"""The list of deliveries: found by status, event, webhook and time, and by their exact id."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import cells
from nateq_webhooks.admin.delivery_page import DeliveryPageAdmin
from nateq_webhooks.admin.exporting import ExportActions
from nateq_webhooks.admin.replay_jobs import ReplayActions
from nateq_webhooks.admin.search import with_delivery_id
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.event_type import known_events


class EventFilter(admin.SimpleListFilter):
    """By event: the published ones and those that a webhook names. The table of deliveries is not asked."""

    title = gettext_lazy("event")
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the names to choose from."""
        named = Webhook.objects.values_list("events", flat=True)
        known = known_events()
        unknown = {name for names in named for name in names if isinstance(name, str)} - known.keys()
        return [(name, name) for name in [*known, *sorted(unknown)]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the deliveries of the chosen event."""
        return queryset.filter(event=self.value()) if self.value() else queryset


@admin.register(Delivery)
class DeliveryAdmin(ReplayActions, ExportActions, DeliveryPageAdmin):
    """Deliveries, to read: a list with an exact search, and a page that tells what came and what ran."""

    actions = ("replay_selected", "export_selected")
    list_display = (
        "shown_status",
        "shown_event",
        "shown_received_at",
        "shown_resource_id",
        "shown_organization",
        "webhook",
        "shown_attempts",
    )
    list_display_links = ("shown_status", "shown_event")
    list_filter = ("status", EventFilter, "webhook", "received_at")
    list_select_related = ("webhook",)
    list_defer = ("body", "payload", "headers", "notes", "identity")
    list_parameters = frozenset({"status__exact", "event", "webhook__id__exact", "received_at__gte", "received_at__lt"})
    search_fields = ("delivery_id",)
    search_help_text = gettext_lazy("Searches for a delivery id, exactly as Nateq sent it.")

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

    @admin.display(description=gettext_lazy("received"))
    def shown_received_at(self, delivery: Delivery) -> str | None:
        """Return when the delivery was stored."""
        return cells.moment(delivery.received_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Return deliveries with their webhook, without its secret."""
        rows = super().get_queryset(request)
        return rows.select_related("webhook").defer("webhook__secret", "webhook__events")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        """Search by the exact delivery id."""
        if not search_term.strip():
            return queryset, False
        return with_delivery_id(queryset, search_term), False
