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
from nateq_webhooks.management.prompts import require_yes
from nateq_webhooks.management.serializers import drift_json, secrets_json, state_text, webhook_json
from nateq_webhooks.management.sync_steps import Step, sync_steps
from nateq_webhooks.management.terminal import Lines, TerminalCommand, usage_error
from nateq_webhooks.management.webhook_options import add_webhook_actions
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.remote.claim import LEASE, alias
from nateq_webhooks.remote.connection import all_key_warnings, key_warnings
from nateq_webhooks.remote.drift import not_visible_text
from nateq_webhooks.remote.error_text import localized
from nateq_webhooks.remote.keys import key_entry, setting_name
from nateq_webhooks.remote.public_urls import public_url

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient

DEFAULT_NAME: Final = "nateq"

WAIT_SECONDS: Final = LEASE.total_seconds() + 30
"""How long to wait for another run on the same webhook: longer than the claim of a killed one lasts."""

DRIFT_EXIT: Final = 3
"""The exit code of a `sync` that leaves both sides different; 1 is a failure, 2 a wrong command line."""

NOT_VISIBLE: Final = (remote.DriftState.NOT_VISIBLE, remote.DriftState.OTHER_ORGANIZATION)

_SEPARATORS: Final = re.compile(r"[\s,]+")


class Command(TerminalCommand):
    """Creates, lists, shows, changes, deletes, rotates and compares webhooks. Prints no secret and no key."""

    help = "Register this site's webhooks at Nateq and keep both sides the same. Prints no secret and no key."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions and their options."""
        add_webhook_actions(parser)

    def handle(self, *, action: str, **options: Any) -> None:
        """Run one of the actions."""
        if options.get("gone") and not options["name"]:
            raise usage_error(_("--gone is about one webhook: name it with --name."))
        self._shown_warnings: set[str] = set()
        with _command_errors():
            getattr(self, f"_{action}")(**options)

    @contextmanager
    def _connected(self, webhook: Webhook | None = None) -> "Iterator[NateqClient]":
        """Connect with the key for a webhook; print each warning about a key once."""
        with remote.connect(webhook) as client:
            self._warn(key_warnings(client))
            yield client

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            if warning not in self._shown_warnings:
                self._shown_warnings.add(warning)
                self.stderr.write(self.style.WARNING(warning))

    # One method for each action

    def _create(self, *, name: str | None, events: list[str] | None, organization: str = "", **options: Any) -> None:
        names = None if events is None else _event_names(events)
        name = name or DEFAULT_NAME
        existing = Webhook.objects.using(alias()).filter(name=name).first()
        webhook = existing or Webhook(name=name, organization_id=organization)
        if organization and webhook.organization_id != organization:
            text = _('Webhook "%(name)s" is bound to organization %(bound)s. Change that in the admin first.')
            raise CommandError(text % {"name": name, "bound": webhook.organization_id or _("none")})
        if options["dry_run"]:
            words = {"name": webhook.name, "key": setting_name(key_entry(webhook))}
            what = _('Create webhook "%(name)s" at Nateq, with the key in %(key)s') % words
            self._write_result(webhook, _("Would do: %(would_do)s."), options, would_do=what)
            return
        with self._connected(webhook) as client:
            if _is_in_use_by_hand(existing) and not _is_at_nateq(client, webhook):
                what = _('Nateq has no webhook with this URL. Create "%(name)s" there and replace its secret here')
                self._confirm(what % {"name": name}, options)
            done = remote.register(client, name, names, wait_seconds=WAIT_SECONDS, organization_id=organization)
        text = {
            remote.RegistrationResult.CREATED: _(
                'Webhook "%(name)s" was created at Nateq as %(id)s. Its secret was saved.'
            ),
            remote.RegistrationResult.ADOPTED: _(
                'Webhook "%(name)s" was at Nateq already, from a run that was interrupted: %(id)s. It has a new '
                "secret, which was saved."
            ),
            remote.RegistrationResult.LINKED: _(
                'Webhook "%(name)s" was set up at Nateq by hand: %(id)s. Its secret stays.'
            ),
            remote.RegistrationResult.UNCHANGED: _(
                'Webhook "%(name)s" is registered at Nateq as %(id)s. Nothing was changed.'
            ),
        }[done.result]
        self._write_result(done.webhook, text, options, how=done.result.value)

    def _list(self, **options: Any) -> None:
        remote.retire_secrets()
        self._warn(all_key_warnings())
        drifts = remote.compare_each(Webhook.objects.using(alias()).all())
        if options["as_json"]:
            self._write_json([drift_json(drift) for drift in drifts])
        else:
            for drift in drifts:
                self._write_drift(drift)
            if not drifts:
                self.stdout.write(_("There is no webhook yet. Create one: manage.py nateq_webhook create --name shop"))
        _raise_problems(drifts)

    def _show(self, *, name: str | None, **options: Any) -> None:
        remote.retire_secrets()
        webhook = _find(name)
        with self._connected(webhook) as client:
            drift = remote.compare_one(client, webhook)
        if options["as_json"]:
            self._write_json(drift_json(drift) | {"secrets": secrets_json(webhook)})
            return
        self._write_drift(drift)
        self.stdout.write("  " + _("URL: %(url)s") % {"url": public_url(webhook)})
        self.stdout.write("  " + _("events: %(events)s") % {"events": ", ".join(webhook.events) or _("all")})
        for secret in secrets_json(webhook):
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
            raise usage_error(_("Nothing to change. Give --events, --active or --inactive."))
        names = None if events is None else _event_names(events)
        dropped = _dropped_events(webhook, names)
        deactivates = is_active is False and webhook.is_active
        text = _('Change webhook "%(name)s" (%(id)s) on both sides') % _words(webhook)
        if deactivates:
            text = _('Switch off webhook "%(name)s" (%(id)s) on both sides') % _words(webhook)
        elif dropped:
            text = _('Receive no more %(events)s by webhook "%(name)s"') % {"events": dropped, "name": webhook.name}
        ends_reception = deactivates or bool(dropped)
        if (options["dry_run"] or ends_reception) and not self._should_do(webhook, text, options):
            return
        with self._connected(webhook) as client:
            remote.change(client, webhook, events=names, is_active=is_active, wait_seconds=WAIT_SECONDS)
        self._write_result(webhook, _('Webhook "%(name)s" (%(id)s) was changed on both sides.'), options)

    def _delete(self, *, name: str | None, gone: bool = False, **options: Any) -> None:
        webhook = _find(name)
        what = _('Delete webhook "%(name)s" (%(id)s) at Nateq and here') % _words(webhook)
        with self._connected(webhook) as client:
            remote.check_removal(client, webhook, is_gone=gone)
            if not self._should_do(webhook, what, options):
                return
            result = remote.remove(client, webhook, wait_seconds=WAIT_SECONDS, is_gone=gone)
        text = {
            remote.RemovalResult.DELETED: _('Webhook "%(name)s" was deleted on both sides.'),
            remote.RemovalResult.SWITCHED_OFF: _(
                'Webhook "%(name)s" was deleted at Nateq. Here it has deliveries, so it was switched off and kept.'
            ),
        }[result]
        self._write_result(webhook, text, options, removed=result.value)

    def _rotate(self, *, name: str | None, **options: Any) -> None:
        webhook = _find(name)
        remote.retire_secrets()
        what = _('Replace the signing secret of webhook "%(name)s" (%(id)s)') % _words(webhook)
        if not self._should_do(webhook, what, options):
            return
        with self._connected(webhook) as client:
            remote.rotate(client, webhook, wait_seconds=WAIT_SECONDS)
        text = _(
            'Webhook "%(name)s" (%(id)s) has a new secret, which was saved. The former one is accepted until the new '
            "one is used, and a while longer for late retries."
        )
        self._write_result(webhook, text, options)

    def _sync(
        self, *, name: str | None, direction: "remote.Direction | None", gone: bool = False, **options: Any
    ) -> None:
        chosen = [_find(name)] if name else list(Webhook.objects.using(alias()).all())
        self._warn(all_key_warnings())
        drifts = remote.compare_each(chosen)
        steps = [step for drift in drifts for step in sync_steps(drift, direction, is_gone=gone)]
        not_visible = _not_visible(drifts, direction, is_gone=gone)
        if not options["dry_run"]:
            if direction is not None and (ending := [step.text for step in steps if step.ends_reception]):
                self._confirm("; ".join(ending), options)
            remote.retire_secrets()
            for drift in drifts:
                self._sync_one(drift, direction, is_gone=gone)
            drifts = remote.compare_each(_still_existing(chosen))
        self._write_sync(drifts, steps if options["dry_run"] else [], options)
        _raise_problems(drifts)
        if not_visible:
            raise CommandError("\n".join(not_visible), returncode=DRIFT_EXIT)
        left = [drift.webhook.name for drift in drifts if not drift.needs_nothing]
        if left:
            hint = _("Both sides differ: %(names)s. Use --push (keep this site's values) or --pull (keep Nateq's).")
            raise CommandError(hint % {"names": ", ".join(left)}, returncode=DRIFT_EXIT)

    def _sync_one(self, drift: "remote.Drift", direction: "remote.Direction | None", *, is_gone: bool) -> None:
        """Finish an interrupted run, then make one side like the other; skip a webhook that the key does not see."""
        webhook = drift.webhook
        if drift.problem is not None:
            return
        with self._connected(webhook) as client:
            if webhook.registration == Webhook.Registration.ROTATING:
                remote.rotate(client, webhook, wait_seconds=WAIT_SECONDS)
            elif webhook.registration == Webhook.Registration.PENDING:
                remote.register(client, webhook.name, wait_seconds=WAIT_SECONDS)
            if direction is None or _not_visible([drift], direction, is_gone=is_gone):
                return
            if webhook.registration != Webhook.Registration.MANUAL:
                remote.reconcile(client, webhook, direction, wait_seconds=WAIT_SECONDS, is_gone=is_gone)

    def _write_sync(self, drifts: "list[remote.Drift]", steps: "list[Step]", options: dict[str, Any]) -> None:
        if options["as_json"]:
            would_do: dict[str, list[str]] = {drift.webhook.name: [] for drift in drifts}
            for step in steps:
                would_do.setdefault(step.name, []).append(step.text)
            is_dry = options["dry_run"]
            self._write_json(
                [drift_json(each) | ({"would_do": would_do[each.webhook.name]} if is_dry else {}) for each in drifts]
            )
            return
        for drift in drifts:
            self._write_drift(drift)
        for step in steps:
            self.stdout.write(_("Would do: %(would_do)s.") % {"would_do": step.text})

    # Shared by the actions

    def _should_do(self, webhook: Webhook, what: str, options: dict[str, Any]) -> bool:
        """Have a change confirmed; with `--dry-run` only say what it would be."""
        if options["dry_run"]:
            self._write_result(webhook, _("Would do: %(would_do)s."), options, would_do=what)
            return False
        self._confirm(what, options)
        return True

    def _confirm(self, what: str, options: dict[str, Any]) -> None:
        """Raise `CommandError` unless a change is confirmed, by `--yes` or at the terminal."""
        if options["yes"]:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                _("Nothing was changed: there is no terminal to ask at. Run it again with --yes to do this: %(what)s.")
                % {"what": what}
            )
        require_yes(f"{one_line(what)}? [y/N] ")

    def _write_result(self, webhook: Webhook, text: str, options: dict[str, Any], **more: str) -> None:
        if options["as_json"]:
            self._write_json(webhook_json(webhook) | more)
        else:
            self.stdout.write(self.style.SUCCESS(text % (_words(webhook) | more)))

    def _write_drift(self, drift: "remote.Drift") -> None:
        self.stdout.write(f"{drift.webhook.name}  {drift.webhook.nateq_id or '-'}  {state_text(drift.state)}")
        for difference in drift.differences:
            words = {"what": difference.name, "here": difference.here, "there": difference.there}
            self.stdout.write("  " + _("%(what)s: here %(here)s, at Nateq %(there)s") % words)
        for nateq_id in drift.extra:
            self.stdout.write("  " + _("Nateq has one more with this URL: %(id)s") % {"id": nateq_id})

    def _write_json(self, value: Any) -> None:
        self.stdout.write(Lines(json.dumps(value, indent=2, ensure_ascii=False)))


def _is_at_nateq(client: "NateqClient", webhook: Webhook) -> bool:
    return any(str(webhook.pk) in each.url for each in client.webhooks.list())


def _is_in_use_by_hand(webhook: Webhook | None) -> bool:
    """Return whether a webhook that a person set up receives deliveries with a secret that a registration replaces."""
    return webhook is not None and webhook.registration == Webhook.Registration.MANUAL and webhook.is_active


def _dropped_events(webhook: Webhook, names: list[str] | None) -> str:
    """Return the events that a change ends, separated by commas; empty if there are none."""
    if not names:  # not changed, or all
        return ""
    return ", ".join(name for name in webhook.events or EVENTS if name not in names)


def _still_existing(webhooks: list[Webhook]) -> list[Webhook]:
    found = {webhook.pk: webhook for webhook in Webhook.objects.using(alias()).all()}
    return [found[webhook.pk] for webhook in webhooks if webhook.pk in found]


def _raise_problems(drifts: "list[remote.Drift]") -> None:
    """Raise `CommandError` when Nateq could not be asked about some webhooks, with the error of each key."""
    names: dict[str, list[str]] = {}
    for drift in drifts:
        if drift.problem is not None:
            names.setdefault(localized(drift.problem), []).append(drift.webhook.name)
    if names:
        raise CommandError("\n".join(f"{', '.join(each)}: {problem}" for problem, each in names.items()))


def _not_visible(drifts: "list[remote.Drift]", direction: "remote.Direction | None", *, is_gone: bool) -> list[str]:
    """Return, for each webhook that the key does not see and that must stay as it is, what to do about it."""
    hidden = [drift for drift in drifts if drift.state in NOT_VISIBLE]
    if is_gone and direction is not None:
        hidden = [drift for drift in hidden if drift.state is not remote.DriftState.NOT_VISIBLE]
    return [not_visible_text(drift) for drift in hidden]


@contextmanager
def _command_errors() -> Iterator[None]:
    """Turn the package's errors into errors of the command; their messages say what to do."""
    try:
        yield
    except (ApiError, remote.RemoteError) as error:
        raise CommandError(localized(error)) from None


def _find(name: str | None) -> Webhook:
    """Return the webhook of this name; without a name, the only one."""
    rows = list(Webhook.objects.using(alias()).filter(**({"name": name} if name else {}))[:20])
    if len(rows) == 1:
        return rows[0]
    known = ", ".join(Webhook.objects.using(alias()).values_list("name", flat=True)[:20]) or _("none")
    if name:
        text = _('There is no webhook "%(name)s" here. There are: %(known)s.')
        raise CommandError(text % {"name": name, "known": known})
    raise CommandError(_("Name the webhook with --name. There are: %(known)s.") % {"known": known})


def _event_names(events: Iterable[str]) -> list[str]:
    """Split names that were given one by one or separated by commas."""
    return list(dict.fromkeys(name for text in events for name in _SEPARATORS.split(text) if name))


def _words(webhook: Webhook) -> dict[str, str]:
    return {"name": webhook.name, "id": webhook.nateq_id or "-"}
