"""The rows of a run's failed tries, written in the transaction that records the failure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from nateq_webhooks.models import Run
from nateq_webhooks.models.run_try import MAX_TRIES_KEPT, RunTry


def record_try(alias: str, run: Run, *, started_at: datetime, finished_at: datetime, error: str) -> None:
    """Record a failed try, `run.tries`, and delete the oldest one if the run has had too many."""
    failed = RunTry(
        run_id=run.pk,
        number=run.tries,
        started_at=started_at,
        finished_at=finished_at,
        duration=finished_at - started_at,
        error=error,
    )
    # If somebody has set `tries` back in the database, the failure itself must still be recorded.
    RunTry.objects.using(alias).bulk_create([failed], ignore_conflicts=True)
    _delete_old(alias, run)


def record_abandoned(alias: str, runs: Iterable[Run], now: datetime, error: str) -> None:
    """Record the last try of runs whose worker died or hung. The caller has claimed them, or given them up.

    A process that claims without row locks may have lost some of the runs to another one, which recorded them first.
    """
    for run in runs:
        tries = RunTry.objects.using(alias).filter(run_id=run.pk, number=run.tries)
        if not tries.exists():
            RunTry.objects.using(alias).create(
                run_id=run.pk, number=run.tries, started_at=run.started_at, finished_at=now, error=error
            )
            _delete_old(alias, run)


def failed_tries(alias: str, runs: Sequence[Run], limit: int, *, with_errors: bool) -> list[RunTry]:
    """Return the failed tries of runs, the newest first. Without `with_errors` their texts are not read."""
    keys = [run.pk for run in runs if run.tries]
    if not keys:
        return []
    rows = RunTry.objects.using(alias).filter(run__in=keys).order_by("-finished_at", "-pk")
    return list((rows if with_errors else rows.defer("error"))[:limit])


def _delete_old(alias: str, run: Run) -> None:
    if run.tries > MAX_TRIES_KEPT:
        RunTry.objects.using(alias).filter(run_id=run.pk, number__lte=run.tries - MAX_TRIES_KEPT).delete()
