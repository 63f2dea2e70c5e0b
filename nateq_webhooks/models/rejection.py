"""The rejection: a request that was refused at the door. A bounded diary, never the body."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField
from nateq_webhooks.models.webhook import Webhook

MAX_REJECTIONS_KEPT: Final = 200
"""Rejections kept per webhook, the newest (ours: docs/rejections.md)."""


class Rejection(models.Model):
    """When a request was refused, why, from where, and what may be the matter. Only `inbox` writes it."""

    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="rejections", db_index=False, verbose_name=_("webhook")
    )
    reason = ExactCharField(_("reason"), max_length=40)
    received_at = models.DateTimeField(_("received"))
    remote_addr = models.CharField(_("address"), max_length=64, null=True)  # noqa: DJ001 - a unix socket has none
    size = models.PositiveBigIntegerField(_("size"), null=True)
    "The body's bytes; NULL when it was not read and no length was declared."
    header_names = models.JSONField(_("header names"), default=list)
    hint = models.TextField(_("hint"), default="")
    "What the diagnosis found: a code and its details as JSON text, shown in words by the admin."

    class Meta:
        verbose_name = _("rejection")
        verbose_name_plural = _("rejections")
        ordering = ["-pk"]
        default_permissions = ("delete", "view")
        indexes = [
            # For the newest of one webhook, and for dropping what is older.
            models.Index(fields=["webhook", "id"], name="nateq_rejection_newest"),
        ]

    def __str__(self) -> str:
        return self.reason
