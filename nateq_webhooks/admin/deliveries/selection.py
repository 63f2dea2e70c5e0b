"""What an action on the list of deliveries is about: the rows that were ticked, or all that the list's filters find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK
from nateq_webhooks.admin.changelists.period_filter import absolute
from nateq_webhooks.admin.deliveries.selection_form import MAX_KEYS, SelectionForm
from nateq_webhooks.admin.permissions import is_narrowed
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import count_of, keys_of
from nateq_webhooks.models import Delivery

MAX_COUNTED: Final = 10_000
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

_NO_FILTERS: Final = frozenset({"q", "o", "p", "cursor", "_facets", "e", FIND_WEBHOOK})
"""What else an address of the list may hold, and leaves no delivery out."""

_BATCH_SIZE: Final = 500
"""Deliveries that are read at a time where a project decides on each one."""

_EVERYTHING: Final = "everything"
"""The field that says that all deliveries are meant: a form without any field must not mean that."""


@dataclass(frozen=True, slots=True)
class SelectableDeliveries:
    """The deliveries that a user may select: the rows of the admin, and the permission check of each one, if any."""

    rows: QuerySet[Delivery]
    may_view: Callable[[Delivery], bool] | None = None
    "For a project that decides delivery by delivery."

    @property
    def is_everything(self) -> bool:
        """Whether no delivery is hidden from the user."""
        return self.may_view is None and not is_narrowed(self.rows)

    def permitted(self, keys: Sequence[int]) -> list[int]:
        """Return those of the keys whose deliveries the user may see, in their order."""
        if self.may_view is None:
            return list(keys)
        found: list[int] = []
        for start in range(0, len(keys), _BATCH_SIZE):
            rows = self.rows.defer("body", "payload", "headers").in_bulk(keys[start : start + _BATCH_SIZE])
            found += [key for key, delivery in rows.items() if self.may_view(delivery)]
        return sorted(found)


@dataclass(frozen=True, slots=True)
class SelectedDeliveries:
    """A selection among what the user may see, with the number of its deliveries, counted up to `MAX_COUNTED`."""

    selection: Selection
    count: int
    among: SelectableDeliveries

    def keys(self, most: int) -> list[int]:
        """Return the keys of the first `most` deliveries, in the order they came."""
        return self.among.permitted(keys_of(self.selection, most, self.among.rows))

    def for_job(self) -> Selection:
        """Return the selection for a background job, which has no user: by keys if deliveries are hidden from the user.

        Raises `LookupError` when no delivery is left.
        """
        if self.among.is_everything:
            return self.selection
        keys = tuple(self.keys(MAX_COUNTED))
        if not keys:
            raise LookupError(_("None of these deliveries is there any more."))
        return Selection(receiver=self.selection.receiver, deliveries=keys)

    @property
    def is_cut(self) -> bool:
        """Whether a job does not get all of them."""
        return self.is_many and not self.among.is_everything

    @property
    def is_many(self) -> bool:
        """Whether there are more than were counted."""
        return self.count > MAX_COUNTED

    @property
    def count_text(self) -> str:
        """How many, in words."""
        if self.is_many:
            return _("more than %(number)s deliveries") % {"number": formatting.number(MAX_COUNTED)}
        text = ngettext("%(number)s delivery", "%(number)s deliveries", self.count)
        return text % {"number": formatting.number(self.count)}

    @property
    def form_fields(self) -> dict[str, str]:
        """The selection as the fields of a form."""
        kept = self.selection.as_json()
        fields: dict[str, str] = {name: str(kept[name]) for name in FIELDS if name in kept}
        if self.selection.deliveries:
            fields["deliveries"] = ",".join(map(str, self.selection.deliveries))
        return fields or {_EVERYTHING: "yes"}


def select(selection: Selection, among: SelectableDeliveries) -> SelectedDeliveries:
    """Return the selection with the number of its deliveries."""
    if among.may_view is None:
        return SelectedDeliveries(selection, count_of(selection, MAX_COUNTED + 1, among.rows), among)
    return SelectedDeliveries(selection, len(among.permitted(keys_of(selection, MAX_COUNTED + 1, among.rows))), among)


def from_action(request: HttpRequest, queryset: QuerySet[Delivery], among: SelectableDeliveries) -> SelectedDeliveries:
    """Return what an action on the list is about. Raises `ValidationError` if that is nothing.

    All that a search has found are taken by their keys, up to `MAX_COUNTED`: a search is no filter that can be kept.
    The same goes for a filter that a project added, and for one with several values.
    """
    if request.POST.get("select_across") != "1":
        return select(
            SelectionForm({"deliveries": ",".join(request.POST.getlist(ACTION_CHECKBOX_NAME))}).selection, among
        )
    known = _NO_FILTERS | _LIST_PARAMETERS.keys()
    if request.GET.get("q", "").strip() or any(
        name not in known or (name in _LIST_PARAMETERS and len(values) > 1) for name, values in request.GET.lists()
    ):
        return _by_keys(tuple(queryset.values_list("pk", flat=True)[:MAX_KEYS]), among)
    asked = {name: request.GET[name] for name in _LIST_PARAMETERS if name in request.GET}
    given = {_LIST_PARAMETERS[name]: absolute(value) for name, value in asked.items()}
    return select(SelectionForm(given or {_EVERYTHING: "yes"}).selection, among)


def _by_keys(keys: tuple[int, ...], among: SelectableDeliveries) -> SelectedDeliveries:
    """Return the deliveries of these keys. Raises `ValidationError` without any: a selection without keys means all."""
    if not keys:
        raise ValidationError(_("No delivery is named."))
    return select(Selection(deliveries=keys), among)
