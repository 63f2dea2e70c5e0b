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
from nateq_webhooks.management.steps import Step, steps
from nateq_webhooks.management.terminal import Lines, TerminalCommand
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.unseen import one_line
from nateq_webhooks.remote.claim import alias

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient

DEFAULT_NAME: Final = "nateq"
PATIENCE_SECONDS: Final = 60.0
"""How long a run waits for another one that is at work on the same webhook: two deployments may start at once."""

DRIFT_EXIT: Final = 3
"""The exit code of a `sync` that leaves both sides different; 1 is a failure, 2 a wrong command line."""

NOT_SEEN: Final = (remote.State.UNSEEN, remote.State.ELSEWHERE)

_BETWEEN: Final = re.compile(r"[\s,]+")


class Command(TerminalCommand):
    """Creates, lists, shows, changes, deletes, rotates and compares webhooks. Prints no secret and no key."""

    help = "Register this site's webhooks at Nateq and keep both sides the same. Prints no secret and no key."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="action")
        create = self._action(actions, "create", "Create the webhook at Nateq, and keep its id and secret here.")
        self._add_events(create, "Events to subscribe to (default: all).")
        create.add_argument(
            "--organization", default="", metavar="ORG", help="The organization at Nateq to bind a new webhook to."
        )
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
        for asking in (create, update, delete, rotate, sync):
            asking.add_argument(
                "--yes",
                "--no-input",
                "--noinput",
                dest="yes",
                action="store_true",
                help="Do not ask before what can end the receipt of deliveries. Needed without a terminal.",
            )
        for knowing in (delete, sync):
            knowing.add_argument(
                "--gone",
                action="store_true",
                help="With --name: you know that Nateq has deleted this webhook, which the key does not see.",
            )
        for dry in (create, update, delete, rotate, sync):
            dry.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do one of the actions."""
        if options.get("gone") and not options["name"]:
            raise CommandError(_("--gone is about one webhook: name it with --name."), returncode=2)
        self._warned: set[str] = set()
        with _told_cleanly():
            getattr(self, f"_{action}")(**options)

    @contextmanager
    def _connected(self, webhook: Webhook | None = None) -> "Iterator[NateqClient]":
        """Connect with the key for a webhook; say once what is odd about it."""
        with remote.connect(webhook) as client:
            self._warn(remote.warnings(client))
            yield client

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self.stderr.write(self.style.WARNING(warning))

    # One method for each action

    def _create(self, *, name: str | None, events: list[str] | None, organization: str = "", **options: Any) -> None:
        names = None if events is None else _names(events)
        name = name or DEFAULT_NAME
        known = Webhook.objects.using(alias()).filter(name=name).first()
        webhook = known or Webhook(name=name, organization_id=organization)
        if organization and webhook.organization_id != organization:
            told = _('Webhook "%(name)s" is bound to organization %(bound)s. Change that in the admin first.')
            raise CommandError(told % {"name": name, "bound": webhook.organization_id or _("none")})
        what = _('Create webhook "%(name)s" at Nateq, with the key in %(key)s') % self._with_key(webhook)
        if options["dry_run"]:
            self._tell(webhook, _("Would do: %(would_do)s."), options, would_do=what)
            return
        with self._connected(webhook) as client:
            if _is_in_use_by_hand(known) and not self._is_at_nateq(client, webhook):
                what = _('Nateq has no webhook with this URL. Create "%(name)s" there and replace its secret here')
                self._confirm(what % {"name": name}, options)
            done = remote.register(client, name, names, patience=PATIENCE_SECONDS, organization_id=organization)
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

    def _list(self, **options: Any) -> None:
        remote.retire_secrets()
        self._warn(remote.each_warning())
        drifts = remote.compare_each(Webhook.objects.using(alias()).all())
        if options["as_json"]:
            self._write_json([as_json(drift) for drift in drifts])
            _fail_for(drifts)
            return
        for drift in drifts:
            self._write_drift(drift)
        if not drifts:
            self.stdout.write(_("There is no webhook yet. Create one: manage.py nateq_webhook create --name shop"))
        _fail_for(drifts)

    def _show(self, *, name: str | None, **options: Any) -> None:
        remote.retire_secrets()
        webhook = _find(name)
        with self._connected(webhook) as client:
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
        dropped = _dropped(webhook, names)
        text = _('Change webhook "%(name)s" (%(id)s) on both sides') % _words(webhook)
        if is_active is False and webhook.is_active:
            text = _('Switch off webhook "%(name)s" (%(id)s) on both sides') % _words(webhook)
        elif dropped:
            text = _('Receive no more %(events)s by webhook "%(name)s"') % {"events": dropped, "name": webhook.name}
        is_ending = (is_active is False and webhook.is_active) or bool(dropped)
        if (options["dry_run"] or is_ending) and not self._is_wanted(webhook, text, options):
            return
        with self._connected(webhook) as client:
            remote.change(client, webhook, events=names, is_active=is_active, patience=PATIENCE_SECONDS)
        self._tell(webhook, _('Webhook "%(name)s" (%(id)s) was changed on both sides.'), options)

    def _delete(self, *, name: str | None, gone: bool = False, **options: Any) -> None:
        webhook = _find(name)
        what = _('Delete webhook "%(name)s" (%(id)s) at Nateq and here') % _words(webhook)
        with self._connected(webhook) as client:
            remote.check_removal(client, webhook, is_gone=gone)
            if not self._is_wanted(webhook, what, options):
                return
            removed = remote.remove(client, webhook, patience=PATIENCE_SECONDS, is_gone=gone)
        text = {
            remote.Removed.DELETED: _('Webhook "%(name)s" was deleted on both sides.'),
            remote.Removed.SWITCHED_OFF: _(
                'Webhook "%(name)s" was deleted at Nateq. Here it has deliveries, so it was switched off and kept.'
            ),
        }[removed]
        self._tell(webhook, text, options, removed=removed.value)

    def _rotate(self, *, name: str | None, **options: Any) -> None:
        webhook = _find(name)
        remote.retire_secrets()
        what = _('Replace the signing secret of webhook "%(name)s" (%(id)s)') % _words(webhook)
        if not self._is_wanted(webhook, what, options):
            return
        with self._connected(webhook) as client:
            remote.rotate(client, webhook, patience=PATIENCE_SECONDS)
        text = _(
            'Webhook "%(name)s" (%(id)s) has a new secret, which was saved. The former one is accepted until the new '
            "one was seen in use, and a while longer for late retries."
        )
        self._tell(webhook, text, options)

    def _sync(self, *, name: str | None, side: "remote.Side | None", gone: bool = False, **options: Any) -> None:
        chosen = [_find(name)] if name else list(Webhook.objects.using(alias()).all())
        self._warn(remote.each_warning())
        drifts = remote.compare_each(chosen)
        would = [text for drift in drifts for text in steps(drift, side, is_gone=gone)]
        refused = _refused(drifts, side, is_gone=gone)
        if not options["dry_run"]:
            if side is not None and (ending := [step.text for step in would if step.is_ending]):
                self._confirm("; ".join(ending), options)
            remote.retire_secrets()
            for drift in drifts:
                self._settle(drift, side, is_gone=gone)
            drifts = remote.compare_each(_still_there(chosen))
        self._report(drifts, would if options["dry_run"] else [], options)
        _fail_for(drifts)
        if refused:
            raise CommandError("\n".join(refused), returncode=DRIFT_EXIT)
        left = [drift.webhook.name for drift in drifts if not drift.is_settled]
        if left:
            hint = _("Both sides differ: %(names)s. Settle it with --push (this side is right) or --pull (Nateq is).")
            raise CommandError(hint % {"names": ", ".join(left)}, returncode=DRIFT_EXIT)

    def _settle(self, drift: "remote.Drift", side: "remote.Side | None", *, is_gone: bool) -> None:
        """Finish what died, then make one side like the other; leave a webhook that the key does not see."""
        webhook = drift.webhook
        if drift.problem is not None:
            return
        with self._connected(webhook) as client:
            if webhook.registration == Webhook.Registration.ROTATING:
                remote.rotate(client, webhook, patience=PATIENCE_SECONDS)
            elif webhook.registration == Webhook.Registration.PENDING:
                remote.register(client, webhook.name, patience=PATIENCE_SECONDS)
            if side is None or (drift.state in NOT_SEEN and not (is_gone and drift.state is remote.State.UNSEEN)):
                return
            if webhook.registration != Webhook.Registration.MANUAL:
                remote.settle(client, webhook, side, patience=PATIENCE_SECONDS, is_gone=is_gone)

    def _report(self, drifts: "list[remote.Drift]", would: "list[Step]", options: dict[str, Any]) -> None:
        if options["as_json"]:
            told: dict[str, list[str]] = {drift.webhook.name: [] for drift in drifts}
            for step in would:
                told.setdefault(step.name, []).append(step.text)
            dry = options["dry_run"]
            self._write_json(
                [as_json(drift) | ({"would_do": told[drift.webhook.name]} if dry else {}) for drift in drifts]
            )
            return
        for drift in drifts:
            self._write_drift(drift)
        for step in would:
            self.stdout.write(_("Would do: %(would_do)s.") % {"would_do": step.text})

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
        self._confirm(what, options)
        return True

    def _confirm(self, what: str, options: dict[str, Any]) -> None:
        """Have what can end the receipt of deliveries confirmed: by `--yes`, or by whoever sits at the terminal."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                _("Nothing was changed: there is no terminal to ask at. Run it again with --yes to do this: %(what)s.")
                % {"what": what}
            )
        try:
            answer = input(f"{one_line(what)}? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError(_("Nothing was changed."))

    def _with_key(self, webhook: Webhook) -> dict[str, str]:
        entry = remote.entry_of(webhook)
        return {"name": webhook.name, "key": f'API_KEYS["{entry}"]' if entry else "API_KEY"}

    def _is_at_nateq(self, client: "NateqClient", webhook: Webhook) -> bool:
        return any(str(webhook.pk) in each.url for each in client.webhooks.list())

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


def _is_in_use_by_hand(webhook: Webhook | None) -> bool:
    """Say whether a webhook that a person set up receives deliveries with a secret that a registration replaces."""
    return webhook is not None and webhook.registration == Webhook.Registration.MANUAL and webhook.is_active


def _dropped(webhook: Webhook, names: list[str] | None) -> str:
    """Return the events that a change ends, with commas between; empty: none."""
    if not names:  # not changed, or all
        return ""
    return ", ".join(name for name in webhook.events or EVENTS if name not in names)


def _still_there(webhooks: list[Webhook]) -> list[Webhook]:
    keys = [webhook.pk for webhook in webhooks]
    found = {webhook.pk: webhook for webhook in Webhook.objects.using(alias()).all()}
    return [found[pk] for pk in keys if pk in found]


def _fail_for(drifts: "list[remote.Drift]") -> None:
    """Raise `CommandError` when Nateq was not seen for some webhooks, with what is wrong with each one's key."""
    names: dict[str, list[str]] = {}
    for drift in drifts:
        if drift.problem is not None:
            names.setdefault(remote.told(drift.problem), []).append(drift.webhook.name)
    if names:
        raise CommandError("\n".join(f"{', '.join(each)}: {problem}" for problem, each in names.items()))


def _refused(drifts: "list[remote.Drift]", side: "remote.Side | None", *, is_gone: bool) -> list[str]:
    """Say of each webhook that the key does not see what was seen, and what to do."""
    unseen = [drift for drift in drifts if drift.state in NOT_SEEN]
    if is_gone and side is not None:
        unseen = [drift for drift in unseen if drift.state is not remote.State.UNSEEN]
    return [remote.unseen_text(drift) for drift in unseen]


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
