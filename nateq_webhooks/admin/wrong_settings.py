"""What the admin's pages show while the settings are wrong: which of them, and what to do, instead of an error.

So does a form of webhooks that is posted while no secret can be saved.
"""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext

from nateq_webhooks.conf import Problem, problems, wrong_settings
from nateq_webhooks.database import encryption
from nateq_webhooks.models.secret_model import SecretModel


def guarded(model_admin: "ModelAdmin[Any]", pattern: URLPattern) -> URLPattern:
    """Return the URL of one of the admin's pages, which says what is wrong while the settings are."""
    view: Callable[..., HttpResponseBase] = pattern.callback
    explained: Any = model_admin.admin_site.admin_view(functools.partial(_explain, model_admin))

    @functools.wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if found := _problems(model_admin, request):
            answer: HttpResponseBase = explained(request, found)
            return answer
        return view(request, *args, **kwargs)

    return URLPattern(pattern.pattern, checked, pattern.default_args, pattern.name)


def _problems(model_admin: "ModelAdmin[Any]", request: HttpRequest) -> list[Problem]:
    """Return why the request can't be served: errors in the settings, or that no secret can be saved."""
    if wrong_settings():
        return list(problems())
    writes_secrets = request.method == "POST" and issubclass(model_admin.model, SecretModel)
    problem = encryption.why_secrets_are_refused() if writes_secrets else None
    return [] if problem is None else [problem]


def _explain(model_admin: "ModelAdmin[Any]", request: HttpRequest, found: list[Problem]) -> TemplateResponse:
    """Return the page, with status 503. Raises `PermissionDenied` for staff who may see nothing of the model."""
    if not model_admin.has_module_permission(request):
        raise PermissionDenied
    site = model_admin.admin_site
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "opts": model_admin.opts,
        "title": gettext("The settings are wrong"),
        "problems": found,
    }
    return TemplateResponse(request, "admin/nateq_webhooks/wrong_settings.html", context, status=503)
