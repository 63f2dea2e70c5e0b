"""What people did to one row, from the audit log: a section of the pages of deliveries, webhooks and receivers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib.admin.sites import AdminSite
from django.db.models import Q, Subquery

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import AuditEntry, Webhook
from nateq_webhooks.models.hold import receiver_scope

Action = AuditEntry.Action

MAX_SHOWN: Final = 20
"""Entries that are shown, the newest ones."""

MAX_LOOKED_THROUGH: Final = 10_000
"""Entries of the audit log that are looked through, the newest ones: no index has what an entry is about."""

OF_WEBHOOK: Final = frozenset(
    {
        Action.SECRET_REVEALED,
        Action.SECRET_CHANGED,
        Action.WEBHOOK_CREATED,
        Action.WEBHOOK_CHANGED,
        Action.WEBHOOK_DELETED,
    }
)
"""Actions whose target is the name of a webhook."""

OF_HOLD: Final = frozenset({Action.PAUSED, Action.RESUMED})

OF_RECEIVER: Final = frozenset({Action.REASSIGNED, Action.DROPPED})
"""Actions whose target may be the name of a receiver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLine:
    """An entry of the audit log, to show."""

    moment: str | None
    action: str
    url: str
    "Of the entry's page."
    actor: str
    source: str
    about: str
    "What the entry is about, if it is not just what the page is about: a replay, a former name."
    numbers: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSection:
    """The newest entries about one row."""

    lines: Sequence[AuditLine]
    more_url: str
    "The audit log, searched for what the entries are about; empty if all that were found are here."


@dataclass(frozen=True, kw_only=True, slots=True)
class _About:
    """Which entries are about the row of a page."""

    targets: Mapping[str, frozenset[Action]]
    "What they may name, with the actions that count for each."
    own: Collection[str]
    "Those of them that name the row itself, as it is called now."
    search: str
    "What the search of the audit log finds them by."
    webhook_id: UUID | None = None
    receiver: str = ""

    @property
    def actions(self) -> list[str]:
        """The actions that may count."""
        return sorted({action.value for actions in self.targets.values() for action in actions})

    @property
    def condition(self) -> Q:
        """The condition that they meet; others may meet it, too."""
        named = Q(target__in=list(self.targets))
        if self.webhook_id is not None:  # older entries have no id: they are found by the present name
            return Q(webhook_id=self.webhook_id) | (named & Q(webhook_id=None))
        return named | Q(target__endswith=self._of_one_webhook) if self.receiver else named

    def has(self, entry: AuditEntry) -> bool:
        """Return whether an entry that meets the condition is about the row: a collation may ignore differences."""
        if entry.webhook_id is not None and entry.webhook_id == self.webhook_id:
            return True
        if self.receiver and entry.action in OF_HOLD and entry.target.endswith(self._of_one_webhook):
            return True
        return entry.action in self.targets.get(entry.target, ())

    @property
    def _of_one_webhook(self) -> str:
        """The end of a target that is the hold of the receiver for one webhook."""
        return f"/{receiver_scope(self.receiver)}"


def of_delivery(pk: int, replays: Collection[int], site: AdminSite, permitted: PermittedRows) -> AuditSection | None:
    """Return what was done with a delivery: downloads of its body, and the replays that it was part of."""
    name = f"delivery {pk}"
    targets = {each: frozenset(Action) for each in (name, *(f"replay {number}" for number in replays))}
    return _section(_About(targets=targets, own=[name], search=name), site, permitted)


def of_webhook(webhook: Webhook, site: AdminSite, permitted: PermittedRows) -> AuditSection | None:
    """Return what was done with a webhook, whatever its name was at that time."""
    targets = {webhook.name: OF_WEBHOOK, f"webhook:{webhook.name}": OF_HOLD}
    about = _About(targets=targets, own=targets.keys(), search=str(webhook.pk), webhook_id=webhook.pk)
    return _section(about, site, permitted)


def of_receiver(receiver: str, site: AdminSite, permitted: PermittedRows) -> AuditSection | None:
    """Return what was done with a receiver: pauses, also for one webhook, and runs that were dropped or reassigned."""
    targets = {receiver_scope(receiver): OF_HOLD, receiver: OF_RECEIVER}
    return _section(_About(targets=targets, own=targets.keys(), search=receiver, receiver=receiver), site, permitted)


def numbers_text(entry: AuditEntry) -> str:
    """Return the numbers among an entry's details, those that are zero left out."""
    details = entry.details if isinstance(entry.details, dict) else {}
    return ", ".join(f"{name}={value}" for name, value in details.items() if type(value) is int and value)


def _section(about: _About, site: AdminSite, permitted: PermittedRows) -> AuditSection | None:
    """Return the entries about a row; one statement, which is bounded.

    None if there are none, or the user may not see the audit log.
    """
    if not permitted.may_view(AuditEntry):
        return None
    rows = permitted.of(AuditEntry)
    newest: Any = Subquery(AuditEntry.objects.using(rows.db).order_by("-pk").values("pk")[:1])
    recent = rows.filter(about.condition, pk__gt=newest - MAX_LOOKED_THROUGH, action__in=about.actions)
    found = [entry for entry in recent.order_by("-pk")[: MAX_SHOWN + 1] if about.has(entry)]
    if not found:
        return None
    more = admin_url(site, AuditEntry, "changelist", q=about.search) if len(found) > MAX_SHOWN else ""
    return AuditSection(lines=[_line(entry, about.own, site) for entry in found[:MAX_SHOWN]], more_url=more)


def _line(entry: AuditEntry, own: Collection[str], site: AdminSite) -> AuditLine:
    return AuditLine(
        moment=formatting.moment(entry.at),
        action=str(entry.get_action_display()),
        url=admin_url(site, AuditEntry, "change", entry.pk),
        actor=formatting.visible(entry.actor),
        source=str(entry.get_source_display()),
        about="" if entry.target in own else formatting.visible(entry.target),
        numbers=numbers_text(entry),
    )
