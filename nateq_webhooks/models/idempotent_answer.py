"""The answer to a request that changed something, kept a day: the same request again gets it, and changes nothing."""

from datetime import datetime, timedelta
from typing import Final

from django.db import models
from django.utils import timezone

from nateq_webhooks.models.fields import ExactCharField

KEPT_FOR: Final = timedelta(days=1)
"""How long an answer is kept (ours: docs/reference/api.md)."""

MAX_DELETED: Final = 100
"""Expired answers that one request deletes, beside its own."""


class IdempotentAnswerQuerySet(models.QuerySet["IdempotentAnswer"]):
    """Answers by what they answered."""

    def delete_expired(self, now: datetime, name: str) -> None:
        """Delete the answer of this name if it is older than a day, and some of the others that are."""
        expired = self.filter(created_at__lte=now - KEPT_FOR)
        old = list(expired.order_by("created_at").values_list("pk", flat=True)[:MAX_DELETED])
        if old:
            expired.filter(models.Q(pk__in=old) | models.Q(name=name)).delete()

    delete_expired.alters_data = True  # type: ignore[attr-defined]


class IdempotentAnswer(models.Model):
    """An answer under the key that the caller chose (`Idempotency-Key`)."""

    name = ExactCharField(max_length=64, unique=True)
    "SHA-256 of the caller and its key."
    request = ExactCharField(max_length=64)
    "SHA-256 of the request: the same key for another one is an error."
    status = models.PositiveIntegerField(default=0)
    document = models.JSONField(null=True)
    "The body of the answer; NULL while the request is carried out."
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = IdempotentAnswerQuerySet.as_manager()

    class Meta:
        verbose_name = "idempotent answer"
        verbose_name_plural = "idempotent answers"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name[:12]
