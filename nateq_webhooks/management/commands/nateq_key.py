"""`manage.py nateq_key`: the keys of programs that use this site's API."""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks import audit
from nateq_webhooks.dispatch.selection import did_you_mean
from nateq_webhooks.management.selection_options import MAX_NAMES, moment_of
from nateq_webhooks.management.terminal import Lines, TerminalCommand, accept_django_options, usage_error
from nateq_webhooks.models import ApiKey
from nateq_webhooks.models.api_key import ApiKeyQuerySet
from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, LIVE_KEY_PREFIX, Scope

_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d")

_SEPARATORS: Final = re.compile(r"[\s,]+")


class Command(TerminalCommand):
    """Creates, lists and revokes API keys. A key is printed once, when it is created."""

    help = "Create, list and revoke the keys for this site's API. A key is printed once, when it is created."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="action")
        create = _add_action(actions, "create", "Create a key and print it, alone, for a script to read.")
        create.add_argument("name", help="What the key is for.")
        create.add_argument(
            "--scopes",
            nargs="+",
            action="extend",
            required=True,
            metavar="SCOPE",
            help=f"What it may do: {', '.join(Scope)}.",
        )
        create.add_argument("--expires", metavar="TIME", help="When it ends: ISO 8601 (UTC by default), or days: 90d.")
        create.add_argument("--organization", default="", metavar="ORG", help="The only organization that it sees.")
        create.add_argument(
            "--address", action="append", default=[], metavar="IP", help="An address or network it may be used from."
        )
        create.add_argument("--rate-limit", type=int, metavar="N", help="Requests per minute (default: 1000).")
        listing = _add_action(actions, "list", "List the keys, without the keys themselves.")
        listing.add_argument("--json", dest="as_json", action="store_true", help="Write JSON, for a program to read.")
        revoke = _add_action(actions, "revoke", "Refuse a key from now on, for ever.")
        revoke.add_argument("name", help="The key's name.")

    def handle(self, *, action: str, **options: Any) -> None:
        """Run one of the actions."""
        getattr(self, f"_{action}")(**options)

    @sensitive_variables()
    def _create(self, *, name: str, scopes: Sequence[str], expires: str | None = None, **options: Any) -> None:
        row = ApiKey(
            name=name,
            scopes=_scopes(scopes),
            expires_at=_expiry(expires),
            organization_id=options["organization"],
            allowed_addresses=list(options["address"]),
            requests_per_minute=_rate_limit(options["rate_limit"]),
        )
        key = row.issue()
        alias = router.db_for_write(ApiKey)
        try:
            row.full_clean(validate_unique=False)
            with transaction.atomic(using=alias):
                row.save(using=alias)
                details = {"scopes": row.scopes}
                audit.record(audit.Action.API_KEY_CREATED, target=row.name, details=details, using=alias)
        except ValidationError as error:
            raise usage_error(" ".join(error.messages)) from None
        except IntegrityError:
            raise CommandError(
                _('There is a key "%(name)s" already. Revoked keys keep their names: choose another one.')
                % {"name": name}
            ) from None
        self.stderr.write(_("This key is shown only now. Store it where only its program can read it."))
        self.stdout.write(key)

    def _list(self, *, as_json: bool = False, **_options: Any) -> None:
        now = timezone.now()
        rows = [_as_json(row, now) for row in _keys()]
        if as_json:
            self.stdout.write(Lines(json.dumps(rows, indent=2)))
            return
        for row in rows:
            self.stdout.write(
                _("%(name)s: %(state)s, %(hint)s, %(scopes)s, organization %(org)s, expires %(expires)s, used %(used)s")
                % {
                    "name": row["name"],
                    "state": ApiKey.State(row["state"]).label,
                    "hint": row["hint"],
                    "scopes": " ".join(row["scopes"]),
                    "org": row["organization"] or _("any"),
                    "expires": row["expires_at"] or _("never"),
                    "used": row["last_used_at"] or _("never"),
                }
            )
        if not rows:
            self.stdout.write(_("There are no keys."))

    def _revoke(self, *, name: str, **_options: Any) -> None:
        rows = _keys().filter(name=name)
        with transaction.atomic(using=rows.db):
            is_revoked = rows.revoke()
            if is_revoked:
                audit.record(audit.Action.API_KEY_REVOKED, target=name, using=rows.db)
        if is_revoked:
            self.stdout.write(self.style.SUCCESS(_('The key "%(name)s" is revoked.') % {"name": name}))
        elif rows.exists():
            self.stdout.write(_('The key "%(name)s" was revoked before.') % {"name": name})
        else:
            names = _keys().values_list("name", flat=True)[:MAX_NAMES]
            raise CommandError(_('There is no key "%(name)s".') % {"name": name} + did_you_mean(name, names))


def _add_action(actions: Any, name: str, text: str) -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=text, description=text)
    accept_django_options(parser)
    return parser


def _keys() -> ApiKeyQuerySet:
    return ApiKey.objects.using(router.db_for_write(ApiKey))


def _scopes(given: str | Sequence[str]) -> list[str]:
    """Return the scopes, which may be separated by spaces or commas. Raises `CommandError` for an unknown one."""
    scopes = [
        scope for text in ([given] if isinstance(given, str) else given) for scope in _SEPARATORS.split(text) if scope
    ]
    for scope in scopes:
        if scope not in list(Scope):
            words = {"scope": scope, "known": ", ".join(Scope)}
            raise usage_error(
                _("There is no scope %(scope)r. There are: %(known)s.") % words
                + did_you_mean(scope, [known.value for known in Scope])
            )
    return sorted(set(scopes))


def _expiry(given: str | None) -> datetime | None:
    """Return the time of `--expires`. Raises `CommandError` for one that is invalid or has passed."""
    days = _DAYS.fullmatch(given) if isinstance(given, str) else None
    now = timezone.now()
    expires = now + timedelta(days=int(days[1])) if days else moment_of("--expires", given)
    if expires is not None and expires <= now:
        raise usage_error(_("--expires is %(text)r, which has passed.") % {"text": given})
    return expires


def _rate_limit(given: int | None) -> int:
    if given is None:
        return LIMIT_PER_MINUTE[LIVE_KEY_PREFIX]
    if not 1 <= given <= 1_000_000:
        raise usage_error(_("--rate-limit is %(number)d. Legal values: 1 to 1000000.") % {"number": given})
    return given


def _as_json(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "name": key.name,
        "hint": key.hint,
        "state": key.state(now).value,
        "scopes": key.scopes,
        "organization": key.organization_id,
        "allowed_addresses": key.allowed_addresses,
        "requests_per_minute": key.requests_per_minute,
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "revoked_at": _moment(key.revoked_at),
        "last_used_at": _moment(key.last_used_at),
    }


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")
