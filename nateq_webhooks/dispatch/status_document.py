"""The state of dispatch as JSON: for `nateq_status --json` and for the API."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from nateq_webhooks.dispatch.progress import Progress
from nateq_webhooks.dispatch.status import Status

UNREADABLE_SECRET: Final = "unreadable_secret"  # noqa: S105 - a code
"""What needs attention beside the troubles of dispatch: a signing secret can't be read."""


def document(found: Status, troubles: list[str]) -> dict[str, Any]:
    """Return the status; `troubles` are the codes of what needs attention."""
    return {
        "now": _moment(found.now),
        "undispatched": found.undispatched,
        "oldest_due": _moment(found.oldest_due),
        "lag_seconds": round(found.lag.total_seconds(), 3),
        "receivers": {name: asdict(counts) for name, counts in found.receivers.items()},
        "paused": [
            {
                "scope": hold.scope,
                "since": _moment(hold.paused_at),
                "by": hold.paused_by,
                "reason": hold.reason,
                "automatic": hold.is_automatic,
            }
            for hold in found.paused
        ],
        "workers": [{"name": worker.name, "seen_at": _moment(worker.seen_at)} for worker in found.workers],
        "replays": [_replay(progress) for progress in found.replays],
        "needs_attention": troubles,
    }


def _replay(progress: Progress) -> dict[str, Any]:
    replay = progress.replay
    return {
        "id": replay.pk,
        "share_done": progress.percent / 100,
        "runs": replay.runs,
        "brought_forward": replay.brought_forward,
        "already_running": replay.already_running,
        "skipped": replay.skipped,
        "without_content": replay.without_content,
        "disconnected": replay.disconnected,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        "left": progress.left,
        "retrying": progress.retrying,
        "waiting": progress.waiting,
        "running": progress.running,
        "held": progress.held,
        "parked": progress.parked,
    }


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")
