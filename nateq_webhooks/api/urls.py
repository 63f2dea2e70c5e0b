"""`path("api/", include("nateq_webhooks.api.urls"))` gives `/api/v1/...`, in the contract of Nateq's own API."""

from typing import Any

from django.urls import URLPattern, path, re_path

from nateq_webhooks.api.actions import PauseView, ReplayView, ResumeView
from nateq_webhooks.api.base import ApiView, UnknownView
from nateq_webhooks.api.deliveries import BodyView, DeliveriesView, DeliveryView, RunsView
from nateq_webhooks.api.rejections import RejectionsView
from nateq_webhooks.api.replays import CancelView, ReplayJobView, ReplaysView
from nateq_webhooks.api.schema.views import DocsView, SchemaView
from nateq_webhooks.api.state import ReceiversView, StatusView
from nateq_webhooks.api.webhooks import EventsView, LogsView, RotateView, WebhooksView, WebhookView
from nateq_webhooks.database.transactions import outside_every_transaction
from nateq_webhooks.protocol.api import EVENTS_PATH, LOGS_SEGMENT, ROTATE_SEGMENT, WEBHOOKS_PATH

app_name = "nateq_webhooks_api"

VERSION = "v1"


def _path(route: str, view: type[ApiView], name: str) -> URLPattern:
    return path(f"{VERSION}{route}", outside_every_transaction(view.as_view()), name=name)


_rest: Any = outside_every_transaction(UnknownView.as_view())

urlpatterns = [
    _path(EVENTS_PATH, EventsView, "events"),
    _path(WEBHOOKS_PATH, WebhooksView, "webhooks"),
    _path(f"{WEBHOOKS_PATH}/<str:pk>", WebhookView, "webhook"),
    _path(f"{WEBHOOKS_PATH}/<str:pk>/{LOGS_SEGMENT}", LogsView, "logs"),
    _path(f"{WEBHOOKS_PATH}/<str:pk>/{ROTATE_SEGMENT}", RotateView, "rotate_secret"),
    _path("/deliveries", DeliveriesView, "deliveries"),
    _path("/deliveries/<str:pk>", DeliveryView, "delivery"),
    _path("/deliveries/<str:pk>/body", BodyView, "body"),
    _path("/deliveries/<str:pk>/runs", RunsView, "runs"),
    _path("/deliveries/<str:pk>/replay", ReplayView, "replay"),
    _path("/rejections", RejectionsView, "rejections"),
    _path("/replays", ReplaysView, "replays"),
    _path("/replays/<str:pk>", ReplayJobView, "replay_job"),
    _path("/replays/<str:pk>/cancel", CancelView, "cancel"),
    _path("/receivers", ReceiversView, "receivers"),
    _path("/receivers/<str:name>/pause", PauseView, "pause"),
    _path("/receivers/<str:name>/resume", ResumeView, "resume"),
    _path("/status", StatusView, "status"),
    _path("/schema", SchemaView, "schema"),
    _path("/docs", DocsView, "docs"),
    re_path(rf"^{VERSION}(?:/[\s\S]*)?\Z", _rest),
]
