"""The rows of a page, with what its columns show, in a fixed number of statements."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

from nateq_webhooks.admin.changelists.peers import fetch_peers
from nateq_webhooks.admin.permissions import PermittedRows

if TYPE_CHECKING:
    from nateq_webhooks.admin.changelists.changelist import KeysetChangeList


def load_rows(changelist: "KeysetChangeList", request: HttpRequest, pks: Sequence[int]) -> list[Any]:
    """Load the rows of a page, in the order of its keys."""
    if not pks:
        return []
    spec = changelist.spec
    rows = spec.annotate(changelist.root_queryset).defer(*spec.deferred)
    by_pk = changelist.apply_select_related(rows).order_by().in_bulk(pks)
    found = [by_pk[pk] for pk in pks if pk in by_pk]
    permitted = PermittedRows(changelist.model_admin.admin_site, request)
    spec.mark_hidden(found, permitted)
    spec.complete(found, permitted, request)
    fetch_peers(found)
    return found
