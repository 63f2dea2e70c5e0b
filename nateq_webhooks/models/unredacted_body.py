"""The bytes of a delivery that is redacted before it is stored, until its receivers have finished."""

from collections.abc import Collection
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.conf.retention import UNFINISHED
from nateq_webhooks.database.encryption import decrypt
from nateq_webhooks.models.delivery import Delivery
from nateq_webhooks.models.fields import BytesField

MAX_EXAMINED: Final = 1_000
"""Bodies that `delete_unneeded` looks at, the oldest ones."""


class UnredactedBodyQuerySet(models.QuerySet["UnredactedBody"]):
    """The bodies that receivers still get."""

    def body_of(self, delivery_pk: int) -> bytes | None:
        """Return the bytes of a delivery as they were received; None if they are not kept any more.

        Raises `DecryptionError`.
        """
        stored = self.filter(delivery=delivery_pk).values_list("body", flat=True).first()
        return None if stored is None else decrypt(bytes(stored))

    def delete_unneeded(self, deliveries: Collection[int] | None = None) -> int:
        """Delete those whose receivers have finished, of these deliveries or of the oldest; return how many."""
        if deliveries is None:
            deliveries = list(self.order_by("pk").values_list("pk", flat=True)[:MAX_EXAMINED])
        if not deliveries:
            return 0
        finished = Delivery.objects.using(self.db).filter(pk__in=deliveries).exclude(status__in=UNFINISHED)
        return self.filter(delivery__in=list(finished.values_list("pk", flat=True))).delete()[0]

    delete_unneeded.alters_data = True  # type: ignore[attr-defined]


class UnredactedBody(models.Model):
    """The bytes as they were received, encrypted if the extra `encryption` is installed.

    Receivers get the whole event from it, in whichever process they run; it is deleted when all of them have finished.
    """

    delivery = models.OneToOneField(
        Delivery,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="unredacted_body",
        verbose_name=_("delivery"),
    )
    body = BytesField(_("body"))

    objects = UnredactedBodyQuerySet.as_manager()

    class Meta:
        verbose_name = _("unredacted body")
        verbose_name_plural = _("unredacted bodies")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.delivery_id)
