"""`manage.py nateq_webhook`: this site's webhooks at Nateq, registered, compared, rotated and deleted."""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.errors import ApiError
from nateq_webhooks.management.shown import as_json, in_words, row, secrets
from nateq_webhooks.management.terminal import Lines, TerminalCommand
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.unseen import one_line
from nateq_webhooks.remote.claim import alias

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient

DEFAULT_NAME: Final = "nateq"
PATIENCE_SECONDS: Final = 60.0
"""How long a run waits for another one that is at work on the same webhook: two deployments may start at once."""

DRIFT_EXIT: Final = 3
"""The exit code of a `sync` that leaves both sides different; 1 is a failure, 2 a wrong command line."""

_BETWEEN: Final = re.compile(r"[\s,]+")


class Command(TerminalCommand):
    """Creates, lists, shows, changes, deletes, rotates and compares webhooks. Prints no secret and no key."""

    help = "Register this site's webhooks at Nateq and keep both sides the same. Prints no secret and no key."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="action")
        create = self._action(actions, "create", "Create the webhook at Nateq, and keep its id and secret here.")
        self._add_events(create, "Events to subscribe to (default: all).")
        self._action(actions, "list", "List the webhooks of this site and how Nateq's compare.", has_name=False)
        self._action(actions, "show", "Show one webhook, here and at Nateq.")
        update = self._action(actions, "update", "Change the events of a webhook, or switch it, on both sides.")
        self._add_events(update, "The events to subscribe to from now on; without a name: all.")
        switch = update.add_mutually_exclusive_group()
        switch.add_argument("--active", dest="is_active", action="store_const", const=True, help="Switch it on.")
        switch.add_argument("--inactive", dest="is_active", action="store_const", const=False, help="Switch it off.")
        delete = self._action(actions, "delete", "Delete a webhook at Nateq and here.")
        rotate = self._action(actions, "rotate", "Have Nateq make a new secret; the former one stays for late retries.")
        sync = self._action(
            actions, "sync", "Finish what died, show where both sides differ, and settle it if told to."
        )
        way = sync.add_mutually_exclusive_group()
        way.add_argument(
            "--push", dest="side", action="store_const", const=remote.Side.HERE, help="This side is right."
        )
        way.add_argument("--pull", dest="side", action="store_const", const=remote.Side.NATEQ, help="Nateq is right.")
        for destructive in (delete, rotate):
            destructive.add_argument(
                "--no-input", "--noinput", action="store_true", help="Do not ask. Without a terminal nobody is asked."
            )
        for dry in (delete, rotate, sync):
            dry.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do one of the actions."""
        with _told_cleanly(), remote.connect() as client:
            for warning in remote.warnings(client):
                self.stderr.write(self.style.WARNING(warning))
            getattr(self, f"_{action}")(client, **options)

    # One method for each action

    def _create(self, client: "NateqClient", *, name: str | None, events: list[str] | None, **options: Any) -> None:
        names = None if events is None else _names(events)
        done = remote.register(client, name or DEFAULT_NAME, names, patience=PATIENCE_SECONDS)
        text = {
            remote.How.CREATED: _('Webhook "%(name)s" was created at Nateq as %(id)s. Its secret was saved.'),
            remote.How.ADOPTED: _(
                'Webhook "%(name)s" was at Nateq already, from a run that did not end: %(id)s. It has a new secret, '
                "which was saved."
            ),
            remote.How.LINKED: _('Webhook "%(name)s" was set up at Nateq by hand: %(id)s. Its secret stays.'),
            remote.How.UNCHANGED: _('Webhook "%(name)s" is registered at Nateq as %(id)s. Nothing was changed.'),
        }[done.how]
        self._tell(done.webhook, text, options, how=done.how.value)

    def _list(self, client: "NateqClient", **options: Any) -> None:
        remote.retire_secrets()
        drifts = remote.compare(client)
        if options["as_json"]:
            self._write_json([as_json(drift) for drift in drifts])
            return
        for drift in drifts:
            self._write_drift(drift)
        if not drifts:
            self.stdout.write(_("There is no webhook yet. Create one: manage.py nateq_webhook create --name shop"))

    def _show(self, client: "NateqClient", *, name: str | None, **options: Any) -> None:
        remote.retire_secrets()
        webhook = _find(name)
        drift = remote.drift_of(client, webhook)
        if options["as_json"]:
            self._write_json(as_json(drift) | {"secrets": secrets(webhook)})
            return
        self._write_drift(drift)
        self.stdout.write("  " + _("URL: %(url)s") % {"url": remote.public_url(webhook)})
        self.stdout.write("  " + _("events: %(events)s") % {"events": ", ".join(webhook.events) or _("all")})
        for secret in secrets(webhook):
            end = secret["expires_at"] or (_("when the new one is used") if secret["is_retiring"] else _("never"))
            self.stdout.write("  " + _("secret %(id)s, ends: %(end)s") % {"id": secret["id"], "end": end})

    def _update(
        self,
        client: "NateqClient",
        *,
        name: str | None,
        events: list[str] | None,
        is_active: bool | None,
        **options: Any,
    ) -> None:
        webhook = _find(name)
        if events is None and is_active is None:
            raise CommandError(_("Nothing to change. Give --events, --active or --inactive."), returncode=2)
        names = None if events is None else _names(events)
        remote.change(client, webhook, events=names, is_active=is_active, patience=PATIENCE_SECONDS)
        self._tell(webhook, _('Webhook "%(name)s" (%(id)s) was changed on both sides.'), options)

    def _delete(self, client: "NateqClient", *, name: str | None, **options: Any) -> None:
        webhook = _find(name)
        what = _('Delete webhook "%(name)s" (%(id)s) at Nateq and here') % _words(webhook)
        if not self._is_wanted(webhook, what, options):
            return
        removed = remote.remove(client, webhook, patience=PATIENCE_SECONDS)
        text = {
            remote.Removed.DELETED: _('Webhook "%(name)s" was deleted on both sides.'),
            remote.Removed.SWITCHED_OFF: _(
                'Webhook "%(name)s" was deleted at Nateq. Here it has deliveries, so it was switched off and kept.'
            ),
        }[removed]
        self._tell(webhook, text, options, removed=removed.value)

    def _rotate(self, client: "NateqClient", *, name: str | None, **options: Any) -> None:
        webhook = _find(name)
        remote.retire_secrets()
        what = _('Replace the signing secret of webhook "%(name)s" (%(id)s)') % _words(webhook)
        if not self._is_wanted(webhook, what, options):
            return
        remote.rotate(client, webhook, patience=PATIENCE_SECONDS)
        text = _(
            'Webhook "%(name)s" (%(id)s) has a new secret, which was saved. The former one is accepted until the new '
            "one was seen in use, and a while longer for late retries."
        )
        self._tell(webhook, text, options)

    def _sync(
        self,
        client: "NateqClient",
        *,
        name: str | None,
        side: "remote.Side | None",
        **options: Any,
    ) -> None:
        chosen = [_find(name)] if name else list(Webhook.objects.using(alias()).all())
        if not options["dry_run"]:
            remote.retire_secrets()
            for webhook in chosen:
                self._settle(client, webhook, side)
        names = {webhook.pk for webhook in chosen}
        drifts = [drift for drift in remote.compare(client) if drift.webhook.pk in names]
        if options["as_json"]:
            self._write_json([as_json(drift) for drift in drifts])
        else:
            for drift in drifts:
                self._write_drift(drift)
        left = [drift.webhook.name for drift in drifts if not drift.is_settled]
        if left:
            hint = _("Both sides differ: %(names)s. Settle it with --push (this side is right) or --pull (Nateq is).")
            raise CommandError(hint % {"names": ", ".join(left)}, returncode=DRIFT_EXIT)

    def _settle(self, client: "NateqClient", webhook: Webhook, side: "remote.Side | None") -> None:
        """Finish what died, then make one side like the other."""
        if webhook.registration == Webhook.Registration.ROTATING:
            remote.rotate(client, webhook, patience=PATIENCE_SECONDS)
        elif webhook.registration == Webhook.Registration.PENDING:
            remote.register(client, webhook.name, patience=PATIENCE_SECONDS)
        if side is not None:
            remote.settle(client, webhook, side, patience=PATIENCE_SECONDS)

    # What they share

    def _action(self, actions: Any, name: str, text: str, *, has_name: bool = True) -> CommandParser:
        parser: CommandParser = actions.add_parser(name, help=text, description=text)
        if has_name:
            parser.add_argument("--name", help="The local name (default: the only one; for create: nateq).")
        parser.add_argument("--json", dest="as_json", action="store_true", help="Write JSON, for a program to read.")
        return parser

    def _add_events(self, parser: CommandParser, text: str) -> None:
        parser.add_argument("--events", "--event", nargs="*", action="extend", metavar="EVENT", help=text)

    def _is_wanted(self, webhook: Webhook, what: str, options: dict[str, Any]) -> bool:
        """Ask whoever sits at the terminal, unless told not to; with `--dry-run` say what it would be."""
        if options["dry_run"]:
            self._tell(webhook, _("Would do: %(would_do)s."), options, would_do=what)
            return False
        if options["no_input"] or not sys.stdin.isatty():  # a script that runs this means it
            return True
        try:
            answer = input(f"{one_line(what)}? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError(_("Nothing was changed."))
        return True

    def _tell(self, webhook: Webhook, text: str, options: dict[str, Any], **more: str) -> None:
        if options["as_json"]:
            self._write_json(row(webhook) | more)
        else:
            self.stdout.write(self.style.SUCCESS(text % (_words(webhook) | more)))

    def _write_drift(self, drift: "remote.Drift") -> None:
        self.stdout.write(f"{drift.webhook.name}  {drift.webhook.nateq_id or '-'}  {in_words(drift.state)}")
        for difference in drift.differences:
            told = _("%(what)s: here %(here)s, at Nateq %(there)s")
            self.stdout.write(
                "  " + told % {"what": difference.name, "here": difference.here, "there": difference.there}
            )
        for nateq_id in drift.extra:
            self.stdout.write("  " + _("Nateq has one more with this URL: %(id)s") % {"id": nateq_id})

    def _write_json(self, value: Any) -> None:
        self.stdout.write(Lines(json.dumps(value, indent=2, ensure_ascii=False)))


@contextmanager
def _told_cleanly() -> Iterator[None]:
    """Turn what goes wrong into an error of the command; the client's messages say what to do."""
    try:
        yield
    except (ApiError, remote.RemoteError) as error:
        raise CommandError(remote.told(error)) from None


def _find(name: str | None) -> Webhook:
    """Return the webhook of this name; without one the only one there is."""
    rows = list(Webhook.objects.using(alias()).filter(**({"name": name} if name else {}))[:20])
    if len(rows) == 1:
        return rows[0]
    known = ", ".join(Webhook.objects.using(alias()).values_list("name", flat=True)[:20]) or _("none")
    if name:
        told = _('There is no webhook "%(name)s" here. There are: %(known)s.')
        raise CommandError(told % {"name": name, "known": known})
    raise CommandError(_("Say which webhook with --name. There are: %(known)s.") % {"known": known})


def _names(events: Iterable[str]) -> list[str]:
    """Read names given one by one or with commas between them."""
    return list(dict.fromkeys(name for text in events for name in _BETWEEN.split(text) if name))


def _words(webhook: Webhook) -> dict[str, str]:
    return {"name": webhook.name, "id": webhook.nateq_id or "-"}
