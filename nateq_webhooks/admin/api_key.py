"""The admin of API keys: made here and shown once; later they can be limited and revoked, not read."""
# ruff: noqa: ARG002 - the signatures are Django's

import re
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.sites import AdminSite
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks import audit
from nateq_webhooks.admin import audited, formatting
from nateq_webhooks.admin.generics import ModelAdmin, ModelForm
from nateq_webhooks.admin.input_labels import label_inputs
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import ApiKey, Delivery, Rejection, Run, Webhook
from nateq_webhooks.models.api_key import PERMISSIONS_OF, SCOPE_LABELS, grantable
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.secret_text import KeyText

_BETWEEN: Final = re.compile(r"[\s,;،]+")

MAX_PER_MINUTE: Final = 1_000_000
"""The highest rate limit of a key."""


class AddressesField(forms.CharField):
    """Addresses and networks, one per line, as a list."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 40, "dir": "ltr", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        """Return the stored list as lines."""
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return the lines as a list; the model checks them."""
        return [each for each in _BETWEEN.split(super().to_python(value) or "") if each]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the list is another one."""
        return bool(self.to_python(data) != (initial or []))


class ApiKeyForm(ModelForm[ApiKey]):
    """A key: the scopes that the user may give, and its limits."""

    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("Only what you may do yourself is offered."),
    )
    allowed_addresses = AddressesField(
        label=gettext_lazy("Allowed addresses"),
        required=False,
        help_text=gettext_lazy("IP addresses or networks that it may be used from, one per line. Empty: any."),
    )
    requests_per_minute = forms.IntegerField(
        label=gettext_lazy("Requests per minute"),
        min_value=1,
        max_value=MAX_PER_MINUTE,
        initial=ApiKey().requests_per_minute,
    )
    is_revoked = forms.BooleanField(
        label=gettext_lazy("Revoke"),
        required=False,
        help_text=gettext_lazy("It is refused from now on, for ever. To replace it, create another key."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "expires_at" in self.fields:  # not for users who may only look
            label_inputs(self.fields["expires_at"])


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin[ApiKey]):
    """API keys. A key is shown in the answer that creates it; neither the history nor a message has it."""

    form = ApiKeyForm
    actions: Any = ("revoke_selected",)
    list_display = ("name", "hint", "shown_state", "shown_scopes", "shown_organization", "shown_last_used_at")
    search_fields = ("name",)
    view_on_site = False

    class Media:
        css = {"all": ["nateq_webhooks/admin.css", "nateq_webhooks/list.css"]}
        js = ["nateq_webhooks/copy.js", "nateq_webhooks/list.js"]

    @admin.display(description=gettext_lazy("state"))
    def shown_state(self, key: ApiKey) -> str:
        """Return whether it is accepted."""
        return str(key.state(timezone.now()).label)

    @admin.display(description=gettext_lazy("scopes"))
    def shown_scopes(self, key: ApiKey) -> str:
        """Return its scopes."""
        return ", ".join(map(str, key.scopes))

    @admin.display(description=gettext_lazy("organization"))
    def shown_organization(self, key: ApiKey) -> SafeString | str:
        """Return the organization that it is bound to."""
        return formatting.text(key.organization_id) or _("All")

    @admin.display(description=gettext_lazy("last used"))
    def shown_last_used_at(self, key: ApiKey) -> SafeString | str:
        """Return when it was last used, to the minute."""
        return formatting.moment(key.last_used_at) or _("Never")

    @admin.display(description=gettext_lazy("created"))
    def shown_created_at(self, key: ApiKey) -> SafeString | str | None:
        """Return when it was created."""
        return formatting.moment(key.created_at)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """Return the fields: what a key may do is chosen once."""
        limits = ["expires_at", "allowed_addresses", "requests_per_minute"]
        if obj is None:
            return ["name", "scopes", "organization_id", *limits]
        shown = ["hint", "shown_state", "shown_scopes", "shown_organization", "shown_created_at", "shown_last_used_at"]
        may_revoke = obj.revoked_at is None and self.has_change_permission(request, obj)
        return ["name", *shown, *limits, *(["is_revoked"] if may_revoke else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """Return the fields that are only shown."""
        if obj is None:
            return ()
        return ("hint", "shown_state", "shown_scopes", "shown_organization", "shown_created_at", "shown_last_used_at")

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """Offer only the scopes whose permissions the user has; a form without a field does not take it."""
        form = super().get_form(request, obj, change, **kwargs)
        names = set(self.get_fields(request, obj))
        for name in [name for name in form.base_fields if name not in names]:
            del form.base_fields[name]
        if "scopes" in form.base_fields:
            needed = {name for names in PERMISSIONS_OF.values() for name in names}
            held = [name for name in needed if request.user.has_perm(f"nateq_webhooks.{name}")]
            choices = [(scope.value, f"{scope}: {SCOPE_LABELS[scope]}") for scope in grantable(held)]
            form.base_fields["scopes"].choices = choices  # type: ignore[attr-defined]
        return form

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str
    ) -> tuple[QuerySet[ApiKey], bool]:
        """Search by name."""
        return super().get_search_results(request, queryset, column_text(search_term, len(search_term)))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow no filter by address: `?key_hash__startswith=` would tell the hash."""
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse users from whom the project hides rows: a key would show them."""
        permitted = PermittedRows(self.admin_site, request)
        hides = any(permitted.hides(model) for model in (Webhook, Delivery, Run, Rejection))
        return super().has_add_permission(request) and not hides

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: FBT001
        """Save; generate the key of a new row, and revoke if that is ticked."""
        if not change:
            request.__dict__["nateq_issued_key"] = obj.issue()
        elif form.cleaned_data.get("is_revoked"):
            obj.revoked_at = timezone.now()
        super().save_model(request, obj, form, change)
        if not change:
            self._record(request, audit.Action.API_KEY_CREATED, obj, scopes=obj.scopes)
        elif form.cleaned_data.get("is_revoked"):
            self._record(request, audit.Action.API_KEY_REVOKED, obj)

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        """Delete it, with an entry in the audit log."""
        with transaction.atomic(using=router.db_for_write(ApiKey)):
            self._record(request, audit.Action.API_KEY_REVOKED, obj, deleted=True)
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Delete them, each with an entry in the audit log."""
        with transaction.atomic(using=router.db_for_write(ApiKey)):
            for key in queryset:
                self._record(request, audit.Action.API_KEY_REVOKED, key, deleted=True)
            super().delete_queryset(request, queryset)

    def _record(self, request: HttpRequest, action: audit.Action, key: ApiKey, **details: Any) -> None:
        audited.record(request, action, target=key.name, alias=router.db_for_write(ApiKey), **details)

    @sensitive_variables()
    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key in the response; with a redirect it would be kept in a cookie or a session."""
        return self._reveal(request, obj, request.__dict__.pop("nateq_issued_key"))

    @sensitive_variables()
    def _reveal(self, request: HttpRequest, obj: ApiKey, key: KeyText) -> HttpResponse:
        site: AdminSite = self.admin_site
        context = site.each_context(request) | {
            "title": _("API key"),
            "subtitle": str(obj),
            "opts": self.opts,
            "original": obj,
            "media": self.media,
            "key": key,
        }
        response = TemplateResponse(request, "admin/nateq_webhooks/apikey/created.html", context)
        response["Cache-Control"] = "no-store, private"
        return response

    @admin.action(description=gettext_lazy("Revoke the selected keys"), permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke keys; each one's history says so."""
        chosen = list(queryset.filter(revoked_at__isnull=True))
        alias = router.db_for_write(ApiKey)
        with transaction.atomic(using=alias):
            ApiKey.objects.using(alias).filter(pk__in=[key.pk for key in chosen]).revoke()
            for key in chosen:
                self._record(request, audit.Action.API_KEY_REVOKED, key)
        for key in chosen:
            self.log_change(request, key, [{"changed": {"fields": ["revoked"]}}])
        text = ngettext("%(number)s key is revoked.", "%(number)s keys are revoked.", len(chosen))
        self.message_user(request, text % {"number": len(chosen)}, messages.SUCCESS)
