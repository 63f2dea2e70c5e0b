"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NateqWebhooksConfig(AppConfig):
    """Nateq webhooks."""

    name = "nateq_webhooks"
    verbose_name = _("Nateq webhooks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from nateq_webhooks import checks  # noqa: F401 - importing registers them
