"""Examples of what the answers have in them. A test validates each against its schema."""

from typing import Any, Final

WEBHOOK_ID: Final = "5f0c7f6e-3c1e-4b5a-9d55-1f5d3b1c2a10"
DELIVERY_ID: Final = 5120
RECEIVER: Final = "shop.open_ticket"

WEBHOOK: Final = {
    "id": WEBHOOK_ID,
    "url": f"https://shop.example/nateq/{WEBHOOK_ID}/",
    "events": ["ticket.created", "ticket.closed"],
    "is_active": True,
    "created_at": "2026-06-01T08:00:00Z",
    "name": "shop",
    "organization_id": "org_1",
    "registration": "registered",
    "nateq_id": "wh_81c2",
    "modified_at": "2026-06-30T11:58:00Z",
}

WEBHOOK_WITH_SECRET: Final = WEBHOOK | {
    "secret": "whsec_2f6c...",
    "secret_id": "3b1f0c9a",
    "notice": None,
}

NEW_WEBHOOK: Final = WEBHOOK_WITH_SECRET | {
    "registration": "manual",
    "nateq_id": "",
    "notice": (
        "This site has not registered it at Nateq, and Nateq signs with a secret of its own. Register it on its page "
        "in the admin, or with manage.py nateq_webhook create --name shop. Or set it up at Nateq by hand, and paste "
        "Nateq's secret into that page."
    ),
}

WEBHOOK_DELETION: Final = {"id": WEBHOOK_ID, "deleted": True, "notice": None}

EVENT: Final = {"name": "ticket.created", "description": "A ticket was created"}

LOG_ENTRY: Final = {
    "id": "5120",
    "delivery_id": "dlv_9f2c",
    "event": "ticket.created",
    "attempt": 1,
    "status": "delivered",
    "response_status": 200,
    "response_body": None,
    "duration_ms": None,
    "attempted_at": "2026-06-30T12:00:01.250000Z",
    "next_attempt_at": None,
    "payload": None,
    "delivery": DELIVERY_ID,
    "remote_addr": "192.0.2.7",
    "receivers": [{"receiver": RECEIVER, "status": "succeeded", "tries": 1, "failed_tries": []}],
}

DELIVERY: Final[dict[str, Any]] = {
    "id": DELIVERY_ID,
    "delivery_id": "dlv_9f2c",
    "webhook_id": WEBHOOK_ID,
    "event": "ticket.created",
    "resource": "ticket",
    "resource_id": "tkt_1",
    "organization_id": "org_1",
    "status": "processed",
    "happened_at": "2026-06-30T12:00:00Z",
    "received_at": "2026-06-30T12:00:01.250000Z",
    "last_received_at": "2026-06-30T12:00:01.250000Z",
    "attempt": 1,
    "attempts_seen": 1,
    "version": "1.0",
    "notes": [],
    "remote_addr": "192.0.2.7",
    "secret_id": "3b1f0c9a",
    "content_change": None,
    "content_changed_at": None,
}

DELIVERY_DETAIL: Final = DELIVERY | {
    "is_superseded": False,
    "size": 214,
    "headers": {"Content-Type": "application/json", "X-Nateq-Signature": "4b1d...", "Cookie": "[redacted]"},
    "payload": {
        "event": "ticket.created",
        "timestamp": "2026-06-30T12:00:00Z",
        "organization_id": "org_1",
        "data": {"id": "tkt_1", "subject": "My parcel is late"},
        "metadata": {"delivery_id": "dlv_9f2c", "attempt": 1, "version": "1.0"},
    },
}

RUN: Final = {
    "id": 9310,
    "receiver": RECEIVER,
    "replay_id": None,
    "status": "failed",
    "is_parked": False,
    "tries": 2,
    "created_at": "2026-06-30T12:00:01.250000Z",
    "started_at": "2026-06-30T12:02:00Z",
    "finished_at": None,
    "duration_ms": 48.211,
    "next_try_at": "2026-06-30T12:10:00Z",
    "error": "ConnectionError: crm.example did not answer",
    "failed_tries": [
        {
            "number": 2,
            "started_at": "2026-06-30T12:02:00Z",
            "finished_at": "2026-06-30T12:02:00.048211Z",
            "duration_ms": 48.211,
            "error": "ConnectionError: crm.example did not answer",
        }
    ],
}

REJECTION: Final = {
    "id": 77,
    "webhook_id": WEBHOOK_ID,
    "reason": "no_match",
    "received_at": "2026-06-30T11:40:00Z",
    "remote_addr": "192.0.2.7",
    "size": 214,
    "header_names": ["Content-Type", "X-Nateq-Signature"],
    "likely_cause": "other_webhook",
    "details": {"webhook": "support"},
    "further_refusals": 0,
}

REPLAY: Final = {
    "id": 31,
    "created_at": "2026-06-30T12:30:00Z",
    "receivers": [RECEIVER],
    "reason": "The CRM was down",
    "by": "API key support",
    "runs": 1,
    "brought_forward": 0,
    "already_running": 0,
    "skipped": 0,
    "without_content": 0,
    "disconnected": 0,
}

NEW_REPLAY: Final = REPLAY | {"needs_worker": False}

REPLAY_JOB: Final = REPLAY | {
    "receivers": None,
    "filters": {"status": "dead"},
    "failed_only": True,
    "state": "running",
    "percent": 75,
    "looked_through": 100,
    "deliveries": 4,
    "runs": 4,
    "succeeded": 3,
    "failed": 0,
    "left": 1,
    "retrying": 0,
    "waiting": 1,
    "running": 0,
    "held": 0,
    "parked": 0,
    "runs_created_at": "2026-06-30T12:30:01Z",
}

REPLAY_JOB_DETAIL: Final = REPLAY_JOB | {"needs_worker": False}

_NOTHING_YET: Final = {"percent": 0, "deliveries": 0, "runs": 0, "succeeded": 0, "left": 0, "runs_created_at": None}

NEW_REPLAY_JOB: Final = REPLAY_JOB_DETAIL | _NOTHING_YET | {"state": "creating"}

CANCELLED_REPLAY_JOB: Final = NEW_REPLAY_JOB | {"state": "cancelled", "percent": 100}

_COUNTS: Final = {"waiting": 3, "running": 1, "failing": 0, "dead": 2, "held": 3, "orphaned": 0}

RECEIVER_DOCUMENT: Final = {
    "name": RECEIVER,
    "is_connected": True,
    "events": ["ticket.created"],
    "pauses": [
        {
            "webhook_id": None,
            "of_receiver": True,
            "since": "2026-06-30T12:20:00Z",
            "by": "API key support",
            "reason": "The CRM is being moved",
            "is_automatic": False,
        }
    ],
    **_COUNTS,
}

RESUMED: Final = RECEIVER_DOCUMENT | {"pauses": [], "held": 0}

STATUS: Final = {
    "now": "2026-06-30T12:30:00+00:00",
    "undispatched": 0,
    "oldest_due": "2026-06-30T12:29:58+00:00",
    "lag_seconds": 2.131,
    "receivers": {RECEIVER: _COUNTS},
    "paused": [
        {
            "scope": f"receiver:{RECEIVER}",
            "since": "2026-06-30T12:20:00+00:00",
            "by": "API key support",
            "reason": "The CRM is being moved",
            "automatic": False,
        }
    ],
    "workers": [{"name": "shop-1", "seen_at": "2026-06-30T12:29:50+00:00"}],
    "replays": [
        {
            "id": 31,
            "share_done": 0.25,
            "runs": 4,
            "brought_forward": 0,
            "already_running": 0,
            "skipped": 0,
            "without_content": 0,
            "disconnected": 0,
            "succeeded": 1,
            "failed": 0,
            "left": 3,
            "retrying": 0,
            "waiting": 2,
            "running": 1,
            "held": 0,
            "parked": 0,
        }
    ],
    "needs_attention": ["dead", "paused"],
}
