"""`manage.py nateq_events`: Nateq's list of events compared with the built-in one, and which have a receiver."""

import json
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.errors import ApiError
from nateq_webhooks.management.terminal import Lines, TerminalCommand
from nateq_webhooks.remote.connection import key_warnings
from nateq_webhooks.remote.error_text import localized


class Command(TerminalCommand):
    """Lists Nateq's events, and where the built-in list, the subscriptions and the receivers differ."""

    help = "List Nateq's events: new and removed ones, subscribed ones without a receiver, and receivers without one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", dest="as_json", action="store_true", help="Write JSON, for a program to read.")

    def handle(self, *, as_json: bool, **options: Any) -> None:  # noqa: ARG002
        """Fetch the list and compare."""
        try:
            with remote.connect() as client:
                for warning in key_warnings(client):
                    self.stderr.write(self.style.WARNING(warning))
                catalogue = remote.catalogue(client)
        except (ApiError, remote.RemoteError) as error:
            raise CommandError(localized(error)) from None
        coverage = remote.coverage(catalogue.live)
        if as_json:
            self.stdout.write(Lines(json.dumps(_as_json(catalogue, coverage), indent=2, ensure_ascii=False)))
            return
        for name, description in catalogue.live.items():
            self.stdout.write(f"{name:28}  {description}".rstrip())
        self._write(_("New, not in this version (they can be received nevertheless):"), catalogue.new)
        self._write(_("Removed from Nateq's list:"), catalogue.gone)
        self._write(_("Subscribed to, but no receiver is connected:"), coverage.without_receivers)
        self._write(_("A receiver is connected, but no active webhook subscribes:"), coverage.unsubscribed)

    def _write(self, title: str, names: Iterable[str]) -> None:
        found = list(names)
        if found:
            self.stdout.write()
            self.stdout.write(self.style.WARNING(title))
            for name in found:
                self.stdout.write(f"  {name}")


def _as_json(catalogue: "remote.Catalogue", coverage: "remote.Coverage") -> dict[str, Any]:
    return {
        "live": [{"name": name, "description": text} for name, text in catalogue.live.items()],
        "new": list(catalogue.new),
        "gone": list(catalogue.gone),
        "subscribed": list(coverage.subscribed),
        "subscribed_without_receiver": list(coverage.without_receivers),
        "receiver_without_subscription": list(coverage.unsubscribed),
        "has_receiver_of_every_event": coverage.has_catch_all,
    }
