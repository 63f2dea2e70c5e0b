"""The admin: what came, what ran, what went wrong. Deliveries and runs are to look at; webhooks are set up here."""

from nateq_webhooks.admin.api_key import ApiKeyAdmin
from nateq_webhooks.admin.audit_log import AuditEntryAdmin
from nateq_webhooks.admin.changelists.saved_views import SavedView
from nateq_webhooks.admin.dashboard.admin import DashboardAdmin
from nateq_webhooks.admin.deliveries.admin import DeliveryAdmin
from nateq_webhooks.admin.rejections import RejectionAdmin
from nateq_webhooks.admin.replays import ReplayAdmin
from nateq_webhooks.admin.runs import RunAdmin
from nateq_webhooks.admin.webhooks.admin import SecretInline, WebhookAdmin

__all__ = [
    "ApiKeyAdmin",
    "AuditEntryAdmin",
    "DashboardAdmin",
    "DeliveryAdmin",
    "RejectionAdmin",
    "ReplayAdmin",
    "RunAdmin",
    "SavedView",
    "SecretInline",
    "WebhookAdmin",
]
