"""Webhooks: the URL to paste into Nateq, the events, the secrets."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_post_parameters

from nateq_webhooks import audit
from nateq_webhooks.admin import audit_section, audited, formatting
from nateq_webhooks.admin.dashboard.statistics import read_statistics
from nateq_webhooks.admin.dashboard.summary import summary
from nateq_webhooks.admin.generics import ModelAdmin, TabularInline
from nateq_webhooks.admin.pages import AdminPage, admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_replay, may_reveal_secret
from nateq_webhooks.admin.rotation_text import rotation_text
from nateq_webhooks.admin.webhooks.changelist import WebhookChangeList, state_of
from nateq_webhooks.admin.webhooks.forms import OlderSecretForm, WebhookForm, hide_secrets
from nateq_webhooks.admin.webhooks.pause import PausePage, pause_context
from nateq_webhooks.admin.webhooks.remote import RemotePage
from nateq_webhooks.admin.webhooks.secrets import SecretPage, reveal_generated
from nateq_webhooks.admin.webhooks.sent_log import SentLogPage
from nateq_webhooks.admin.webhooks.test_event import EventTestPage
from nateq_webhooks.inbox.former_secrets import keep_former, rotations
from nateq_webhooks.models import Delivery, Rejection, Secret, Webhook
from nateq_webhooks.models.signing_keys import reference
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.remote.claim import alias
from nateq_webhooks.remote.local_webhooks import is_local, secret_id, why_not_deleted

VIEW_DELIVERIES: Final = "nateq_webhooks.view_delivery"

EVENTS_SHOWN: Final = 3
"""Event names in a cell of the list."""


class SecretInline(TabularInline[Secret, Webhook]):
    """The other secrets that the webhook accepts, shown by their ids; they can be added and deleted, not read."""

    model = Secret
    form = OlderSecretForm
    fields = ("new_secret", "shown_created_at", "expires_at", "shown_state")
    readonly_fields = ("shown_created_at", "shown_state")
    extra = 1  # so that one can be added without JavaScript
    verbose_name_plural = gettext_lazy("other signing secrets that are accepted")

    @admin.display(description=gettext_lazy("secret"))
    def new_secret(self, secret: Secret) -> SafeString | None:
        """Return a stored secret's id; a new one has an input instead."""
        return _shown(secret.secret, str(secret))

    @admin.display(description=gettext_lazy("created"))
    def shown_created_at(self, secret: Secret) -> SafeString | str:
        """Return when the secret was stored."""
        moment = formatting.moment(secret.created_at) if secret.pk else None
        return moment or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("state"))
    def shown_state(self, secret: Secret) -> str:
        """Return how far the rotation is that replaced the secret."""
        if secret.pk is None:
            return self.get_empty_value_display()
        if secret.expires_at is not None:
            has_ended = secret.expires_at <= timezone.now()
            return _("Refused: it has expired") if has_ended else _("Accepted until then")
        if secret.is_retiring:
            return _("New secret not seen yet; the former one is still accepted")
        return _("Accepted, without an expiry time")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow users who may replace secrets: with a secret of their own they can sign deliveries."""
        return super().has_add_permission(request, obj) and may_reveal_secret(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: secrets are added and deleted only."""
        return False


def _shown(secret: str, key_id: str) -> SafeString | None:
    """Return a secret's id, and the environment variable that it is in, if it is in one."""
    variable = reference(secret)
    if variable is None or key_id == secret:  # without a usable value the id names the variable
        return formatting.text(key_id)
    return format_html("{} · {}", formatting.text(key_id), formatting.text(secret))


@admin.register(Webhook)
class WebhookAdmin(ModelAdmin[Webhook]):
    """The admin of webhooks. No page shows a stored secret."""

    pages: ClassVar[Sequence[type[AdminPage]]] = (PausePage, SecretPage, EventTestPage, RemotePage, SentLogPage)
    form = WebhookForm
    inlines = [SecretInline]
    list_display = ("shown_name", "shown_state", "shown_events", "registration", "deliveries_link")
    list_filter = ("is_active", "registration")
    search_fields = ("name",)
    readonly_fields = ("receiving_url", "secret_id", "registration", "its_deliveries")
    view_on_site = False  # the URL is for POST only

    class Media:
        css = {"all": ["nateq_webhooks/admin.css", "nateq_webhooks/list.css", "nateq_webhooks/health.css"]}
        js = ["nateq_webhooks/copy.js", "nateq_webhooks/list.js"]

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of Django's pages and ours."""
        return [*(page.url_pattern(self) for page in self.pages), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list that knows what is paused."""
        return WebhookChangeList

    @admin.display(description=gettext_lazy("name"), ordering="name")
    def shown_name(self, webhook: Webhook) -> SafeString | None:
        """Return the webhook's name."""
        return formatting.name_link("", webhook.name)

    @admin.display(description=gettext_lazy("state"))
    def shown_state(self, webhook: Webhook) -> SafeString:
        """Return whether the webhook is active, switched off or paused; a pause with why, by whom and since when."""
        return state_of(webhook)

    @admin.display(description=gettext_lazy("events"))
    def shown_events(self, webhook: Webhook) -> str:
        """Return the first few event names, and how many more there are."""
        if not webhook.events:
            return _("All")
        names = webhook.events if isinstance(webhook.events, list) else [webhook.events]
        shown = ", ".join(formatting.visible(str(name)) for name in names[:EVENTS_SHOWN])
        more = len(names) - EVENTS_SHOWN
        if more <= 0:
            return shown
        return ngettext("%(events)s and %(more)s more", "%(events)s and %(more)s more", more) % {
            "events": shown,
            "more": more,
        }

    @admin.display(description=gettext_lazy("deliveries"))
    def deliveries_link(self, webhook: Webhook) -> SafeString | str:
        """Return a link to the list of the webhook's deliveries."""
        url = admin_url(self.admin_site, Delivery, "changelist", webhook__id__exact=webhook.pk)
        return format_html('<a href="{}">{}</a>', url, _("Show")) if url else self.get_empty_value_display()

    @admin.display(description=gettext_lazy("deliveries"))
    def its_deliveries(self, webhook: Webhook) -> SafeString | str:
        """Return the link, and that a webhook with deliveries can't be deleted."""
        if not webhook.deliveries.exists():
            return _("None yet.")
        return format_html("{} · {}", self.deliveries_link(webhook), why_not_deleted())

    @admin.display(description=gettext_lazy("URL to paste into Nateq"))
    def receiving_url(self, webhook: Webhook) -> SafeString:
        """Return the full URL; if the site's address is unknown, the path and the setting to set."""
        try:
            url = webhook.public_url
            path = webhook.get_absolute_url()
        except NoReverseMatch:
            return format_html(
                '<p class="nateq-hint">{}</p>',
                _('No URL leads here. Add path("nateq/", include("nateq_webhooks.urls")) to your urlpatterns.'),
            )
        shown = format_html(
            '<code class="nateq-url" dir="ltr" data-nateq-copy-label="{}" data-nateq-copied="{}">{}</code>',
            _("Copy"),
            _("Copied"),
            url or path,
        )
        if url:
            return shown
        hint = _(
            'This is only the path. Set NATEQ_WEBHOOKS["PUBLIC_URL"] to this site\'s address, such as '
            '"https://shop.example", to see the full URL here.'
        )
        return format_html('{}<p class="nateq-hint">{}</p>', shown, hint)

    @admin.display(description=gettext_lazy("current secret"))
    def secret_id(self, webhook: Webhook) -> SafeString | None:
        """Return the id that is stored with deliveries that the current secret signed."""
        return _shown(webhook.secret, secret_id(webhook))

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns, without the link to the deliveries if the user may not see them."""
        may_see = request.user.has_perm(VIEW_DELIVERIES)
        return [name for name in super().get_list_display(request) if may_see or name != "deliveries_link"]

    def get_fieldsets(self, request: HttpRequest, obj: Webhook | None = None) -> Any:
        """Return the fields: an unsaved webhook has no URL yet, and users who may only view get no inputs."""
        may_change = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        saved = obj is not None
        deliveries = ["its_deliveries"] if request.user.has_perm(VIEW_DELIVERIES) else []
        may_enter = may_change and may_reveal_secret(request)
        receives = ["events", "other_events", "organization_id"] if may_change else ["events", "organization_id"]
        secret = [*(["secret_id"] if saved else []), *(["new_secret"] if may_enter else [])]
        return [
            (None, {"fields": ["name", "is_active", *(["receiving_url", *deliveries] if saved else [])]}),
            (_("What it receives"), {"fields": receives}),
            *([(_("Secret"), {"fields": secret})] if secret else []),
            (_("Advanced"), {"fields": ["signature_header", "registration"], "classes": ["collapse"]}),
        ]

    def get_form(self, request: HttpRequest, obj: Webhook | None = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """Drop the secret field without the permission; a hidden field can still be posted."""
        form = super().get_form(request, obj, change, **kwargs)
        if not may_reveal_secret(request):
            form.base_fields.pop("new_secret", None)
        return form

    def get_inlines(self, request: HttpRequest, obj: Webhook | None) -> Any:
        """Return the other secrets, once the webhook is saved."""
        return super().get_inlines(request, obj) if obj else []

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the list's own filters: `?secret__startswith=` would reveal a secret letter by letter."""
        return lookup in {"is_active__exact", "registration__exact"} and "\0" not in value

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Webhook], search_term: str
    ) -> tuple[QuerySet[Webhook], bool]:
        """Search by name."""
        return super().get_search_results(request, queryset, column_text(search_term, len(search_term)))

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Keep the posted values, which may have secrets, out of error reports."""
        if request.method == "POST":
            hide_secrets(request)
        return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:  # noqa: FBT001
        """Save; keep a replaced secret for late retries."""
        if obj.registration == Webhook.Registration.PENDING and obj.secret != form.former_secret:
            # Somebody copied the secret that the registration waits for from Nateq's dashboard.
            obj.registration = Webhook.Registration.REGISTERED if obj.nateq_id else Webhook.Registration.MANUAL
        super().save_model(request, obj, form, change)
        if change and obj.secret != form.former_secret:
            former = keep_former(obj, form.former_secret)
            if former is not None:
                text = _(
                    "No delivery has used the new secret yet. The former one (%(id)s) is accepted until a delivery "
                    "uses the new one, and a while longer for late retries."
                )
                self.message_user(request, text % {"id": former}, messages.INFO)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """Save the other secrets, and what was changed in the audit log: all of it is one transaction."""
        super().save_related(request, form, formsets, change)
        fields = [name for name in form.changed_data if name != "new_secret"]
        changes = {
            "replaced": int(change and form.instance.secret != form.former_secret),
            "added": sum(len(formset.new_objects) for formset in formsets),
            "deleted": sum(len(formset.deleted_objects) for formset in formsets),
        }
        if not change:
            self._record(request, audit.Action.WEBHOOK_CREATED, form.instance)
        elif fields:
            self._record(request, audit.Action.WEBHOOK_CHANGED, form.instance, fields=fields)
        if any(changes.values()):
            self._record(request, audit.Action.SECRET_CHANGED, form.instance, **changes)

    def delete_model(self, request: HttpRequest, obj: Webhook) -> None:
        """Delete it, with an entry in the audit log."""
        with transaction.atomic(using=alias()):
            self._record_deletion(request, obj)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        """Delete them, each with an entry in the audit log."""
        with transaction.atomic(using=alias()):
            for webhook in queryset:
                self._record_deletion(request, webhook)
            super().delete_queryset(request, queryset)

    def _record_deletion(self, request: HttpRequest, webhook: Webhook) -> None:
        stays = {} if is_local(webhook) else {"stays_at_nateq": webhook.nateq_id}
        self._record(request, audit.Action.WEBHOOK_DELETED, webhook, **stays)

    def _record(self, request: HttpRequest, action: audit.Action, webhook: Webhook, **details: Any) -> None:
        audited.record(request, action, **audit.of_webhook(webhook), alias=alias(), **details)

    def has_delete_permission(self, request: HttpRequest, obj: Webhook | None = None) -> bool:
        """Refuse if the webhook has deliveries: they are kept, and belong to it."""
        return super().has_delete_permission(request, obj) and (obj is None or not obj.deliveries.exists())

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Say what to do instead if the webhook has deliveries."""
        webhook = self.get_object(request, unquote(object_id))
        may_delete = super().has_delete_permission(request, webhook)
        if webhook is None or not may_delete or self.has_delete_permission(request, webhook):
            return super().delete_view(request, object_id, extra_context)
        self.message_user(request, why_not_deleted(), messages.ERROR)
        return HttpResponseRedirect(admin_url(self.admin_site, Webhook, "change", webhook.pk))

    def get_deleted_objects(
        self, objs: Sequence[Webhook] | QuerySet[Webhook], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Return Django's summary without collecting deliveries: there may be millions."""
        kept = [webhook for webhook in objs if webhook.deliveries.exists()]
        if not kept:
            return super().get_deleted_objects(objs, request)
        protected = [f"{webhook}: {why_not_deleted()}" for webhook in kept]
        return [str(webhook) for webhook in objs], {}, set(), protected

    def response_add(self, request: HttpRequest, obj: Webhook, post_url_continue: str | None = None) -> HttpResponse:
        """Show a generated secret in the response; with a redirect it would be kept in a cookie or a session."""
        response = super().response_add(request, obj, post_url_continue)
        if not may_reveal_secret(request):
            self.message_user(request, _("A signing secret was generated, which you may not see."), messages.WARNING)
            return response
        if request.POST.get("new_secret", "").strip():
            return response
        return reveal_generated(self, request, obj)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Webhook | None = None,
    ) -> HttpResponse:
        """Show the webhook's figures and its pause above its form."""
        if obj is not None:
            context["may_reveal_secret"] = may_reveal_secret(request)
            context["may_send_test"] = may_replay(request)
            context["is_local"] = is_local(obj)
            context["is_registered"] = bool(obj.nateq_id)
            context["rotation"] = rotation_text(rotations([obj.pk]), obj.pk)
            permitted = PermittedRows(self.admin_site, request)
            context |= pause_context(obj, permitted)
            context["audit"] = audit_section.of_webhook(obj, self.admin_site, permitted)
            if permitted.may_view(Delivery):
                context["summary"] = summary(read_statistics(obj.pk, permitted).health(obj.pk))
            if request.user.has_perm("nateq_webhooks.view_rejection"):
                context["refused_url"] = admin_url(self.admin_site, Rejection, "changelist", webhook__id__exact=obj.pk)
        return super().render_change_form(request, context, add, change, form_url, obj)
