"""The pages that an admin has beside Django's own: views that are given the admin they belong to."""

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.utils import quote
from django.db import connections, transaction
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy
from django.views import View

from nateq_webhooks import audit
from nateq_webhooks.protocol.columns import column_text


class AdminPage(View):
    """A page of a model's admin, which adds it to its URLs with `url_pattern`."""

    route: ClassVar[str]
    name: ClassVar[str]
    "The page is called `admin:APP_MODEL_NAME`, as Django's own are."
    manages_transactions: ClassVar[bool] = False
    "Whether the view commits by itself, also where ATOMIC_REQUESTS is set."
    http_method_names = ["get", "head", "post"]
    model_admin: Any = None  # as_view() accepts only what the class has

    @classmethod
    def url_pattern(cls, model_admin: "ModelAdmin[Any]") -> URLPattern:
        """Return the URL of the page on the site of `model_admin`."""
        view: Any = model_admin.admin_site.admin_view(cls.as_view(model_admin=model_admin))
        if cls.manages_transactions:
            for alias in connections:
                view = transaction.non_atomic_requests(alias)(view)
        opts = model_admin.opts
        pattern: URLPattern = path(cls.route, view, name=f"{opts.app_label}_{opts.model_name}_{cls.name}")
        return pattern

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer; the audit log names the user for what the page does."""
        with audit.acting(audit.Source.ADMIN, request.user.get_username()):
            return super().dispatch(request, *args, **kwargs)

    def url(self, page: str, *args: object, **query: str | int | UUID) -> str:
        """Return the address of another page of the same admin, such as "change"."""
        return admin_url(self.model_admin.admin_site, self.model_admin.model, page, *args, **query)

    def render(self, template: str, title: str, *, status: int = 200, **context: Any) -> TemplateResponse:
        """Return a page of `templates/admin/nateq_webhooks`, with the context that all of the site's pages have."""
        site = self.model_admin.admin_site
        self.request.current_app = site.name
        shared = {**site.each_context(self.request), "opts": self.model_admin.opts, "title": title}
        return TemplateResponse(
            self.request, f"admin/nateq_webhooks/{template}.html", {**shared, **context}, status=status
        )


class ReasonField(forms.CharField):
    """Why somebody did something, for those who read it later. What is too long is cut."""

    MAX_LENGTH: ClassVar[int] = 500
    "Characters that the columns hold."

    def to_python(self, value: Any) -> str:
        """Return the text as the columns store it."""
        return column_text(super().to_python(value) or "", self.MAX_LENGTH)


class PauseForm(forms.Form):
    """Why a webhook or a receiver is paused."""

    reason = ReasonField(
        label=gettext_lazy("Why"),
        widget=forms.TextInput(
            attrs={"class": "vTextField", "id": "nateq-reason", "maxlength": ReasonField.MAX_LENGTH}
        ),
        error_messages={"required": gettext_lazy("Give a reason, so that others know why it is paused.")},
    )


def admin_url(site: AdminSite, model: type[Model], page: str, *args: object, **query: str | int | UUID) -> str:
    """Return the address of a page of a model on an admin site; empty if the site does not have it."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    try:
        url = reverse(name, args=[quote(arg) for arg in args], current_app=site.name)  # type: ignore[arg-type]
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode({name: str(value) for name, value in query.items()})}" if query else url
