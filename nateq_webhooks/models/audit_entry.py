"""The audit log: who did what to data, secrets and receivers, and when."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.protocol.invisible_chars import visible


class AuditEntry(models.Model):
    """One action of a person, of a program with an API key, or of a command."""

    class Action(models.TextChoices):
        """What was done."""

        SECRET_REVEALED = "secret_revealed", _("Secret shown")
        SECRET_CHANGED = "secret_changed", _("Secret changed")
        KEYS_ROTATED = "keys_rotated", _("Encryption key rotated")
        REPLAYED = "replayed", _("Replayed")
        REPLAY_CANCELLED = "replay_cancelled", _("Replay cancelled")
        RETRIED = "retried", _("Tried now")
        REASSIGNED = "reassigned", _("Runs given to another receiver")
        EXPORTED = "exported", _("Exported")
        PAUSED = "paused", _("Paused")
        RESUMED = "resumed", _("Resumed")
        DROPPED = "dropped", _("Runs dropped")
        ERASED = "erased", _("Erased")
        PRUNED = "pruned", _("Removed by retention")
        WEBHOOK_CREATED = "webhook_created", _("Webhook created")
        WEBHOOK_CHANGED = "webhook_changed", _("Webhook changed")
        WEBHOOK_DELETED = "webhook_deleted", _("Webhook deleted")
        API_KEY_CREATED = "api_key_created", _("API key created")
        API_KEY_REVOKED = "api_key_revoked", _("API key revoked")
        PAYLOAD_DOWNLOADED = "payload_downloaded", _("Body downloaded")
        REQUEST_SIGNED = "request_signed", _("Signed request copied")

    class Source(models.TextChoices):
        """Through what it was done."""

        ADMIN = "admin", _("Admin")
        API = "api", _("API")
        COMMAND = "command", _("Command")
        CODE = "code", _("Code")
        WORKER = "worker", _("Worker")

    at = models.DateTimeField(_("time"), default=timezone.now)
    action = ExactCharField(_("action"), max_length=32, choices=Action)
    source = ExactCharField(_("through"), max_length=10, choices=Source)
    actor = SafeCharField(_("by"), max_length=150, default="")
    "The user's name, the name of the API key, or the operating system's user of a command; empty: unknown."
    target = SafeCharField(_("what"), max_length=255, default="")
    "What it was done to, as text: it outlives the row."
    webhook_id = models.UUIDField(_("webhook's id"), null=True)
    "The id of the webhook that it is about, whose name may change. NULL: it is about none, or older than this column."
    details = models.JSONField(_("details"), default=dict)
    "Numbers and names; never a secret or what a customer wrote."

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ["-pk"]
        default_permissions = ("view",)
        indexes = [
            # For the list by action, and for deleting what is older than the retention.
            models.Index(fields=["action", "id"], name="nateq_audit_action"),
            models.Index(fields=["at"], name="nateq_audit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {visible(self.target)}" if self.target else str(self.get_action_display())
