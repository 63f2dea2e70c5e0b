"""What is stored: webhooks, deliveries, attempts, runs, tries, holds, replays, rejections, API keys."""

from nateq_webhooks.models.api_key import ApiKey
from nateq_webhooks.models.audit_entry import AuditEntry
from nateq_webhooks.models.delivery import Attempt, Delivery, OtherContent, Reissue
from nateq_webhooks.models.event_type import EventType
from nateq_webhooks.models.rejection import Rejection
from nateq_webhooks.models.replay import Replay
from nateq_webhooks.models.run import Run
from nateq_webhooks.models.run_try import RunTry
from nateq_webhooks.models.webhook import Secret, Webhook

# Django registers a model when its module is imported.
from nateq_webhooks.models import dashboard as dashboard  # isort: skip
from nateq_webhooks.models import erasure_progress as erasure_progress  # isort: skip
from nateq_webhooks.models import failure_acknowledgement as failure_acknowledgement  # isort: skip
from nateq_webhooks.models import hold as hold  # isort: skip
from nateq_webhooks.models import hourly_count as hourly_count  # isort: skip
from nateq_webhooks.models import idempotent_answer as idempotent_answer  # isort: skip
from nateq_webhooks.models import removed_delivery as removed_delivery  # isort: skip
from nateq_webhooks.models import retention_progress as retention_progress  # isort: skip
from nateq_webhooks.models import unredacted_body as unredacted_body  # isort: skip

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Delivery",
    "EventType",
    "OtherContent",
    "Reissue",
    "Rejection",
    "Replay",
    "Run",
    "RunTry",
    "Secret",
    "Webhook",
]
