"""What an action on the list of deliveries is about: the rows that were ticked, or all that the list's filters find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.dispatch import Selection
from nateq_webhooks.models import Delivery

MOST_COUNTED: Final = 10_000
"""Deliveries that are counted before it is said to be more."""

FIELDS: Final = ("webhook", "event", "status", "since", "until", "receiver")
"""The parts of a selection that a confirmation page hands on, as hidden fields."""

_LIST_PARAMETERS: Final = {
    "status__exact": "status",
    "status": "status",
    "event": "event",
    "webhook__id__exact": "webhook",
    "received_at__gte": "since",
    "received_at__lt": "until",
}
"""The list's filters, and what they are in a selection."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A selection, and how many deliveries it has: counted up to `MOST_COUNTED`."""

    selection: Selection
    count: int

    @property
    def is_many(self) -> bool:
        """Whether there are more than were counted."""
        return self.count > MOST_COUNTED

    @property
    def words(self) -> str:
        """How many, in words."""
        if self.is_many:
            return _("more than %(number)d deliveries") % {"number": MOST_COUNTED}
        return ngettext("%(number)d delivery", "%(number)d deliveries", self.count) % {"number": self.count}

    @property
    def hidden(self) -> dict[str, str]:
        """The selection as the fields of a form."""
        kept = self.selection.as_json()
        fields: dict[str, str] = {name: str(kept[name]) for name in FIELDS if name in kept}
        if self.selection.deliveries:
            fields["deliveries"] = ",".join(map(str, self.selection.deliveries))
        return fields


def chosen(selection: Selection) -> Chosen:
    """Count what a selection has."""
    return Chosen(selection, selection.of(Delivery.objects.all())[: MOST_COUNTED + 1].count())


def from_action(request: HttpRequest, queryset: QuerySet[Delivery]) -> Chosen:
    """Return what an action on the list is about.

    All that a search has found are taken by their keys, up to `MOST_COUNTED`: a search is no filter that can be kept.
    """
    if request.POST.get("select_across") != "1":
        return chosen(Selection(deliveries=_keys(request.POST.getlist(ACTION_CHECKBOX_NAME))))
    if request.GET.get("q", "").strip():
        return chosen(Selection(deliveries=tuple(queryset.values_list("pk", flat=True)[:MOST_COUNTED])))
    asked = {name: request.GET[name] for name in _LIST_PARAMETERS if name in request.GET}
    given = {_LIST_PARAMETERS[name]: value for name, value in asked.items()}
    return chosen(_selection(given))


def from_form(data: Any) -> Chosen:
    """Return what a confirmation page handed on. Raises `ValueError` for what no page of ours has sent."""
    given = {name: data.get(name, "") for name in FIELDS}
    keys = _keys(data.get("deliveries", "").split(",")) if data.get("deliveries") else ()
    return chosen(_selection(given, keys))


def _selection(given: dict[str, str], deliveries: tuple[int, ...] = ()) -> Selection:
    moments = {name: parse_datetime(given.get(name) or "") for name in ("since", "until")}
    exact = {name: given.get(name, "") for name in ("webhook", "event", "status", "receiver")}
    return Selection(**exact, **moments, deliveries=deliveries)  # type: ignore[arg-type]


def _keys(texts: Sequence[str]) -> tuple[int, ...]:
    """Return keys; raises `ValueError` for what is none."""
    return tuple(int(text) for text in texts[:MOST_COUNTED])
