"""The addresses of the sandbox: the screen, the API, and the control channel."""

from django.urls import path, re_path
from django.views.static import serve

from nateq_webhooks.protocol.api import API_PATH, EVENTS_PATH, LOGS_SEGMENT, ROTATE_SEGMENT, WEBHOOKS_PATH
from nateq_webhooks.sandbox.control import CONTROL_PATH
from nateq_webhooks.sandbox.site import api, screen
from nateq_webhooks.sandbox.site.control import control
from nateq_webhooks.sandbox.site.settings import HERE

_API = API_PATH.removeprefix("/")
_WEBHOOKS = f"{_API}{WEBHOOKS_PATH}"

urlpatterns = [
    path(CONTROL_PATH.removeprefix("/"), control),
    path("static/<str:path>", serve, {"document_root": HERE / "static"}),
    path("", screen.WebhooksPage.as_view()),
    path("webhooks/new", screen.CreatePage.as_view()),
    path("webhooks/<str:webhook_id>", screen.WebhookPage.as_view()),
    path("webhooks/<str:webhook_id>/edit", screen.EditPage.as_view()),
    path("webhooks/<str:webhook_id>/rotate-secret", screen.RotatePage.as_view()),
    path("webhooks/<str:webhook_id>/delete", screen.DeletePage.as_view()),
    path("webhooks/<str:webhook_id>/send", screen.SendPage.as_view()),
    path("deliveries/<int:seq>", screen.DeliveryPage.as_view()),
    path("deliveries/<int:seq>/resend", screen.ResendPage.as_view()),
    path("faults", screen.FaultsPage.as_view()),
    path(_WEBHOOKS, api.WebhookListView.as_view()),
    path(f"{_API}{EVENTS_PATH}", api.EventsView.as_view()),
    path(f"{_WEBHOOKS}/<str:webhook_id>", api.WebhookView.as_view()),
    path(f"{_WEBHOOKS}/<str:webhook_id>/{ROTATE_SEGMENT}", api.RotateView.as_view()),
    path(f"{_WEBHOOKS}/<str:webhook_id>/{LOGS_SEGMENT}", api.LogsView.as_view()),
    path(f"{_API}/sandbox/events", api.SendView.as_view()),
    path(f"{_API}/sandbox/faults", api.FaultsView.as_view()),
    re_path(rf"^{_API}(/.*)?$", api.UnknownView.as_view()),
]

handler404 = "nateq_webhooks.sandbox.site.screen.not_found"
handler500 = "nateq_webhooks.sandbox.site.screen.failed"
