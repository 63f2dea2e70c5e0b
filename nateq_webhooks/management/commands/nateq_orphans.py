"""`manage.py nateq_orphans`: reassign or drop runs whose receiver is no longer connected."""

from argparse import SUPPRESS, ArgumentParser
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.selection import did_you_mean
from nateq_webhooks.management.prompts import confirm
from nateq_webhooks.management.terminal import TerminalCommand, accept_django_options
from nateq_webhooks.protocol.invisible_chars import one_line


class Command(TerminalCommand):
    """Lists, reassigns or drops the runs of receivers that are no longer connected."""

    help = "List runs whose receiver is no longer connected; reassign them to another receiver, or drop them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and options."""
        _add_options(parser, default=False)
        actions = parser.add_subparsers(dest="action")
        reassign = actions.add_parser("reassign", help="Assign the runs of a receiver to another one.")
        reassign.add_argument("old", help="The name of the receiver that is no longer connected.")
        reassign.add_argument("new", help="The name of a connected receiver.")
        drop = actions.add_parser("drop", help="Never run the runs of a receiver.")
        drop.add_argument("old", help="The name of the receiver that is no longer connected.")
        for action in (reassign, drop):
            _add_options(action, default=SUPPRESS)  # keeps what was given before the action
            accept_django_options(action)

    def handle(self, *, action: str | None, dry_run: bool, no_input: bool, **options: Any) -> None:
        """List, reassign or drop."""
        alias = router.db_for_write(api.Run)
        parked = api.orphans(alias)
        if action is None:
            self._list(parked)
            return
        old = options["old"]
        if not parked[old]:
            known = ", ".join(sorted(parked)) or _("none")
            text = _("No runs of %(name)r are parked. Parked: %(known)s.") % {"name": old, "known": known}
            raise CommandError(text + did_you_mean(old, parked))
        what = ngettext("%(count)d run of %(name)s", "%(count)d runs of %(name)s", parked[old])
        summary = f"{action}: {what % {'count': parked[old], 'name': old}}"
        if dry_run:
            self.stdout.write(_("Would %(what)s") % {"what": summary})
            return
        confirm(f"{one_line(summary)} [y/N] ", no_input=no_input)
        try:
            done = api.drop(alias, old) if action == "drop" else api.reassign(alias, old, options["new"])
        except LookupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS(f"{summary}: {done}"))

    def _list(self, parked: dict[str, int]) -> None:
        for name, count in sorted(parked.items()):
            self.stdout.write(f"{count:8}  {name}")
        if not parked:
            self.stdout.write(_("No runs are parked: every receiver is connected."))


def _add_options(parser: ArgumentParser, *, default: Any) -> None:
    """Add the options that are accepted before and after the action."""
    flag: dict[str, Any] = {"action": "store_true", "default": default}
    parser.add_argument("--dry-run", help="Say what would be done, and do nothing.", **flag)
    parser.add_argument("--no-input", "--noinput", help="Do not ask.", **flag)
