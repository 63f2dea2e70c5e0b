"""`manage.py nateq_status`: the state of dispatch, for people and for monitoring."""

import json
import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandParser
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.dispatch.pauses import named_scopes, webhook_names
from nateq_webhooks.dispatch.status import Status, status
from nateq_webhooks.dispatch.status_document import UNREADABLE_SECRET, document
from nateq_webhooks.management.numbers import require_number
from nateq_webhooks.management.terminal import Lines, TerminalCommand
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import scope_parts
from nateq_webhooks.models.signing_keys import problem_text
from nateq_webhooks.stored_secrets import unreadable


class Command(TerminalCommand):
    """Shows the runs of each receiver by state, the workers, replays and pauses."""

    help = "Show the state of dispatch. Exit code 1 if something needs attention."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", dest="as_json", help="Write JSON.")
        parser.add_argument(
            "--max-lag", type=float, default=300, metavar="SECONDS", help="How long work may be overdue (default: 300)."
        )
        parser.add_argument("--max-dead", type=int, default=0, metavar="N", help="Dead runs tolerated (default: 0).")

    def handle(self, *, as_json: bool, max_lag: float, max_dead: int, **options: Any) -> None:  # noqa: ARG002
        """Show the status; exit with 1 for overdue work, dead or orphaned runs, a pause, or an unreadable secret."""
        require_number("--max-lag", max_lag)
        require_number("--max-dead", max_dead)
        found = status(router.db_for_write(Run))
        secrets = unreadable(router.db_for_write(Webhook))
        troubles = found.troubles(max_lag=timedelta(seconds=max_lag), max_dead=max_dead)
        troubles += [UNREADABLE_SECRET] if secrets else []
        if as_json:
            more = {"paused": _pauses(found), "unreadable_secrets": list(secrets)}
            self.stdout.write(Lines(json.dumps(document(found, troubles) | more, indent=2)))
        else:
            self._show(found)
            for name, error in secrets.items():
                words = {"name": name, "why": problem_text(error)}
                line = _('A signing secret of webhook "%(name)s" can\'t be read. %(why)s')
                self.stdout.write(self.style.ERROR(line % words))
            if troubles:
                what = _(", ").join(str(_TROUBLES[code]) for code in troubles)
                self.stdout.write(self.style.ERROR(_("Needs attention: %(what)s") % {"what": what}))
        if troubles:
            sys.exit(1)

    def _show(self, found: Status) -> None:
        self.stdout.write(_("Deliveries whose receivers are still to be started: %d") % found.undispatched)
        self.stdout.write(_("Oldest due: %(moment)s") % {"moment": _moment(found.oldest_due) or _("none")})
        if found.receivers:
            widths = {column: max(10, len(label) + 2) for column, label in _COLUMNS.items()}
            heads = "".join(str(label).rjust(widths[column]) for column, label in _COLUMNS.items())
            self.stdout.write(f"{heads}  " + _("receiver"))
            for name, counts in found.receivers.items():
                values = asdict(counts)
                numbers = "".join(str(values[column]).rjust(width) for column, width in widths.items())
                self.stdout.write(f"{numbers}  {name}")
        names = named_scopes(router.db_for_write(Run), found.paused)
        for hold in found.paused:
            line = _("Paused: %(hold)s since %(moment)s by %(by)s. %(reason)s")
            words = {
                "hold": names[hold.pk],
                "moment": _moment(hold.paused_at),
                "by": hold.paused_by or "?",
                "reason": hold.reason,
            }
            self.stdout.write(self.style.WARNING((line % words).strip()))
        for progress in found.replays:
            done = {"number": progress.replay.pk, "percent": progress.percent, "counts": progress.in_words}
            self.stdout.write(_("Replay %(number)d: %(percent)d %% done (%(counts)s)") % done)
        workers = ", ".join(worker.name for worker in found.workers)
        self.stdout.write(_("Workers seen lately: %(names)s") % {"names": workers or _("none")})


_COLUMNS: Final = {
    "waiting": Run.Status.WAITING.label,
    "running": Run.Status.RUNNING.label,
    "failing": Run.Status.FAILED.label,
    "dead": Run.Status.DEAD.label,
    "held": gettext_lazy("Held"),
    "orphaned": gettext_lazy("Unknown receiver"),
}
"""The heading of each number of `ReceiverStatus`."""

_TROUBLES: Final = {
    "lag": gettext_lazy("work is overdue"),
    "dead": gettext_lazy("runs failed for good"),
    "paused": gettext_lazy("something is paused"),
    "orphaned": gettext_lazy("runs wait for an unknown receiver"),
    UNREADABLE_SECRET: gettext_lazy("a signing secret can't be read"),
}
"""What each code means; JSON has the codes."""


def _pauses(found: Status) -> list[dict[str, Any]]:
    """Return the pauses with the names of their webhooks, which the site's API leaves out: a key may not see them."""
    names = webhook_names(Webhook.objects.using(router.db_for_write(Webhook)), found.paused)
    pauses: list[dict[str, Any]] = document(found, [])["paused"]
    return [pause | {"webhook": names.get(scope_parts(pause["scope"])[0])} for pause in pauses]


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(timespec="seconds")
