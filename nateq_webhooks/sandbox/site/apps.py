"""The app of the sandbox's models; only the sandbox's own process installs it."""

from django.apps import AppConfig


class NateqSandboxConfig(AppConfig):
    """The models of a local Nateq."""

    name = "nateq_webhooks.sandbox.site"
    label = "nateq_sandbox"
    default_auto_field = "django.db.models.AutoField"
