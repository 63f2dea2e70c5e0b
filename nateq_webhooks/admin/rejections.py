"""The admin of rejections: refused requests, which explain why nothing arrives."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import diagnosis_text, formatting
from nateq_webhooks.admin.changelists.base import RecordAdmin
from nateq_webhooks.admin.changelists.filters import NamedWebhookFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.formatting import DATE_FORMAT, TIME_FORMAT
from nateq_webhooks.admin.permissions import PermittedRows, mark_hidden_webhooks
from nateq_webhooks.inbox.diagnosis import Hint
from nateq_webhooks.inbox.rejections import explanation
from nateq_webhooks.models import Rejection, Webhook
from nateq_webhooks.models.rejection import REASON_LABELS, reason_text


class ReasonFilter(admin.SimpleListFilter):
    """A filter by reason, in words."""

    title = gettext_lazy("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return every reason."""
        return [(str(code), words) for code, words in REASON_LABELS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the chosen reason."""
        return queryset.filter(reason=self.value()) if self.value() else queryset


def _with_webhook(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the rows with their webhook, without its secret."""
    return rows.select_related("webhook").defer("webhook__secret", "webhook__events")


@admin.register(Rejection)
class RejectionAdmin(RecordAdmin[Rejection]):
    """Rejections, to read and to delete: when, why, from where, and the likely cause."""

    actions = ()  # Django's own, to delete
    list_display = ("shown_received_at", "shown_webhook", "shown_reason", "shown_address", "shown_size")
    list_filter: ClassVar[Any] = (("webhook", NamedWebhookFilter), ReasonFilter, ("received_at", PeriodFilter))
    list_select_related = ("webhook",)
    list_spec = ListSpec(
        parameters=frozenset(
            {"webhook__id__exact", "webhook__isnull", "reason", "received_at__gte", "received_at__lt"}
        ),
        deferred=("header_names",),
        annotate=_with_webhook,
        mark_hidden=mark_hidden_webhooks,
    )
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

    @admin.display(description=gettext_lazy("received"))
    def shown_received_at(self, rejection: Rejection) -> str | None:
        """Return when the request arrived."""
        return formatting.moment(rejection.received_at)

    @admin.display(description=gettext_lazy("webhook"))
    def shown_webhook(self, rejection: Rejection) -> SafeString | str:
        """Return the webhook as a link to its page."""
        if rejection.webhook is None or getattr(rejection, "is_webhook_hidden", False):
            return self.get_empty_value_display()
        return formatting.name_link(self.page_of(rejection.webhook), rejection.webhook.name)

    @admin.display(description=gettext_lazy("webhook"))
    def named_webhook(self, rejection: Rejection) -> SafeString | str:
        """Return the webhook without a link, for users who may not open its page."""
        if rejection.webhook is None or getattr(rejection, "is_webhook_hidden", False):
            return self.get_empty_value_display()
        return formatting.name_link("", rejection.webhook.name)

    @admin.display(description=gettext_lazy("reason"))
    def shown_reason(self, rejection: Rejection) -> SafeString:
        """Return why it was refused, the likely cause, and how many more there were at that time."""
        words, brief = (
            reason_text(rejection.reason),
            diagnosis_text.brief(Hint.read(rejection.hint)),
        )
        return format_html('{} <span class="nateq-quiet-text">{}</span>', words, brief) if brief else escape(words)

    @admin.display(description=gettext_lazy("likely cause"))
    def shown_hint(self, rejection: Rejection) -> SafeString | str:
        """Return the likely cause, and what to do."""
        sentences = diagnosis_text.sentences(rejection.reason, Hint.read(rejection.hint))
        lines = format_html_join("", '<p class="nateq-hint">{}</p>', ((line,) for line in sentences))
        return format_html("{}{}", lines, self._explained_by(rejection)) or self.get_empty_value_display()

    def _explained_by(self, rejection: Rejection) -> SafeString:
        """Return a link to the newest request that was refused for the same reason and whose cause is certain.

        Only some requests are examined, so the newest one may not say what an earlier one does.
        """
        if Hint.read(rejection.hint).is_certain:
            return SafeString("")
        found = explanation(Rejection.objects.all(), rejection.webhook_id, rejection.reason)
        if found is None:
            return SafeString("")
        return format_html(
            '<p class="nateq-hint">{} <a href="{}">{}</a></p>',
            _("Another request that was refused for this reason was examined: %(cause)s.")
            % {"cause": diagnosis_text.brief(Hint.read(found.hint))},
            self.page_of(found),
            formatting.moment(found.received_at),
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rejection]:
        """Return the rows; those of no webhook only for users from whom no webhook is hidden."""
        rows = super().get_queryset(request)
        hides = PermittedRows(self.admin_site, request).hides(Webhook)
        return rows.filter(webhook__isnull=False) if hides else rows

    @admin.display(description=gettext_lazy("address"))
    def shown_address(self, rejection: Rejection) -> SafeString | str:
        """Return the address of the sender."""
        return formatting.text(rejection.remote_addr or "") or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("size"))
    def shown_size(self, rejection: Rejection) -> str:
        """Return the size of its body, or the declared size."""
        return self.get_empty_value_display() if rejection.size is None else filesizeformat(rejection.size)

    @admin.display(description=gettext_lazy("header names"))
    def shown_header_names(self, rejection: Rejection) -> SafeString | str:
        """Return the names of its headers, one per line."""
        names = rejection.header_names if isinstance(rejection.header_names, list) else []
        lines = "\n".join(formatting.visible(str(name)) for name in names)
        if not lines:
            return self.get_empty_value_display()
        return format_html('<pre class="nateq-code" dir="ltr" tabindex="0">{}</pre>', lines)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show the reason and the time, in the site's time zone, as the subtitle."""
        rejection = context.get("original")
        if rejection is not None:
            at = date_format(timezone.localtime(rejection.received_at), f"{DATE_FORMAT} {TIME_FORMAT}")
            context["subtitle"] = _(", ").join([reason_text(rejection.reason), at])
        return super().render_change_form(request, context, *args, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Rejection | None = None) -> bool:
        """Allow deletion with Django's permission: no other row refers to a rejection."""
        return super(RecordAdmin, self).has_delete_permission(request, obj)
