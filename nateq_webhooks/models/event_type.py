"""Events of Nateq's catalogue that are not built in (Nateq: `GET /api/v1/webhooks/events`)."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.models.fields import ExactCharField, SafeCharField
from nateq_webhooks.protocol.events import EVENTS


class EventTypeQuerySet(models.QuerySet["EventType"]):
    """Event types from Nateq's catalogue."""

    def remember(self, live: dict[str, str]) -> None:
        """Store the names and descriptions of a catalogue that are not built in."""
        limit = self.model._meta.get_field("name").max_length or 0
        for name, description in live.items():
            if name not in EVENTS and 0 < len(name) <= limit:
                self.update_or_create(name=name, defaults={"description": description[:500], "seen_at": timezone.now()})


class EventType(models.Model):
    """An event that Nateq offers and that is not built in: it has a signal and is a choice in the admin."""

    name = ExactCharField(_("event"), max_length=200, unique=True)
    description = SafeCharField(_("fires when"), max_length=500, blank=True, default="")
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    objects = EventTypeQuerySet.as_manager()

    class Meta:
        verbose_name = _("event type")
        verbose_name_plural = _("event types")
        ordering = ["name"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.name


def known_events() -> dict[str, str]:
    """Return every known event and when it fires: the built-in ones, then those of the catalogue."""
    return EVENTS | dict(EventType.objects.exclude(name__in=EVENTS).values_list("name", "description"))
