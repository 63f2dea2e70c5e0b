"""Refused requests: the answer to why nothing arrives."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import diagnosis_text, formatting
from nateq_webhooks.admin.biglist.base import RecordAdmin
from nateq_webhooks.admin.biglist.filters import NamedWebhookFilter
from nateq_webhooks.models import Rejection


class ReasonFilter(admin.SimpleListFilter):
    """By reason, in words."""

    title = gettext_lazy("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return every reason."""
        return [(str(code), words) for code, words in diagnosis_text.REASONS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of the chosen reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


@admin.register(Rejection)
class RejectionAdmin(RecordAdmin[Rejection]):
    """Refused requests, to read and to delete: when, why, from where, and what may be the matter."""

    actions = ()  # Django's own, to delete
    list_display = ("shown_received_at", "shown_webhook", "shown_reason", "shown_address", "shown_size")
    list_filter: ClassVar[Any] = (("webhook", NamedWebhookFilter), ReasonFilter)
    list_select_related = ("webhook",)
    list_parameters = indexed_parameters = frozenset({"webhook__id__exact", "reason"})
    list_defer = ("header_names",)
    names_webhook = True
    links: ClassVar[Any] = {"shown_webhook": ("nateq_webhooks.view_webhook", "named_webhook")}
    fields = readonly_fields = (
        "shown_received_at",
        "shown_webhook",
        "shown_reason",
        "shown_hint",
        "shown_address",
        "shown_size",
        "shown_header_names",
    )

    def shown_rows(self, rows: QuerySet[Rejection]) -> QuerySet[Rejection]:
        """Return the rows of a page with their webhook, without its secret."""
        return rows.select_related("webhook").defer("webhook__secret", "webhook__events")

    @admin.display(description=gettext_lazy("received"))
    def shown_received_at(self, rejection: Rejection) -> str | None:
        """Return when it came."""
        return formatting.moment(rejection.received_at)

    @admin.display(description=gettext_lazy("webhook"))
    def shown_webhook(self, rejection: Rejection) -> SafeString | str:
        """Return the webhook as a link to its page."""
        if getattr(rejection, "is_webhook_hidden", False):
            return self.get_empty_value_display()
        return formatting.link(self.page_of(rejection.webhook), rejection.webhook.name)

    @admin.display(description=gettext_lazy("webhook"))
    def named_webhook(self, rejection: Rejection) -> SafeString | str:
        """Return the webhook for who may not open its page."""
        if getattr(rejection, "is_webhook_hidden", False):
            return self.get_empty_value_display()
        return formatting.link("", rejection.webhook.name)

    @admin.display(description=gettext_lazy("reason"))
    def shown_reason(self, rejection: Rejection) -> SafeString:
        """Return why it was refused, what may be the matter, and how many more were at that time."""
        words, brief = (
            diagnosis_text.reason(rejection.reason),
            diagnosis_text.brief(diagnosis_text.Hint.read(rejection.hint)),
        )
        return format_html('{} <span class="nateq-quiet-text">{}</span>', words, brief) if brief else escape(words)

    @admin.display(description=gettext_lazy("what may be the matter"))
    def shown_hint(self, rejection: Rejection) -> SafeString | str:
        """Return what was found, and what to do."""
        told = diagnosis_text.sentences(rejection.reason, diagnosis_text.Hint.read(rejection.hint))
        lines = format_html_join("", '<p class="nateq-hint">{}</p>', ((line,) for line in told))
        return lines or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("address"))
    def shown_address(self, rejection: Rejection) -> SafeString | str:
        """Return from where it came."""
        return formatting.text(rejection.remote_addr or "") or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("size"))
    def shown_size(self, rejection: Rejection) -> str:
        """Return how large its body was, or said to be."""
        return self.get_empty_value_display() if rejection.size is None else filesizeformat(rejection.size)

    @admin.display(description=gettext_lazy("header names"))
    def shown_header_names(self, rejection: Rejection) -> SafeString | str:
        """Return the names of its headers, a line each."""
        names = rejection.header_names if isinstance(rejection.header_names, list) else []
        lines = "\n".join(formatting.visible(str(name)) for name in names)
        if not lines:
            return self.get_empty_value_display()
        return format_html('<pre class="nateq-code" dir="ltr" tabindex="0">{}</pre>', lines)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Say in words under the title what the page is about."""
        rejection = context.get("original")
        if rejection is not None:
            context["subtitle"] = diagnosis_text.reason(rejection.reason)
        return super().render_change_form(request, context, *args, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Rejection | None = None) -> bool:
        """Allow it to those who have Django's permission: nothing hangs on a rejection."""
        return super(RecordAdmin, self).has_delete_permission(request, obj)
