"""The rejection: a request that was refused. Their number is bounded, and the body is never stored."""

import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from django.db import connections, models, transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models.fields import ExactCharField, SafeTextField
from nateq_webhooks.models.webhook import Webhook
from nateq_webhooks.protocol.signatures import Reason

MAX_REJECTIONS_KEPT: Final = 200
"""The newest rejections kept per webhook and reason, so that no reason drops the rows of another."""

_MAX_LOCK_ATTEMPTS: Final = 100
"""How often a writer tries to lock the oldest row after another writer has deleted it."""


class Refusal(StrEnum):
    """Why a request is refused before anything is stored, apart from the reasons of an invalid signature."""

    OTHER_ORGANIZATION = "other_organization"
    """Its signature is valid, but it belongs to another organization than the webhook."""
    TOO_LARGE = "too_large"
    """The body is larger than `MAX_BODY_BYTES`."""
    NO_LENGTH = "no_length"
    """The end of the body is unknown: Content-Length is not one number, or a chunked body comes without an end."""
    NOT_POST = "not_post"
    """The method was GET: a redirect before this site turns a POST into one."""
    INACTIVE = "inactive"
    """The webhook is switched off here."""
    UNKNOWN_URL = "unknown_url"
    """No webhook has the id in the URL."""
    ADDRESS = "address"
    """It comes from an address that is in none of the `ALLOWED_NETWORKS`."""
    STALE = "stale"
    """It is signed, but its `timestamp` is older than `REPLAY_WINDOW`, and no such delivery is stored."""
    FUTURE = "future"
    """It is signed, but its `timestamp` is later than the clock of this server."""
    NO_TIMESTAMP = "no_timestamp"
    """It is signed, but has no `timestamp` that could be compared with `REPLAY_WINDOW`."""


REASON_LABELS: Final[Mapping[str, Promise]] = {
    Reason.NO_MATCH: _("Signed with a secret we don't know"),
    Reason.MISSING: _("No signature"),
    Reason.EMPTY: _("Signature empty"),
    Reason.TOO_LONG: _("Signature too long"),
    Reason.TOO_MANY: _("Too many signatures"),
    Reason.NOT_ASCII: _("Signature with invalid characters"),
    Reason.NOT_HEX: _("Signature unreadable"),
    Reason.NO_SECRET: _("No usable secret"),
    Refusal.OTHER_ORGANIZATION: _("Another organization"),
    Refusal.TOO_LARGE: _("Body too large"),
    Refusal.NO_LENGTH: _("Body without a length"),
    Refusal.NOT_POST: _("Not a POST"),
    Refusal.INACTIVE: _("Webhook switched off"),
    Refusal.UNKNOWN_URL: _("Unknown URL"),
    Refusal.ADDRESS: _("Address not allowed"),
    Refusal.STALE: _("Too old"),
    Refusal.FUTURE: _("From the future"),
    Refusal.NO_TIMESTAMP: _("Without a readable timestamp"),
}
"""The reason of each refusal, short enough for a list."""


def reason_text(reason: str) -> str:
    """Return a reason in words; one that this version does not know as it is stored."""
    return str(REASON_LABELS.get(reason, reason))


class RejectionQuerySet(models.QuerySet["Rejection"]):
    """Rejections; `record` is the only way to add them."""

    def record(self, rejections: Sequence["Rejection"]) -> None:
        """Store rejections and delete all but the newest of their webhooks and reasons, in one short transaction.

        Raises `django.db.Error` if that can't be committed; then nothing is stored.
        """
        kinds = sorted({(rejection.webhook_id, rejection.reason) for rejection in rejections}, key=str)
        retry_transaction(lambda: self._record(rejections, kinds))

    record.alters_data = True  # type: ignore[attr-defined]

    def _record(self, rejections: Sequence["Rejection"], kinds: Sequence[tuple[uuid.UUID | None, str]]) -> None:
        with transaction.atomic(using=self.db):
            for webhook in sorted({webhook for webhook, _reason in kinds}, key=str):
                self._lock(webhook)
            self.bulk_create(rejections)
            for webhook, reason in kinds:
                self._prune(webhook, reason)

    def _lock(self, webhook: uuid.UUID | None) -> None:
        """Lock the webhook's rejections: a process that prunes does not see what others insert at the same time.

        The oldest row is the lock; if another writer has deleted it meanwhile, the next oldest is. Locking the webhook
        itself would block deliveries, whose foreign key needs it. SQLite has only one writer anyway.
        """
        if not connections[self.db].features.has_select_for_update:
            return
        oldest = self.filter(webhook=webhook).order_by("pk").values_list("pk")
        for _attempt in range(_MAX_LOCK_ATTEMPTS):
            if list(oldest.select_for_update()[:1]) or not list(oldest[:1]):
                return

    def _prune(self, webhook: uuid.UUID | None, reason: str) -> None:
        rows = self.filter(webhook=webhook, reason=reason)
        surplus = rows.order_by("-pk").values_list("pk", flat=True)[MAX_REJECTIONS_KEPT : MAX_REJECTIONS_KEPT + 1]
        for newest_surplus in surplus:
            rows.filter(pk__lte=newest_surplus).delete()


class Rejection(models.Model):
    """A refused request: when, why, from where, and the probable cause. Only `inbox` writes it."""

    webhook = models.ForeignKey(
        Webhook,
        on_delete=models.CASCADE,
        related_name="rejections",
        db_index=False,
        null=True,
        verbose_name=_("webhook"),
    )
    "NULL: no webhook has the id in the URL."
    reason = ExactCharField(_("reason"), max_length=40)
    received_at = models.DateTimeField(_("received"))
    remote_addr = models.CharField(_("address"), max_length=64, null=True)  # noqa: DJ001 - a unix socket has none
    size = models.PositiveBigIntegerField(_("size"), null=True)
    "Bytes of the body; NULL if it was not read and no length was declared."
    header_names = models.JSONField(_("header names"), default=list)
    hint = SafeTextField(_("likely cause"), default="")
    "The result of the diagnosis: a code and its details as JSON text; the admin explains it."

    objects = RejectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("refused request")
        verbose_name_plural = _("refused requests")
        ordering = ["-pk"]
        default_permissions = ("delete", "view")
        indexes = [
            # For the newest of one webhook, and for deleting older ones: a webhook has a few thousand rows at most.
            models.Index(fields=["webhook", "id"], name="nateq_rejection_newest"),
        ]

    def __str__(self) -> str:
        return f"{reason_text(self.reason)}{gettext(', ')}{timezone.localtime(self.received_at):%Y-%m-%d %H:%M:%S %Z}"
