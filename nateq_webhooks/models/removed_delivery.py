"""What remains of a removed delivery: its identity, so that the sender's repeat of it runs no receiver again."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField


class RemovedDelivery(models.Model):
    """The identity of a delivery whose row was deleted.

    The webhook is a plain value, not a foreign key: these rows don't keep anyone from deleting a webhook.
    """

    class Reason(models.TextChoices):
        """Why the delivery was removed."""

        RETENTION = "retention", _("Retention")
        "It was older than `RETENTION` allows."
        ERASURE = "erasure", _("Erasure")
        "A person had it erased."

    webhook_id = models.UUIDField(_("webhook"))
    identity = ExactCharField(_("identity"), max_length=64)
    reason = ExactCharField(_("reason"), max_length=10, choices=Reason)
    # Indexed for deleting what has expired.
    expires_at = models.DateTimeField(_("expires"), null=True, db_index=True)
    "From then on the same delivery would be stored as a new one; NULL: never."

    class Meta:
        verbose_name = _("removed delivery")
        verbose_name_plural = _("removed deliveries")
        ordering = ["pk"]
        default_permissions = ()
        constraints: ClassVar = [
            # For the look-up after the INSERT of a delivery.
            models.UniqueConstraint(fields=["webhook_id", "identity"], name="nateq_removed_once"),
        ]

    def __str__(self) -> str:
        return f"{self.webhook_id}: {self.identity[:12]}"
