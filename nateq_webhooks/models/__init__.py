"""What is stored: webhooks, deliveries and their attempts, runs and what holds them back, replays, rejections."""

from nateq_webhooks.models.delivery import Attempt, Delivery, OtherContent, Reissue
from nateq_webhooks.models.event_type import EventType
from nateq_webhooks.models.hold import Heartbeat, Hold, OrderLock
from nateq_webhooks.models.rejection import Rejection
from nateq_webhooks.models.replay import Replay, ReplayedRun
from nateq_webhooks.models.run import Run
from nateq_webhooks.models.webhook import Secret, Webhook

__all__ = [
    "Attempt",
    "Delivery",
    "EventType",
    "Heartbeat",
    "Hold",
    "OrderLock",
    "OtherContent",
    "Reissue",
    "Rejection",
    "Replay",
    "ReplayedRun",
    "Run",
    "Secret",
    "Webhook",
]
