"""How far an erasure got, so that the same command continues one that was killed."""

from django.db import models
from django.utils import timezone

from nateq_webhooks.models.fields import ExactCharField


class ErasureProgress(models.Model):
    """An erasure that has not ended. It has no personal data: what was searched for is stored as a hash only."""

    key = ExactCharField(max_length=64, unique=True)
    "HMAC of what was searched for and of what to do with it."
    position = models.JSONField(default=dict)
    "The key of the last row that was looked at, by table."
    counts = models.JSONField(default=dict)
    "What was found and changed so far, by table: numbers only."
    started_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "erasure progress"
        verbose_name_plural = "erasure progress"
        default_permissions = ()

    def __str__(self) -> str:
        return self.key[:12]
