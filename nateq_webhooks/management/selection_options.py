"""The options of the commands that select deliveries."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from nateq_webhooks.dispatch.selection import Selection, did_you_mean
from nateq_webhooks.management.terminal import usage_error
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.delivery import with_delivery_id
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.receivers import ANY_EVENT, registry

_STATUSES: Final = tuple(Delivery.Status.values)

MAX_NAMES: Final = 1_000
"""Names of webhooks that are compared for a suggestion."""


def add_all_option(parser: CommandParser, help_text: str) -> None:
    """Add `--all`, which a command requires to act on all rows."""
    parser.add_argument("--all", action="store_true", dest="is_all", help=help_text)


def require_explicit_all(*, is_all: bool, narrowed_by: Sequence[str]) -> None:
    """Raise `CommandError` unless exactly one is given: `--all`, or an option that narrows the selection."""
    if is_all and narrowed_by:
        raise usage_error(
            _("--all can't be combined with %(options)s. Use one or the other.") % {"options": ", ".join(narrowed_by)}
        )
    if not is_all and not narrowed_by:
        raise usage_error(_("This would apply to everything. Add --all if you mean that, or narrow it down."))


def add_webhook_option(parser: CommandParser) -> None:
    """Add `--webhook`."""
    parser.add_argument("--webhook", metavar="NAME", help="The webhook's name or id.")


def add_selection_options(parser: CommandParser) -> None:
    """Add the options that select deliveries."""
    add_webhook_option(parser)
    parser.add_argument("--event", default="", help="The event's name, such as ticket.created.")
    parser.add_argument("--status", default="", metavar="STATUS", help=f"How far it got: {', '.join(_STATUSES)}.")
    parser.add_argument("--since", metavar="TIME", help="Received at this time or later (ISO 8601; UTC by default).")
    parser.add_argument("--until", metavar="TIME", help="Received before this time.")
    parser.add_argument(
        "--delivery",
        action="append",
        default=[],
        metavar="ID",
        help="A delivery id as Nateq sent it; may be repeated.",
    )


def several(given: str | Sequence[str] | None) -> list[str]:
    """Return the values of a repeatable option; `call_command` passes a single value as it is."""
    return [given] if isinstance(given, str) else list(given or ())


def webhook_named(name: str) -> Webhook:
    """Return the webhook of this name or id. Raises `CommandError` with the known names."""
    webhooks = Webhook.objects.using(router.db_for_write(Webhook))
    try:
        found = webhooks.filter(name=name).first() or webhooks.filter(pk=name).first()
    except (ValidationError, ValueError):
        found = None
    if found is None:
        names = list(webhooks.order_by("name").values_list("name", flat=True)[:MAX_NAMES])
        words = {"name": name, "known": ", ".join(names[:20]) or _("none")}
        said = _("There is no webhook %(name)r. There are: %(known)s.") % words
        raise CommandError(said + did_you_mean(str(name), names))
    return found


def selection_of(options: Mapping[str, Any]) -> Selection:
    """Return the selection of the options. Raises `CommandError` for an invalid value."""
    webhook = webhook_named(options["webhook"]) if options["webhook"] else None
    _refuse_unknown_status(options["status"])
    _refuse_unknown_event(options["event"])
    since, until = moment_of("--since", options["since"]), moment_of("--until", options["until"])
    if since is not None and until is not None and since >= until:
        raise usage_error(_("--since is not before --until, so no delivery can be selected."))
    return Selection(
        webhook=str(webhook.pk) if webhook else "",
        event=options["event"],
        status=options["status"],
        since=since,
        until=until,
        deliveries=tuple(pk for delivery_id in several(options["delivery"]) for pk in _keys(delivery_id, webhook)),
    )


def narrowed_by(options: Mapping[str, Any]) -> list[str]:
    """Return the given options that narrow the selection."""
    return [f"--{name}" for name in _NARROWING if options[name]]


_NARROWING: Final = ("webhook", "event", "status", "since", "until", "delivery")


def _refuse_unknown_status(status: str) -> None:
    if status and status not in _STATUSES:
        words = {"status": status, "known": ", ".join(_STATUSES)}
        said = _("There is no status %(status)r. There are: %(known)s.") % words
        raise usage_error(said + did_you_mean(status, _STATUSES))


def _refuse_unknown_event(event: str) -> None:
    """Refuse an event that is unknown and that no delivery has: it is a typing error."""
    known = known_events().keys() | registry.events() - {ANY_EVENT}
    if not event or event in known:
        return
    # With the status, the first column of the index.
    if not _deliveries().filter(status__in=_STATUSES, event=event).exists():
        said = _("There is no event %(event)r, and no delivery of it.") % {"event": event}
        raise CommandError(said + did_you_mean(event, known))


def _deliveries() -> QuerySet[Delivery]:
    """Return the deliveries of the writing database: a replica may lag behind."""
    return Delivery.objects.using(router.db_for_write(Delivery))


def _keys(delivery_id: str, webhook: Webhook | None) -> list[int]:
    rows: QuerySet[Delivery] = with_delivery_id(_deliveries(), delivery_id)
    if webhook is not None:
        rows = rows.filter(webhook=webhook)
    found = list(rows.values_list("pk", flat=True))
    if not found:
        raise CommandError(_("There is no delivery with the id %(id)r.") % {"id": delivery_id})
    return found


def moment_of(option: str, given: str | date | None) -> datetime | None:
    """Return the time of an option; `call_command` may pass a `date` or `datetime`."""
    if given is None:
        return None
    text = given.isoformat() if isinstance(given, date) else given
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)) is not None:
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None:
        example = "2026-06-30T12:00"
        raise usage_error(
            _("%(option)s is %(text)r, which is not a time. Write it like %(example)s.")
            % {"option": option, "text": text, "example": example}
        )
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=UTC)
