"""What a page says about a search that reads rows one by one: how far it looked, what it found, how to go on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import SEARCH_VAR
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import payload_index
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.page_links import Link
from nateq_webhooks.admin.changelists.search import IdSearch, PayloadSearch
from nateq_webhooks.admin.changelists.text_search import PayloadText, likely_paths
from nateq_webhooks.database.keyset import cursor

if TYPE_CHECKING:
    from nateq_webhooks.admin.changelists.changelist import KeysetChangeList


def why_empty(changelist: "KeysetChangeList") -> str:
    """Return what a page without rows has looked for; empty for a list without filters and search."""
    is_filtered = bool(changelist.get_filters_params())
    if isinstance(changelist.list_query.search, IdSearch):
        if changelist.spec.is_search_limited:
            return _("Nothing contains this text.")
        if is_filtered and changelist.has_id():
            return _("There are rows with this id, but the filters exclude them.")
        return _("Nothing has exactly this id.")
    return _("Nothing fits all of the filters.") if is_filtered else ""


class SearchReach:
    """How far a page has looked. Each sentence is true of this page alone."""

    def __init__(self, changelist: "KeysetChangeList") -> None:
        self._changelist = changelist
        self._found = changelist.page.found
        self._search = changelist.list_query.search

    def sentences(self) -> Iterator[str]:
        """Yield what was looked at, what was found, and what was not looked at."""
        number = len(self._changelist.page.pks)
        yield self._looked_through()
        if number == 0:
            yield _("Nothing was found there.")
        else:
            found = ngettext("%(number)s delivery was found.", "%(number)s deliveries were found.", number)
            yield found % {"number": formatting.number(number)}
        if self._changelist.get_filters_params():
            yield _("Only deliveries that the filters leave were looked at.")
        if self.used_index:
            if isinstance(self._search.wanted, PayloadText):  # type: ignore[union-attr]
                yield _(
                    "Older ones were searched through the index, for exactly this value in one of the fields below."
                )
            else:
                yield _("Older ones were searched through the index.")
        elif self._found.stopped_at is not None:
            yield _("The rest was not looked at.")
        if number == 0 and isinstance(self._search, PayloadSearch) and isinstance(self._search.wanted, PayloadText):
            yield _(
                "A value that is stored with other spaces, or with capital letters at other places, is not found: "
                "try a part of it."
            )

    def _looked_through(self) -> str:
        number, end = self._found.rows_scanned, self._scan_end
        shown = {"number": formatting.number(number), "moment": end}
        if self._changelist.cursor == cursor.FIRST and self._changelist.newest_first:
            if end:
                text = ngettext(
                    "Looked through the %(number)s newest delivery, back to %(moment)s.",
                    "Looked through the %(number)s newest deliveries, back to %(moment)s.",
                    number,
                )
            else:
                text = ngettext(
                    "Looked through %(number)s delivery, which is all.",
                    "Looked through %(number)s deliveries, which is all.",
                    number,
                )
        elif end:
            text = ngettext(
                "Looked through %(number)s further delivery, as far as %(moment)s.",
                "Looked through %(number)s further deliveries, as far as %(moment)s.",
                number,
            )
        else:
            text = ngettext(
                "Looked through %(number)s further delivery, up to the end of the list.",
                "Looked through %(number)s further deliveries, up to the end of the list.",
                number,
            )
        return text % shown

    @property
    def _scan_end(self) -> str:
        """When the last row that was read came; empty if it was the last one of the list."""
        key = self._found.scanned_to
        return "" if key is None else self._changelist.date_of(key) or str(key)

    @property
    def used_index(self) -> bool:
        """Whether the rows that were not read have been searched through the index."""
        return self._found.used_index

    @property
    def advice(self) -> str:
        """What would make the search complete; empty if nothing would."""
        alias = self._changelist.root_queryset.db
        is_payload = isinstance(self._search, PayloadSearch)
        if not is_payload or self._changelist.list_query.has_payload_index or not payload_index.is_possible(alias):
            return ""
        return _(
            "With the optional index (manage.py nateq_payload_index create) an exact value in one field is found at "
            "once, however old the delivery is."
        )

    def further_link(self) -> Link | None:
        """Return the link that continues the scan where it stopped."""
        changelist = self._changelist
        if self._found.stopped_at is None or len(changelist.page.pks) == changelist.list_per_page:
            return None
        rel = "prev" if changelist.cursor.is_backwards else "next"
        return next((link for link in changelist.page_links() if link.rel == rel), None)

    def fields(self) -> list[Link]:
        """Return the links that search one field of the payload for exactly the text."""
        wanted = self._search.wanted if isinstance(self._search, PayloadSearch) else None
        if not isinstance(wanted, PayloadText):
            return []
        changelist: Any = self._changelist
        paths = likely_paths(wanted.text, changelist.model_admin.payload_fields)
        return [
            Link(changelist.get_query_string({SEARCH_VAR: f"{path}={wanted.text}"}), formatting.visible(path))
            for path in paths
        ]
