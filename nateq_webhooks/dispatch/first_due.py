"""The runs that are due, of one hold or of none, from the first one on."""

import functools
from datetime import datetime

from nateq_webhooks.dispatch.claim_statements import first_due_run
from nateq_webhooks.dispatch.due_range import due_ranges
from nateq_webhooks.models import Run
from nateq_webhooks.models.run import NOT_HELD, RunQuerySet


def runs_from_first_due(
    alias: str, now: datetime, *, held_by: int = NOT_HELD, untried_since: datetime | None = None
) -> RunQuerySet | None:
    """Return the due runs that a hold, or none, holds back; None if there is none.

    With `untried_since`: only runs that nobody has started since. One SELECT, or two with `untried_since`. The rows
    begin with the first due one, so that the statements that follow don't read past dead entries either.
    """
    read = functools.partial(first_due_run, alias, held_by, now)
    first = due_ranges.runs(alias, held_by).first(read, now)
    if first is None:
        return None
    rows = Run.objects.using(alias).due(now, held_by=held_by).filter(next_try_at__gte=first)
    if untried_since is None:
        return rows
    untried = rows.not_started_since(untried_since)
    return untried if untried.exists() else None
