"""The rejection: a request that was refused at the door. A bounded diary, never the body."""

import uuid
from collections.abc import Sequence
from typing import Final

from django.db import connections, models, transaction
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models.fields import ExactCharField, SafeTextField
from nateq_webhooks.models.webhook import Webhook

MAX_REJECTIONS_KEPT: Final = 200
"""The newest rejections kept per webhook and reason, so that no reason drops the rows of another."""

_TURNS: Final = 100
"""How often a writer that lost its turn to another one asks again for the next one."""


class RejectionQuerySet(models.QuerySet["Rejection"]):
    """Rejections, and the only way to add some."""

    def record(self, rejections: Sequence["Rejection"]) -> None:
        """Store rejections and drop all but the newest of their webhooks and reasons, in one short transaction.

        Raises `django.db.Error` when that can't be committed; then nothing is stored.
        """
        kinds = sorted({(rejection.webhook_id, rejection.reason) for rejection in rejections})
        retry_transaction(lambda: self._record(rejections, kinds))

    record.alters_data = True  # type: ignore[attr-defined]

    def _record(self, rejections: Sequence["Rejection"], kinds: Sequence[tuple[uuid.UUID, str]]) -> None:
        with transaction.atomic(using=self.db):
            for webhook in sorted({webhook for webhook, _reason in kinds}):
                self._take_turn(webhook)
            self.bulk_create(rejections)
            for webhook, reason in kinds:
                self._prune(webhook, reason)

    def _take_turn(self, webhook: uuid.UUID) -> None:
        """Wait until no other process writes the webhook's: each would prune without seeing what the others add.

        The webhook's oldest row is the lock, and often what the one before dropped: then the next oldest is. To lock
        the webhook itself would hold deliveries up, whose foreign key needs it. SQLite has one writer anyway.
        """
        if not connections[self.db].features.has_select_for_update:
            return
        oldest = self.filter(webhook=webhook).order_by("pk").values_list("pk")
        for _turn in range(_TURNS):
            if list(oldest.select_for_update()[:1]) or not list(oldest[:1]):
                return

    def _prune(self, webhook: uuid.UUID, reason: str) -> None:
        rows = self.filter(webhook=webhook, reason=reason)
        surplus = rows.order_by("-pk").values_list("pk", flat=True)[MAX_REJECTIONS_KEPT : MAX_REJECTIONS_KEPT + 1]
        for newest_surplus in surplus:
            rows.filter(pk__lte=newest_surplus).delete()


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
    hint = SafeTextField(_("hint"), default="")
    "What the diagnosis found: a code and its details as JSON text, shown in words by the admin."

    objects = RejectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("rejection")
        verbose_name_plural = _("rejections")
        ordering = ["-pk"]
        default_permissions = ("delete", "view")
        indexes = [
            # For the newest of one webhook, and for dropping what is older: a webhook has some thousand rows at most.
            models.Index(fields=["webhook", "id"], name="nateq_rejection_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.reason}, {self.received_at:%Y-%m-%d %H:%M:%S %Z}"
