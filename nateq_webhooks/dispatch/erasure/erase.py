"""Erasing from code: the whole erasure in one call."""

from collections.abc import Callable
from datetime import datetime

from nateq_webhooks.dispatch.erasure.criteria import Criteria, Where
from nateq_webhooks.dispatch.erasure.report import ErasureReport
from nateq_webhooks.dispatch.erasure.steps import Erasure

Progress = Callable[[ErasureReport, float], None]
"""Is called after each batch, with the report so far and the share that is done, from 0 to 1."""


def erase(
    where: Where = (),
    organization: str = "",
    since: datetime | None = None,
    *,
    blank: bool = False,
    names_everywhere: bool = False,
    dry_run: bool = False,
    by: str = "",
    using: str | None = None,
    progress: Progress | None = None,
) -> ErasureReport:
    """Erase what concerns a person or an organization, in every table of this package; return what was found where.

    `where` are paths in the envelope and values, such as `{"data.requester.id": "usr_9"}`; a delivery with one of them
    concerns the person. `organization` alone is everything of the organization; with `where`, the person's deliveries
    in it. `since` leaves older deliveries alone; without a time zone it is in UTC. The deliveries are deleted, or with
    `blank` they stay without what they say of the person; what other rows quote is blanked. Other people's deliveries
    that quote only a name or a short number are left alone, and counted; `names_everywhere` treats these like an id.
    `dry_run` counts and changes nothing. `by` is who does it, for the audit log. The same call continues one that was
    interrupted. Call it outside of a transaction.

    Raises `ErasureError` if the criteria are unusable, before anything is changed, and `django.db.Error`.
    """
    criteria = Criteria.of(where, organization, since, names_everywhere=names_everywhere)
    erasure = Erasure(criteria, alias=using, is_blank=blank, is_dry_run=dry_run, by=by)
    while erasure.advance():
        if progress is not None:
            progress(erasure.report, erasure.share_done)
    return erasure.report
