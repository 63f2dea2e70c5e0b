"""The filters of the list of runs by a group of failures and by the error."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Iterator
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.failures import Failure, find_group
from nateq_webhooks.admin.permissions import PermittedRows, may_see_payload
from nateq_webhooks.dispatch.holds import held_condition, parked_condition
from nateq_webhooks.models.run import MAX_ERROR_CHARS
from nateq_webhooks.protocol.columns import column_text

FAILURE: Final = "failure"
"""The query parameter with the key of a group of failures."""

ERROR: Final = "error"
"""The query parameter with a part of the error."""

REPLAY: Final = "replay"
"""The query parameter with the number of a replay."""

HELD: Final = "held"
"""The query parameter that says whether runs are held back."""

PARAMETERS: Final = frozenset({FAILURE, ERROR, REPLAY, HELD})
"""The parameters of these filters. No index has them, so the time of a list with one is limited."""


class FailureFilter(admin.SimpleListFilter):
    """The runs of one line of the dashboard's failures; shown only if the address names one."""

    title: Any = gettext_lazy("kind of failure")
    parameter_name = FAILURE

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self._request = request
        self._site = model_admin.admin_site
        super().__init__(request, params, model, model_admin)

    @cached_property
    def group(self) -> Failure | None:
        """The group; None if it is gone: its runs have succeeded, or it was acknowledged."""
        permitted = PermittedRows(self._site, self._request)
        with_text = may_see_payload(self._request)
        receiver = self._request.GET.get("receiver") or None
        return find_group(str(self.value()), with_text=with_text, among=permitted, receiver=receiver)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the group that the address names."""
        key = self.value()
        if not key:
            return []
        if self.group is None:
            return [(key, _("No runs have failed like this, or not any more."))]
        return [(key, formatting.visible(self.group.error or self.group.exception) or _("none: its worker died"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the group's runs."""
        if not self.value():
            return queryset
        return queryset.none() if self.group is None else queryset.filter(pk__in=self.group.runs)

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return no counts."""
        return {f"{index}__c": "" for index, _choice in enumerate(self.lookup_choices)}


class ErrorFilter(admin.SimpleListFilter):
    """A part of the error, such as the name of its class, for users who may see errors. No index has it."""

    title: Any = gettext_lazy("error")
    parameter_name = ERROR
    template = "admin/nateq_webhooks/run/error_filter.html"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self._request = request
        super().__init__(request, params, model, model_admin)

    @property
    def text(self) -> str:
        """What is searched for; empty for all, and for users who may not see errors."""
        given = column_text((self.value() or "").strip(), MAX_ERROR_CHARS)
        return given if may_see_payload(self._request) else ""

    @property
    def shown_text(self) -> str:
        """What is searched for, with invisible characters shown."""
        return formatting.visible(self.text)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return no choices: the template has a field."""
        return []

    def has_output(self) -> bool:
        """Return whether the user may see errors, or gave one: Django ignores a filter without output."""
        return may_see_payload(self._request) or self.value() is not None

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the way back to all."""
        yield {
            "selected": not self.text,
            "query_string": changelist.get_query_string(remove=[ERROR]),
            "display": _("All"),
        }

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield the other parameters of the address, for the form."""
        for name, values in self._request.GET.lists():
            if name not in (ERROR, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs whose error contains the text; none for users who may not see errors."""
        if self.value() and not may_see_payload(request):
            return queryset.none()
        return queryset.filter(error__icontains=self.text) if self.text else queryset

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return no counts."""
        return {}


class ReplayFilter(admin.SimpleListFilter):
    """The runs of one replay, those that it brought forward, too; shown only if the address names one."""

    title: Any = gettext_lazy("replay")
    parameter_name = REPLAY

    @property
    def number(self) -> int | None:
        """The replay's number; None if it is no number of a replay."""
        text = str(self.value() or "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the replay that the address names."""
        return [(self.value() or "", formatting.visible(self.value() or ""))] if self.value() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the replay's runs."""
        if not self.value():
            return queryset
        return queryset.none() if self.number is None else queryset.filter(replayed_by__replay=self.number)

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return no counts."""
        return {f"{index}__c": "" for index, _choice in enumerate(self.lookup_choices)}


class HeldFilter(admin.SimpleListFilter):
    """Whether a pause or a rate limit holds a run back, or its receiver is unknown; shown only if asked for."""

    title: Any = gettext_lazy("held by a pause or a limit")
    parameter_name = HELD

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices once one is made."""
        return [("yes", _("Yes")), ("no", _("No")), ("parked", _("Unknown receiver"))] if self.value() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the runs that are held, those that are not, or those that wait for an unknown receiver."""
        match self.value():
            case "yes":
                return queryset.filter(held_condition(queryset.db))
            case "no":
                return queryset.exclude(held_condition(queryset.db) | parked_condition())
            case "parked":
                return queryset.filter(parked_condition())
            case _:
                return queryset

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return no counts."""
        return {f"{index}__c": "" for index, _choice in enumerate(self.lookup_choices)}
