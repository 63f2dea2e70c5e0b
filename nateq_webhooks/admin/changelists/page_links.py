"""The links from a page of a list to its neighbours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _

from nateq_webhooks.admin.changelists.search import IdSearch, PayloadSearch
from nateq_webhooks.database.keyset import cursor

if TYPE_CHECKING:
    from nateq_webhooks.admin.changelists.changelist import KeysetChangeList

CURSOR_VAR: Final = "cursor"

TEXT_VAR: Final = "in_payload"
"""The query parameter that searches payloads also for a term that is an id."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another page of the list."""

    url: str
    label: str
    rel: str = ""


def page_links(changelist: "KeysetChangeList") -> list[Link]:
    """Return the links to the neighbouring pages."""
    page = changelist.page

    def link(value: str | None, label: str, rel: str = "") -> Link:
        is_text = isinstance(changelist.list_query.search, PayloadSearch)
        return Link(changelist.get_query_string({CURSOR_VAR: value, TEXT_VAR: "1" if is_text else None}), label, rel)

    links = []
    if changelist.cursor != cursor.FIRST:
        links.append(link(None, _("First page")))
    if page.previous is not None:
        links.append(link(page.previous, _("Previous page"), "prev"))
    if page.next is not None:
        further = _("Search further back") if changelist.newest_first else _("Search further on")
        is_short = changelist.is_limited and len(page.pks) < changelist.list_per_page
        links.append(link(page.next, further if is_short else _("Next page"), "next"))
    if page.next is not None and not changelist.is_limited:
        links.append(link(cursor.LAST, _("Last page")))
    return links


def text_link(changelist: "KeysetChangeList") -> Link | None:
    """Return the link that searches payloads for a term that was found as an id."""
    if not isinstance(changelist.list_query.search, IdSearch) or not changelist.spec.searches_payloads:
        return None
    return Link(changelist.get_query_string({TEXT_VAR: "1"}), _("Search the payloads for it, too"))
