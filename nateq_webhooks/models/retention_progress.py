"""How far retention has looked through the deliveries, so that each run continues where the former one stopped."""

from django.db import models
from django.utils import timezone

from nateq_webhooks.models.fields import ExactCharField


class RetentionProgress(models.Model):
    """One pass over the deliveries: those of one age, for one tier of one version of `RETENTION`."""

    key = ExactCharField(max_length=64, unique=True)
    "SHA-256 of the tier, the rules and the age: other rules begin again with the oldest delivery."
    after = models.BigIntegerField(default=0)
    "Every delivery up to this key was looked at."
    left = models.JSONField(default=list)
    "The keys of those among them that could not be removed yet; they are looked at again."
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "retention progress"
        verbose_name_plural = "retention progress"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.key[:12]}: {self.after}"
