"""The delivery: one row per webhook and delivery id, with the exact bytes; and the sender's repeated attempts.

Only `nateq_webhooks.inbox` inserts a delivery, in one statement: each request pays for every column and index.
"""

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.conf import settings
from nateq_webhooks.errors import ContentRemovedError
from nateq_webhooks.models.fields import BytesField, ExactCharField
from nateq_webhooks.models.webhook import Webhook
from nateq_webhooks.protocol.envelope import identity_of_id, load_event
from nateq_webhooks.protocol.events import Event
from nateq_webhooks.protocol.invisible_chars import visible

MAX_ATTEMPTS_KEPT = 50
"""Repeated attempts kept per delivery; further ones are only counted (ours: a sender gives up long before)."""


MAX_CONTENTS_KEPT = 10
"""Other contents kept per delivery id (ours: docs/reference/receiving.md)."""


class Delivery(models.Model):
    """What Nateq delivered: the exact bytes, what was parsed from them, and the state of processing."""

    class Status(models.TextChoices):
        """The state of a delivery."""

        RECEIVED = "received", _("In progress")
        "Stored; not every receiver has finished."
        PROCESSED = "processed", _("Processed")
        "Every receiver succeeded, or none is connected."
        FAILED = "failed", _("Retrying")
        "A receiver failed and will be tried again."
        DEAD = "dead", _("Failed for good")
        "A receiver failed and will not be tried again."
        IGNORED = "ignored", _("Ignored")
        "The webhook does not subscribe to its event."
        INVALID = "invalid", _("Invalid")
        "Signed by Nateq, but not a readable JSON object."

    class ContentChange(models.TextChoices):
        """Why the stored content is not what was received."""

        RETENTION = "retention", _("Removed by retention")
        "Body, payload and headers are gone: they were older than `RETENTION` allows."
        ERASURE = "erasure", _("Erased")
        "A person's data was blanked in the body, the payload and the headers."
        REDACTION = "redaction", _("Redacted before storing")
        "Values at the paths of `REDACT` were masked before the row was inserted."

    CONTENT_LOST: ClassVar = (ContentChange.RETENTION, ContentChange.ERASURE)
    "No receiver can run for it: what it would get is not what was received."

    FINISHED: ClassVar = (Status.PROCESSED, Status.DEAD)
    "Every receiver has finished."
    FAILING: ClassVar = (Status.FAILED, Status.DEAD)
    "The last try of a receiver failed."
    UNSETTLED: ClassVar = (Status.RECEIVED, Status.FAILED, Status.DEAD)
    "Receivers may still change these, by themselves or after a replay."

    # The unique constraint starts with the webhook, so the foreign key needs no index of its own.
    webhook = models.ForeignKey(
        Webhook,
        on_delete=models.PROTECT,
        related_name="deliveries",
        db_index=False,
        verbose_name=_("webhook"),
    )
    identity = ExactCharField(_("identity"), max_length=64, help_text=_("SHA-256 of the tagged delivery id."))
    delivery_id = ExactCharField(_("delivery id"), max_length=200)
    event = ExactCharField(_("event"), max_length=200)
    resource = ExactCharField(_("resource"), max_length=100)
    resource_id = ExactCharField(_("resource id"), max_length=200)
    organization_id = ExactCharField(_("organization"), max_length=200)
    timestamp = models.DateTimeField(_("happened"), null=True)
    attempt = models.PositiveIntegerField(_("attempt"), null=True, help_text=_("As the first stored attempt says."))
    version = ExactCharField(_("version"), max_length=20)
    body = BytesField(_("body"))
    headers = models.JSONField(_("headers"))
    payload = models.JSONField(_("payload"), null=True)
    notes = models.JSONField(_("notes"), default=list)
    status = ExactCharField(_("status"), max_length=16, choices=Status)
    received_at = models.DateTimeField(_("received"))
    last_received_at = models.DateTimeField(_("last received"))
    attempts_seen = models.PositiveIntegerField(_("attempts seen"), default=1)
    remote_addr = models.CharField(_("address"), max_length=64, null=True)  # noqa: DJ001 - a unix socket has none
    secret_id = ExactCharField(_("signed with"), max_length=32)
    # For detecting other content under a stored id, and a retry under a new id. NULL: stored by an earlier version.
    # No index: both compare rows that they have found by other columns.
    content_hash = models.CharField(  # noqa: DJ001 - see above
        _("content hash"), max_length=64, null=True, help_text=_("SHA-256 of event, time, organization and data.")
    )
    # Indexed for dispatch: deliveries whose runs must still be created. NULL once they are.
    dispatch_at = models.DateTimeField(_("dispatch at"), null=True, db_index=True)
    # NULL costs the INSERT nothing. For what may be replayed, verified and shown.
    content_change = models.CharField(  # noqa: DJ001 - see above
        _("content"), max_length=10, choices=ContentChange, null=True
    )
    content_changed_at = models.DateTimeField(_("content changed"), null=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering = ["-pk"]
        default_permissions = ("delete", "view")
        permissions = [
            ("view_payload", _("Can see what customers wrote: payloads, tracebacks, searches, exports")),
            ("replay_delivery", _("Can have deliveries run again")),
            ("export_delivery", _("Can export deliveries")),
            ("erase_delivery", _("Can erase what is stored about a person or an organization")),
        ]
        indexes = [
            # For the deliveries of one resource: is_superseded, related deliveries, the search, a retry under a new id.
            models.Index(fields=["resource_id", "timestamp"], name="nateq_delivery_resource"),
            # For the list by status, event and webhook, in any combination (skip_scan), and its counts.
            models.Index(fields=["status", "event", "webhook", "id"], name="nateq_delivery_browse"),
            # For the search by organization: its newest.
            models.Index(fields=["organization_id", "id"], name="nateq_delivery_organization"),
        ]
        constraints = [
            # For the one INSERT of the inbox, and for the search by delivery id.
            models.UniqueConstraint(fields=["webhook", "identity"], name="nateq_delivery_identity"),
        ]

    def __str__(self) -> str:
        named = " ".join(part for part in (self.event, self.delivery_id) if part)
        return visible(named) or f"{_('Delivery')} {self.pk}"

    def is_superseded(self) -> bool:
        """Return whether the webhook delivered a newer event about the same resource: this one may have an old state.

        A retry may come hours late (Nateq: Retries). One query, through an index; False if the delivery has no
        resource id or no timestamp.
        """
        return self.superseding().exists()

    def superseding(self) -> "models.QuerySet[Delivery]":
        """Return the webhook's deliveries of newer events about the same resource, in no order.

        Other webhooks don't count: each may belong to another party, which could use any resource id.
        """
        if not self.resource_id or self.timestamp is None:
            return Delivery.objects.none()
        newer = Delivery.objects.using(self._state.db).filter(
            resource_id=self.resource_id,
            timestamp__gt=self.timestamp,
            webhook_id=self.webhook_id,
            resource=self.resource,
            organization_id=self.organization_id,
        )
        return newer.order_by()

    @property
    def is_content_lost(self) -> bool:
        """Whether its content was removed by retention or an erasure: it can't be run again, or verified."""
        return self.content_change in self.CONTENT_LOST

    def refuse_lost_content(self) -> None:
        """Raise `ContentRemovedError` if its content was removed."""
        if self.is_content_lost:
            raise ContentRemovedError(self.content_lost_text())

    def content_lost_text(self) -> str:
        """Return when and why its content was removed, and what follows from it."""
        moment = self.content_changed_at
        words = {"delivery": self.pk, "date": "?" if moment is None else f"{timezone.localtime(moment):%Y-%m-%d}"}
        if self.content_change == self.ContentChange.ERASURE:
            return gettext("Delivery %(delivery)s was erased on %(date)s; it can't be run again.") % words
        return (
            gettext("The payload of delivery %(delivery)s was removed by retention on %(date)s; it can't be run again.")
            % words
        )

    def load_event(self) -> Event:
        """Parse the event from the stored bytes; no two calls return the same objects.

        If values were masked before it was stored, the event is whole as long as its receivers have not finished; then
        one query reads it, and `DecryptionError` is raised if it can't be decrypted.

        Raises `ValueError` for an `invalid` delivery, and `ContentRemovedError` if its content was removed.
        """
        self.refuse_lost_content()
        parsed: Event | None = self.__dict__.pop(_PARSED, None)
        return load_event(self.whole_body()) if parsed is None else parsed

    def whole_body(self) -> bytes:
        """Return the bytes that receivers get: those that came, if they are kept, else those that are stored.

        Raises `DecryptionError`.
        """
        if self.content_change != self.ContentChange.REDACTION:
            return self.body
        from nateq_webhooks.models.unredacted_body import UnredactedBody  # which refers to this model

        whole = UnredactedBody.objects.using(self._state.db).body_of(self.pk)
        return self.body if whole is None else whole

    def keep_event(self, event: Event) -> None:
        """Let the next `load_event` return `event`, which was parsed from these bytes and which nobody else uses."""
        self.__dict__[_PARSED] = event


_PARSED = "_parsed_event"
"""The key of an event in the delivery's `__dict__`."""


class Reissue(models.Model):
    """A retry that came under a new delivery id: `original` is the earliest delivery with the same content."""

    delivery = models.OneToOneField(
        Delivery, on_delete=models.CASCADE, primary_key=True, related_name="reissue", verbose_name=_("delivery")
    )
    original = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="reissues", verbose_name=_("original")
    )

    class Meta:
        verbose_name = _("delivery under another id")
        verbose_name_plural = _("deliveries under another id")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.delivery_id} = {self.original_id}"


class OtherContent(models.Model):
    """Other content that came under the id of a stored delivery. It is kept, and no receiver runs for it."""

    delivery = models.ForeignKey(
        Delivery,
        on_delete=models.CASCADE,
        related_name="other_contents",
        db_index=False,
        verbose_name=_("delivery"),
    )
    content_hash = ExactCharField(_("content hash"), max_length=64)
    event = ExactCharField(_("event"), max_length=200)
    number = models.PositiveIntegerField(_("attempt"), null=True)
    received_at = models.DateTimeField(_("received"))
    remote_addr = models.CharField(_("address"), max_length=64, null=True)  # noqa: DJ001 - a unix socket has none
    secret_id = ExactCharField(_("signed with"), max_length=32)
    size = models.PositiveBigIntegerField(_("size"))
    body = BytesField(_("body"))
    "Empty if the delivery's other contents have too many bytes already."

    class Meta:
        verbose_name = _("other content")
        verbose_name_plural = _("other contents")
        ordering = ["pk"]
        default_permissions = ()
        constraints = [
            # Each content is kept once; the index also finds and counts those of a delivery.
            models.UniqueConstraint(fields=["delivery", "content_hash"], name="nateq_other_content_once"),
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id}: {self.content_hash[:12]}"

    def load_event(self) -> Event:
        """Parse the event from the kept bytes. Raises `ValueError` if they are not kept or unreadable."""
        if not self.body:
            raise ValueError(f"The bytes of content {self.content_hash[:12]} ({self.size} bytes) are not kept.")
        return load_event(self.body)


class Attempt(models.Model):
    """A repeated attempt of the sender at a delivery that was stored already."""

    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="attempts", verbose_name=_("delivery")
    )
    number = models.PositiveIntegerField(_("attempt"), null=True)
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    remote_addr = models.CharField(_("address"), max_length=64, null=True)  # noqa: DJ001 - a unix socket has none

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["pk"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.number or '?'}"


MAX_DIGITS = 200
"""Longer digits are not treated as an integer id: the id's column has this many characters."""


def with_delivery_id(deliveries: "models.QuerySet[Delivery]", term: str) -> "models.QuerySet[Delivery]":
    """Return those of `deliveries` whose delivery id is `term`, of any webhook."""
    return deliveries.filter(has_delivery_id(term, deliveries.db))


def has_delivery_id(term: str, alias: str | None = None) -> models.Q:
    """Return the condition with every webhook, as the index begins with it: else the database would read every row.

    If the content is the identity (`IDENTITY`), no index has the delivery id, and every row is read.
    """
    webhooks: list[Any] = list(Webhook.objects.using(alias).values_list("pk", flat=True))
    if settings().identity == "content":
        return models.Q(webhook__in=webhooks, delivery_id=term.strip())
    return models.Q(webhook__in=webhooks, identity__in=_identities(term))


def _identities(term: str) -> list[str]:
    """Return the identities that `term` may mean: the text as typed, stripped, or as an integer."""
    bare = term.strip()
    found = {identity_of_id(term), identity_of_id(bare)}
    if bare.isascii() and bare.removeprefix("-").isdecimal() and len(bare) <= MAX_DIGITS:
        number = int(bare)
        if str(number) == bare:
            found.add(identity_of_id(number))
    return sorted(found)
