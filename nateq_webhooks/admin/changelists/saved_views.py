"""Saved views: filters of a list as plain links, which can be bookmarked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.views.main import SEARCH_VAR
from django.http import QueryDict
from django.utils.translation import gettext as _

from nateq_webhooks.admin.changelists.filters import ColumnFilter, WebhookFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter

if TYPE_CHECKING:
    from nateq_webhooks.admin.changelists.changelist import KeysetChangeList

MAX_WEBHOOKS: Final = 8
"""With more webhooks the filter finds one by name."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A view that a model admin offers."""

    label: Any
    query: str
    "The query of its address, such as `status__exact=failed&received_at__gte=-1h`; empty for all rows."


@dataclass(frozen=True, slots=True)
class ViewLink:
    """A saved view as a link."""

    label: str
    url: str
    is_current: bool


def view_links(changelist: "KeysetChangeList", views: Sequence[SavedView]) -> list[ViewLink]:
    """Return the links to the views, and one to each webhook if there are a few."""
    if not views:
        return []
    current = {name: sorted(values) for name, values in changelist.filter_params.items()}
    if changelist.query:
        current[SEARCH_VAR] = [changelist.query]
    offered = [SavedView(_("All"), ""), *views, *_of_webhooks(changelist)]
    return [
        ViewLink(
            str(view.label),
            f"?{view.query}",
            is_current={name: sorted(values) for name, values in QueryDict(view.query).lists()} == current,
        )
        for view in offered
    ]


def active_filters(changelist: "KeysetChangeList") -> list[str]:
    """Return what is selected in the filters, in words."""
    found: list[str] = []
    for spec in changelist.filter_specs:
        if isinstance(spec, (ColumnFilter, PeriodFilter)):
            found += spec.selected_labels()
        elif any(name in changelist.filter_params for name in spec.expected_parameters() if name):
            found.append(str(spec.title))
    return found


def _of_webhooks(changelist: "KeysetChangeList") -> Iterator[SavedView]:
    """Yield a view of each webhook that the filter offers; none if there is only one, or too many."""
    for spec in changelist.filter_specs:
        if isinstance(spec, WebhookFilter) and not spec.search_term and not spec.has_more:
            choices = list(spec.lookup_choices)
            if 1 < len(choices) <= MAX_WEBHOOKS:
                yield from (SavedView(name, f"{spec.lookup_kwarg}={key}") for key, name in choices)
