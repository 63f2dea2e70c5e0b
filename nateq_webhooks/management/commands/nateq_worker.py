"""`manage.py nateq_worker`: run receivers here, until told to stop."""

import signal
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.dispatch import Outcome, Run
from nateq_webhooks.management.terminal import TerminalCommand
from nateq_webhooks.runners.pools import connections_needed, pool_size
from nateq_webhooks.runners.worker import Worker, drain


class Command(TerminalCommand):
    """Runs what is due: new deliveries, later tries, and what a dead worker or a broker left behind."""

    help = "Run the receivers of stored deliveries: new ones, later tries, and what others left behind."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--once", action="store_true", help="Run what is due now, then end (for cron).")
        parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="Threads (default: 1).")

    def handle(self, *, once: bool, concurrency: int, verbosity: int, **options: Any) -> None:  # noqa: ARG002
        """Work until everything due is done (`--once`), or until SIGTERM or SIGINT."""
        if not 1 <= concurrency <= 64:
            raise CommandError(_("--concurrency is %(value)s; use 1 to 64.") % {"value": concurrency})
        self._warn_of_small_pool(concurrency)
        watch = self._show if verbosity > 1 or (verbosity and self.stdout.isatty()) else None
        if once:
            found = drain(watch, concurrency=concurrency)
            if verbosity:
                told = ngettext("%(count)d run was due.", "%(count)d runs were due.", found)
                self.stdout.write(told % {"count": found})
            return
        worker = Worker(concurrency, watch)
        self._stop_on_signals(worker)
        if verbosity:
            self.stdout.write(_("Working with %(count)s thread(s). Stop with Ctrl-C.") % {"count": concurrency})
        worker.run()
        if verbosity:
            self.stdout.write(_("Stopped; what was not started is left for others."))

    def _warn_of_small_pool(self, concurrency: int) -> None:
        """Say when the connection pool has too few connections for so many threads."""
        alias = router.db_for_write(Run)
        size, needed = pool_size(alias), connections_needed(concurrency)
        if size is not None and size < needed:
            said = _(
                "The connection pool of database %(alias)r has at most %(size)d connections, and --concurrency "
                "%(threads)d needs %(needed)d: leases may run out, and runs start twice. Raise "
                'OPTIONS["pool"]["max_size"], or lower --concurrency.'
            )
            words = {"alias": alias, "size": size, "threads": concurrency, "needed": needed}
            self.stderr.write(self.style.WARNING(said % words))

    def _stop_on_signals(self, worker: Worker) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_args: worker.stop())

    def _show(self, run: Run, outcome: Outcome) -> None:
        """Write a line about a run."""
        style = self.style.SUCCESS if outcome is Outcome.SUCCEEDED else self.style.ERROR
        self.stdout.write(
            f"{timezone.now():%H:%M:%S}  {style(f'{outcome.name.lower():9}')}  {run.receiver}  "
            f"{_printable(run.delivery.event)} {_printable(run.delivery.delivery_id)}"
        )


def _printable(text: str) -> str:
    """Return text from outside with what would steer the terminal written out."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
