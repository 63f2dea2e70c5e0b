"""Whose data is to be erased."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from nateq_webhooks.database.keyset.date_ranges import EARLIEST, LATEST
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models.delivery_texts import stored_text
from nateq_webhooks.protocol.erasing import ANY, Path, Person, parse_path, person_of
from nateq_webhooks.protocol.quoted_text import canonical
from nateq_webhooks.protocol.quotes import equivalents

Where = Mapping[str, object] | Iterable[tuple[str, object]]
"""Paths and values: one of them is enough to identify the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """A person, by values at paths; an organization; or a person in an organization. `since` narrows both."""

    where: tuple[tuple[str, str], ...] = ()
    organization: str = ""
    since: datetime | None = None
    "Received at this time or later."
    names_everywhere: bool = False
    "Whether names and short numbers are searched for in other people's deliveries, too."

    @classmethod
    def of(
        cls,
        where: Where = (),
        organization: str = "",
        since: datetime | None = None,
        *,
        names_everywhere: bool = False,
    ) -> "Criteria":
        """Return the criteria. Raises `ErasureError` if they name nobody, or if a path or a value is unusable."""
        pairs = tuple(sorted({(path.strip(), _as_text(path, value)) for path, value in _pairs(where)}))
        for path, _value in pairs:
            try:
                parse_path(path)
            except ValueError as error:
                raise ErasureError(str(error)) from None
        if not pairs and not organization:
            raise ErasureError(_("Say whose data to erase: a path and a value, or an organization."))
        if not isinstance(organization, str):
            raise ErasureError(_("The organization is no text."))
        moment = _moment(since)
        return cls(where=pairs, organization=organization, since=moment, names_everywhere=names_everywhere)

    @property
    def wanted(self) -> dict[Path, frozenset[str]]:
        """The values to look for, by their path."""
        found: dict[Path, frozenset[str]] = {}
        for path, value in self.where:
            keys = parse_path(path)
            found[keys] = found.get(keys, frozenset()) | {value}
        return found

    @property
    def person(self) -> Person:
        """What identifies the person or the organization, as far as the criteria say it."""
        found = Person()
        for path, value in self.where or (("organization_id", self.organization),):
            found |= person_of(value, next(key for key in reversed(parse_path(path)) if key != ANY))
        return found

    def organization_ids(self, alias: str) -> frozenset[str]:
        """Return the organization as the column of deliveries stores it, cut, in its canonical form."""
        written = {self.organization, *equivalents(self.organization)}
        return frozenset(canonical(stored_text(form, "organization_id", alias)) for form in written)

    def in_organization(self, column: str, alias: str) -> Q:
        """Return the condition for a person's rows in the organization; rows of another one may fulfil it, too.

        Databases compare composed accents with others as different, so only a plain id narrows the rows.
        """
        if not (self.where and self.organization and self.organization.isascii()):
            return Q()
        return Q(**{column: stored_text(self.organization, "organization_id", alias)})

    def key(self, *, blank: bool) -> str:
        """Return a keyed hash of the criteria: the same command finds its progress, and nobody reads a name in it."""
        since = None if self.since is None else self.since.isoformat()
        text = json.dumps([self.where, self.organization, since, blank, self.names_everywhere])
        return salted_hmac("nateq_webhooks.erasure", text, algorithm="sha256").hexdigest()


def _pairs(where: object) -> list[tuple[str, object]]:
    """Return the paths and values. Raises `ErasureError` for anything else."""
    given = where.items() if isinstance(where, Mapping) else where
    pairs: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [None]
    if all(isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return [(path, value) for path, value in pairs]
    raise ErasureError(_("Give paths and values as a dict: {'data.requester.id': 'usr_9'}."))


def _moment(since: object) -> datetime | None:
    """Return a time in UTC, as the command takes it: a day begins at midnight, a time without a zone is in UTC.

    Raises `ErasureError` for anything else.
    """
    if since is None:
        return None
    if isinstance(since, date) and not isinstance(since, datetime):
        since = datetime(since.year, since.month, since.day, tzinfo=UTC)
    if not isinstance(since, datetime):
        raise ErasureError(_("The time since when is no datetime."))
    # No delivery is older or newer, and the first and the last day have no time in other time zones.
    naive = since.replace(tzinfo=UTC)
    if not EARLIEST < naive < LATEST:
        return EARLIEST if naive <= EARLIEST else LATEST
    return since.astimezone(UTC) if timezone.is_aware(since) else naive


def _as_text(path: str, value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        text = json.dumps(value)
    else:
        text = ""
    if not text.strip():
        raise ErasureError(_("The value of %(path)s is empty, or neither text nor a number.") % {"path": path})
    return text
