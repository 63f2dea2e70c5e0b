"""An action on deliveries that asks first: the list or the address says what it is about, and a page confirms it."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from nateq_webhooks.admin.biglist.time_limit import MAX_SECONDS, TookTooLongError, limited
from nateq_webhooks.admin.deliveries.selection import Choosable, Chosen, from_form
from nateq_webhooks.admin.permissions import judges_rows
from nateq_webhooks.models import Delivery

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Delivery]
else:  # mixed into Django's class
    _Base = object


class ConfirmingAdmin(_Base):
    """What the pages that confirm an action have in common."""

    def choosable(self, request: HttpRequest) -> Choosable:
        """Return the deliveries that an action of the user may be about."""
        may_view = functools.partial(self.has_view_permission, request) if judges_rows(self) else None
        return Choosable(self.get_queryset(request), may_view)

    def about(
        self, request: HttpRequest, find: Callable[[], Chosen], then: Callable[[Chosen], HttpResponseBase]
    ) -> HttpResponseBase:
        """Answer for what was chosen; what no page of ours has sent is a clear answer."""
        try:
            with limited(self.get_queryset(request).db):
                which = find()
        except (ValueError, ValidationError):
            return HttpResponseBadRequest(_("These are no deliveries."))
        except TookTooLongError:
            told = _("Counting these deliveries takes longer than %(seconds)d seconds. Choose fewer, by a filter.")
            return HttpResponseBadRequest(told % {"seconds": MAX_SECONDS})
        return then(which)

    def confirmed(
        self,
        request: HttpRequest,
        ask: Callable[[HttpRequest, Chosen], HttpResponse],
        act: Callable[[HttpRequest, Chosen], HttpResponseBase],
    ) -> HttpResponseBase:
        """Ask about what the address names (GET), or do what was confirmed (POST)."""
        is_confirmed = request.method == "POST"
        data = request.POST if is_confirmed else request.GET
        among = self.choosable(request)
        return self.about(
            request, lambda: from_form(data, among), lambda which: (act if is_confirmed else ask)(request, which)
        )

    def confirmation(
        self, request: HttpRequest, which: Chosen, *, page: str, title: str, **more: Any
    ) -> TemplateResponse:
        """Return the page that asks; its template gets what was chosen, and `more`."""
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "chosen": which,
            "hidden": which.hidden,
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, f"admin/nateq_webhooks/delivery/{page}.html", context)
