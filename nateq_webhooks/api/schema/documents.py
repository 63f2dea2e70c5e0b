"""What the answers have in them, as JSON Schema. A test validates every answer that a test of the API gets."""

from collections.abc import Mapping
from typing import Final

from nateq_webhooks.api.schema.json_types import (
    Schema,
    by_name,
    fields,
    flag,
    listing,
    moment,
    number,
    or_null,
    ref,
    text,
    uuid,
    whole,
    words,
)
from nateq_webhooks.dispatch.progress import ReplayState
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.api import ErrorCode, LogStatus

_DELIVERY: Final = {
    "id": whole("The delivery's id here."),
    "delivery_id": text("The sender's id of the delivery."),
    "webhook_id": or_null(uuid("The webhook that received it; null if the caller does not see that webhook.")),
    "event": text("What happened, such as `ticket.created`."),
    "resource": text("The kind of thing that the event is about, such as `ticket`."),
    "resource_id": text("The id of that thing."),
    "organization_id": text("The organization that the delivery names."),
    "status": ref("DeliveryStatus"),
    "happened_at": or_null(moment("When the event happened, as the sender says.")),
    "received_at": moment("When the first attempt came."),
    "last_received_at": moment("When the latest attempt came."),
    "attempt": or_null(whole("The sender's number of the attempt that was stored.")),
    "attempts_seen": whole("How many attempts came."),
    "version": text("The version of the envelope."),
    "notes": listing(text(), "What was unusual about the envelope, as codes."),
    "remote_addr": or_null(text("The address that sent it.")),
    "secret_id": text("Which secret verified it: an id, never the secret."),
    "content_change": or_null(
        text("Why the content is not what was received: `retention`, `erasure` or `redaction`; null: it is.")
    ),
    "content_changed_at": or_null(moment("When the content was removed, erased or redacted.")),
}

_COUNTS: Final = {
    "waiting": whole("Runs that were not tried yet."),
    "running": whole("Runs that a process works on."),
    "failing": whole("Runs that failed and will be tried again."),
    "dead": whole("Runs that were given up and not replayed since."),
    "held": whole("Runs that a pause or the order holds back."),
    "orphaned": whole("Runs whose receiver no process knows."),
}

_REPLAYED: Final = {
    "runs": whole("How many runs it made."),
    "brought_forward": whole("How many waiting runs it brought forward instead."),
    "already_running": whole("For how many receivers nothing was done, because their run had started."),
    "skipped": whole("With `failed_only`: how many failed runs were left alone, because a later round has succeeded."),
    "without_content": whole("How many deliveries were left out, because their content was removed."),
    "disconnected": whole(
        "With `failed_only`: how many failed runs were left alone, as their receiver is not connected to the event."
    ),
}

_NUMBERS_OF_RUNS: Final = {
    "succeeded": whole("How many of its runs succeeded."),
    "failed": whole("How many of its runs were given up or dropped."),
    "left": whole("How many of its runs have not finished: those that are retrying, waiting, running, held or parked."),
    "retrying": whole("How many have failed and will be tried again."),
    "waiting": whole("How many were not tried yet."),
    "running": whole("How many a process works on."),
    "held": whole("How many a pause or a rate limit holds back."),
    "parked": whole("How many wait for a receiver that no process knows."),
}

_NEEDS_WORKER: Final = flag("Whether nobody runs it: start a worker.")

_REPLAY: Final = {
    "id": whole("The replay's id."),
    "created_at": moment("When it was asked for."),
    "receivers": or_null(listing(text(), "The receivers that run again; null: all that are connected.")),
    "reason": text("Why, as the caller says."),
    "by": text("The key or the user that asked for it."),
    **_REPLAYED,
}

_REPLAY_JOB: Final = _REPLAY | {
    "filters": ref("ReplayFilters"),
    "failed_only": flag("Whether only those receivers run again whose last run failed."),
    "state": ref("ReplayState"),
    "percent": whole("How much is done; 100 when all of its runs have finished."),
    "looked_through": whole("How many percent of the deliveries were looked at: 100 when all runs are created."),
    "deliveries": whole("How many deliveries were found so far."),
    **_NUMBERS_OF_RUNS,
    "runs_created_at": or_null(moment("When the last of its runs was created.")),
}

_WEBHOOK: Final = {
    "id": uuid("The webhook's id here."),
    "url": or_null(text("The address that Nateq posts to; null if no URL of the site leads to the receiver.")),
    "events": listing(text(), "The events that it subscribes to; none means all."),
    "is_active": flag("Whether it accepts deliveries."),
    "created_at": moment("When it was made."),
    "name": text("Your name for it."),
    "organization_id": text("The only organization whose deliveries it accepts; empty: any."),
    "registration": ref("Registration"),
    "nateq_id": text("Its id at Nateq; empty if not known."),
    "modified_at": moment("When it was last changed."),
}

DOCUMENTS: Final[Mapping[str, Schema]] = {
    "ErrorAnswer": fields(
        "An answer that did not succeed.",
        success={"type": "boolean", "const": False, "description": "False."},
        error=ref("Error"),
    ),
    "Error": {
        "type": "object",
        "description": "What is wrong.",
        "properties": {
            "code": ref("ErrorCode"),
            "message": text("What is wrong, for a person."),
            "details": {"description": "What is wrong, for a program: by the names of parameters, for instance."},
        },
        "required": ["code", "message"],
    },
    "ErrorCode": words(ErrorCode, "What is wrong, for a program."),
    "Webhook": fields("A webhook, without its secret.", **_WEBHOOK),
    "WebhookWithSecret": fields(
        "A webhook with its new secret: no other answer has it.",
        **_WEBHOOK,
        secret=or_null(text("The secret; null for a user that may not see it, or if it is no longer the webhook's.")),
        secret_id=text("The id by which a delivery says what signed it."),
        notice=or_null(text("What is left to do so that Nateq posts to it, in words; null: it is registered there.")),
    ),
    "WebhookDeletion": fields(
        "What became of a webhook that was to be deleted.",
        id=uuid("The webhook's id here."),
        deleted=flag("False: it was deleted at Nateq, but has deliveries, so it is kept here, switched off."),
        notice=or_null(text("What may be left at Nateq, in words; null: it was deleted there, too.")),
    ),
    "Registration": words(Webhook.Registration.values, "How a webhook was set up at Nateq."),
    "EventType": fields(
        "An event that a webhook may subscribe to.",
        name=text("Its name."),
        description=text("When it is sent."),
    ),
    "LogEntry": fields(
        "An attempt of the sender.",
        id=text("The id of the entry."),
        delivery_id=text("The sender's id of the delivery."),
        event=text("What happened."),
        attempt=or_null(whole("The sender's number of the attempt.")),
        status=or_null(ref("LogStatus")),
        response_status=or_null(whole("The HTTP status that was answered.")),
        response_body=or_null(text("Not stored here: null.")),
        duration_ms=or_null(whole("Not stored here: null.")),
        attempted_at=moment("When it came."),
        next_attempt_at=or_null(moment("Not known here: null.")),
        payload=or_null(by_name({}, "Not in the log: null. See the delivery.")),
        delivery=whole("The delivery's id here."),
        remote_addr=or_null(text("The address that sent it.")),
        receivers=listing(ref("LogReceiver"), "What each receiver did; of the first attempt only."),
    ),
    "LogStatus": words(LogStatus, "What became of an attempt; null if that depended on the receivers."),
    "LogReceiver": fields(
        "What a receiver did with a delivery.",
        receiver=text("Its name."),
        status=ref("RunStatus"),
        tries=whole("How often it was tried."),
        failed_tries=listing(ref("FailedTry"), "The tries that failed, the newest first."),
    ),
    "FailedTry": fields(
        "A try that failed, or that ended because the worker died.",
        number=whole("1 is the first try of the run."),
        started_at=or_null(moment("When it started.")),
        finished_at=moment("When the failure was recorded."),
        duration_ms=or_null(number("How long it took; null if the worker died.")),
        error=or_null(text("The error; null for a caller that may not see payloads.")),
    ),
    "DeliveryStatus": words(Delivery.Status.values, "The status of a delivery."),
    "Delivery": fields("A delivery, as a list has it.", **_DELIVERY),
    "DeliveryDetail": fields(
        "A delivery with its headers and its payload.",
        **_DELIVERY,
        is_superseded=flag("Whether a newer event about the same thing came."),
        size=whole("Bytes of the body."),
        headers=by_name(
            or_null(text()),
            "The headers that are stored; the values are null for a caller that may not see payloads. One that may "
            "not replace secrets sees only the first characters of the signature.",
        ),
        payload=or_null(by_name({}, "The body; null for a caller that may not see payloads.")),
    ),
    "RunStatus": words(Run.Status.values, "The status of a run."),
    "Run": fields(
        "What one receiver did with a delivery.",
        id=whole("The run's id."),
        receiver=text("The name of the receiver."),
        replay_id=or_null(whole("The replay that made it; null: it was made when the delivery came.")),
        status=ref("RunStatus"),
        is_parked=flag("Whether it waits for a receiver that no process knows."),
        tries=whole("How often it was tried."),
        created_at=moment("When it was made."),
        started_at=or_null(moment("When the latest try started.")),
        finished_at=or_null(moment("When it finished.")),
        duration_ms=or_null(number("How long the latest try took.")),
        next_try_at=or_null(moment("When it will be tried; while it runs, when it is taken for dead.")),
        error=or_null(text("The latest error; null for a caller that may not see payloads.")),
        failed_tries=listing(ref("FailedTry"), "The tries that failed, the newest first."),
    ),
    "Rejection": fields(
        "A request that was refused.",
        id=whole("The id of the refusal."),
        webhook_id=or_null(uuid("The webhook that it was sent to; null: no webhook has the id in the URL.")),
        reason=text("Why it was refused, as a code."),
        received_at=moment("When it came."),
        remote_addr=or_null(text("The address that sent it.")),
        size=or_null(whole("Bytes of the body, if known.")),
        header_names=listing(text(), "The names of its headers."),
        likely_cause=or_null(text("The likely cause, as a code; null if there is none.")),
        details=by_name({}, "More about the cause; empty for a caller that does not see all rows."),
        further_refusals=whole("How many more were refused at that time and not stored."),
    ),
    "Replay": fields(
        "A replay: what was done at once. The runs follow.",
        **_REPLAY,
        needs_worker=_NEEDS_WORKER,
    ),
    "ReplayState": words(ReplayState, "The state of a replay; `cancelled`: what was created still runs."),
    "ReplayFilters": {
        "type": "object",
        "description": "What the deliveries of a replay were chosen by; nothing: all, or by hand.",
        "properties": {
            "status": text("Their status."),
            "event": text("Their event."),
            "webhook": uuid("Their webhook; not there if the caller does not see it."),
            "resource": text("The id of what their event is about."),
            "organization": text("The organization that they name."),
            "since": moment("They were received at this time or later."),
            "until": moment("They were received before this time."),
            "receiver": text("A receiver whose run had failed."),
            "run_status": text("The status of that run."),
            "error": text("A part of that run's error."),
            "runs_since": moment("That run was created at this time or later."),
            "runs_until": moment("That run was created before this time."),
        },
    },
    "ReplayJob": fields("A replay, and how far it is.", **_REPLAY_JOB),
    "ReplayJobDetail": fields(
        "A replay, how far it is, and whether it goes on.",
        **_REPLAY_JOB,
        needs_worker=_NEEDS_WORKER,
    ),
    "Receiver": fields(
        "A receiver, and the numbers of its unfinished runs.",
        name=text("Its name."),
        is_connected=flag("Whether this process knows it."),
        events=listing(text(), "The events that it is connected to; `*` is every event."),
        pauses=listing(ref("Pause"), "What holds its runs back."),
        **_COUNTS,
    ),
    "Pause": fields(
        "A pause that holds runs back.",
        webhook_id=or_null(uuid("The only webhook that it is for; null: all of them.")),
        of_receiver=flag("Whether it is of this receiver; else it is of every receiver."),
        since=or_null(moment("When it began.")),
        by=text("Who made it."),
        reason=text("Why."),
        is_automatic=flag("Whether the circuit breaker made it."),
    ),
    "Status": fields(
        "The state of dispatch.",
        now=moment("The time that it is of."),
        undispatched=whole("Deliveries that are due and whose runs are still to be made."),
        oldest_due=or_null(moment("Since when the longest waiting work is due.")),
        lag_seconds=number("For how long that is."),
        receivers=by_name(ref("ReceiverCounts"), "The numbers of unfinished runs, by the name of the receiver."),
        paused=listing(ref("StatusPause"), "The pauses."),
        workers=listing(ref("Worker"), "The workers that run."),
        replays=listing(ref("ReplayProgress"), "The replays that are under way."),
        needs_attention=listing(
            text(),
            "What monitoring should report: `lag`, `dead`, `paused`, `orphaned`, `unreadable_secret`; empty: nothing.",
        ),
    ),
    "ReceiverCounts": fields("The numbers of the unfinished runs of a receiver.", **_COUNTS),
    "StatusPause": fields(
        "A pause, as the status has it.",
        scope=text("What is paused; empty: everything."),
        since=or_null(moment("When it began.")),
        by=text("Who made it."),
        reason=text("Why."),
        automatic=flag("Whether the circuit breaker made it."),
    ),
    "Worker": fields("A worker.", name=text("Its name."), seen_at=moment("When it was last seen.")),
    "ReplayProgress": fields(
        "How far a replay is.",
        id=whole("The replay's id."),
        share_done=number("From 0 to 1."),
        **_REPLAYED,
        **_NUMBERS_OF_RUNS,
    ),
}
"""The schemas of the answers' parts, by their names in `components`."""
