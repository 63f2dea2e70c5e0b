"""What the API shows of each row. Values that the site masks stay masked; secrets are in none of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.http import HttpRequest
from django.urls import NoReverseMatch

from nateq_webhooks.api.callers import Caller
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.failed_tries import failed_tries
from nateq_webhooks.dispatch.progress import Progress
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.inbox.diagnosis import Hint
from nateq_webhooks.inbox.shown_headers import shown_headers
from nateq_webhooks.models import Delivery, Rejection, Replay, Run, Webhook
from nateq_webhooks.models.redaction import mask_errors
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.remote.local_webhooks import secret_id, unknown_at_nateq

DELIVERY_COLUMNS: Final = (
    "webhook_id",
    "delivery_id",
    "event",
    "resource",
    "resource_id",
    "organization_id",
    "status",
    "timestamp",
    "received_at",
    "last_received_at",
    "attempt",
    "attempts_seen",
    "version",
    "notes",
    "remote_addr",
    "secret_id",
    "content_change",
    "content_changed_at",
)
"""The columns of a delivery in a list: none is large."""

RUN_COLUMNS: Final = (
    "delivery_id",
    "receiver",
    "round",
    "status",
    "tries",
    "created_at",
    "started_at",
    "finished_at",
    "duration",
    "next_try_at",
    "error",
)
"""The columns of a run; a traceback may have 20,000 characters."""


MAX_TRIES: Final = 1_000
"""Failed tries in one answer, the newest ones."""


def moment(value: datetime | None) -> str | None:
    """Return a time in ISO 8601, UTC."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def webhook_document(webhook: Webhook, request: HttpRequest) -> dict[str, Any]:
    """Return a webhook: Nateq's fields first, then ours."""
    return {
        "id": str(webhook.pk),
        "url": receiver_url(webhook, request),
        "events": event_names(webhook),
        "is_active": webhook.is_active,
        "created_at": moment(webhook.created_at),
        "name": webhook.name,
        "organization_id": webhook.organization_id,
        "registration": webhook.registration,
        "nateq_id": webhook.nateq_id,
        "modified_at": moment(webhook.modified_at),
    }


def secret_document(webhook: Webhook, request: HttpRequest, *, shows_secret: bool) -> dict[str, Any]:
    """Return a webhook with its new secret: the answer to its creation and its rotation, and to nothing else."""
    secret = webhook.secret if shows_secret else None
    notice = unknown_at_nateq(webhook) or None
    return webhook_document(webhook, request) | {"secret": secret, "secret_id": secret_id(webhook), "notice": notice}


def event_names(webhook: Webhook) -> list[str]:
    """Return the names of the events that a webhook subscribes to; none means all."""
    names = webhook.events if isinstance(webhook.events, list) else [webhook.events]
    return [name for name in names if isinstance(name, str) and name]


def receiver_url(webhook: Webhook, request: HttpRequest) -> str | None:
    """Return the address that Nateq posts to; null if no URL leads to the receiver."""
    try:
        return webhook.public_url or request.build_absolute_uri(webhook.get_absolute_url())
    except NoReverseMatch:
        return None


def delivery_document(delivery: Delivery, *, shows_webhook: bool) -> dict[str, Any]:
    """Return a delivery as a list has it."""
    return {
        "id": delivery.pk,
        "delivery_id": delivery.delivery_id,
        "webhook_id": str(delivery.webhook_id) if shows_webhook else None,
        "event": delivery.event,
        "resource": delivery.resource,
        "resource_id": delivery.resource_id,
        "organization_id": delivery.organization_id,
        "status": delivery.status,
        "happened_at": moment(delivery.timestamp),
        "received_at": moment(delivery.received_at),
        "last_received_at": moment(delivery.last_received_at),
        "attempt": delivery.attempt,
        "attempts_seen": delivery.attempts_seen,
        "version": delivery.version,
        "notes": delivery.notes,
        "remote_addr": delivery.remote_addr,
        "secret_id": delivery.secret_id,
        "content_change": delivery.content_change,
        "content_changed_at": moment(delivery.content_changed_at),
    }


def delivery_detail(delivery: Delivery, caller: Caller, *, shows_webhook: bool) -> dict[str, Any]:
    """Return a delivery with its headers and its payload: null for a caller that may not see what customers wrote."""
    return delivery_document(delivery, shows_webhook=shows_webhook) | {
        "is_superseded": delivery.is_superseded(),
        "size": len(delivery.body),
        "headers": _headers(delivery, caller),
        "payload": settings().redaction.masked(delivery.payload) if caller.sees_payloads else None,
    }


def _headers(delivery: Delivery, caller: Caller) -> dict[str, str | None]:
    signature = delivery.webhook.signature_header or settings().signature_header
    may = {"values": caller.sees_payloads, "signatures": caller.sees_secrets}
    return {header.name: header.value for header in shown_headers(delivery.headers, signature, **may)}


def run_document(run: Run, tries: Sequence[RunTry], caller: Caller) -> dict[str, Any]:
    """Return a run with its failed tries. Their errors may hold what customers wrote."""
    return {
        "id": run.pk,
        "receiver": run.receiver,
        "replay_id": run.round if run.is_replay else None,
        "status": run.status,
        "is_parked": run.is_parked,
        "tries": run.tries,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "duration_ms": _milliseconds(run.duration),
        "next_try_at": None if run.is_parked else moment(run.next_try_at),
        "error": run.error if caller.sees_payloads else None,
        "failed_tries": [try_document(each, caller) for each in tries],
    }


def try_document(failed: RunTry, caller: Caller) -> dict[str, Any]:
    """Return a failed try."""
    return {
        "number": failed.number,
        "started_at": moment(failed.started_at),
        "finished_at": moment(failed.finished_at),
        "duration_ms": _milliseconds(failed.duration),
        "error": failed.error if caller.sees_payloads else None,
    }


def tries_by_run(caller: Caller, runs: Sequence[Run]) -> Mapping[int, list[RunTry]]:
    """Return the failed tries of runs that the caller sees, by the run's key, the newest first: `MAX_TRIES` at most.

    Masks the errors of the runs and of their tries (`REDACT`).
    """
    found: dict[int, list[RunTry]] = {}
    if runs:
        alias = str(runs[0]._state.db)  # noqa: SLF001 - where the runs were read
        tries = failed_tries(alias, runs, MAX_TRIES, with_errors=caller.sees_payloads)
        if caller.sees_payloads:
            mask_errors(alias, runs, tries)
        for each in tries:
            found.setdefault(each.run_id, []).append(each)
    return found


def _milliseconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds() * 1000, 3)


def rejection_document(rejection: Rejection, caller: Caller) -> dict[str, Any]:
    """Return a refused request. The details of the likely cause may name another webhook."""
    hint = Hint.read(rejection.hint)
    names = rejection.header_names
    return {
        "id": rejection.pk,
        "webhook_id": None if rejection.webhook_id is None else str(rejection.webhook_id),
        "reason": rejection.reason,
        "received_at": moment(rejection.received_at),
        "remote_addr": rejection.remote_addr,
        "size": rejection.size,
        "header_names": names if isinstance(names, list) else [],
        "likely_cause": hint.code or None,
        "details": dict(hint.details) if caller.sees_all_rows else {},
        "further_refusals": hint.dropped,
    }


def runs_by_delivery(runs: Sequence[Run], caller: Caller) -> Mapping[int, list[dict[str, Any]]]:
    """Return what each receiver did, by the delivery's key: the newest round of each, with its failed tries."""
    newest: dict[tuple[int, str], Run] = {}
    for run in sorted(runs, key=lambda each: each.round):
        newest[run.delivery_id, run.receiver] = run
    found: dict[int, list[dict[str, Any]]] = {}
    tries = tries_by_run(caller, list(newest.values()))
    for run in newest.values():
        failed = [try_document(each, caller) for each in tries.get(run.pk, ())]
        found.setdefault(run.delivery_id, []).append(
            {"receiver": run.receiver, "status": run.status, "tries": run.tries, "failed_tries": failed}
        )
    return found


def replay_document(replay: Replay) -> dict[str, Any]:
    """Return a replay: what was done at once; the runs follow."""
    return {
        "id": replay.pk,
        "created_at": moment(replay.created_at),
        "receivers": replay.receivers,
        "reason": replay.reason,
        "by": replay.by,
        "runs": replay.runs,
        "brought_forward": replay.brought_forward,
        "already_running": replay.already_running,
        "skipped": replay.skipped,
        "without_content": replay.without_content,
        "disconnected": replay.disconnected,
    }


def job_document(found: Progress, *, shows_webhook: bool) -> dict[str, Any]:
    """Return a replay with its state, and how far it is."""
    replay = found.replay
    filters = Selection.from_json(replay.filters).as_json()
    for name in ("deliveries", "runs"):
        filters.pop(name, None)
    if not shows_webhook:
        filters.pop("webhook", None)
    return replay_document(replay) | {
        "filters": filters,
        "failed_only": replay.only_failed,
        "state": found.state.value,
        "percent": found.percent,
        "looked_through": found.looked_through,
        "deliveries": replay.deliveries,
        "succeeded": found.succeeded,
        "failed": found.failed,
        "left": found.left,
        "retrying": found.retrying,
        "waiting": found.waiting,
        "running": found.running,
        "held": found.held,
        "parked": found.parked,
        "runs_created_at": moment(replay.finished_at),
    }
