"""`manage.py nateq_worker`: run the receivers of stored deliveries until it is stopped."""

import signal
import threading
from typing import Any, ClassVar, Final

from django.core.management.base import CommandError, CommandParser
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks import audit
from nateq_webhooks.dispatch.failure import Outcome
from nateq_webhooks.management.terminal import TerminalCommand, usage_error
from nateq_webhooks.management.unapplied_migrations import has_unapplied_migrations, unapplied_text
from nateq_webhooks.models import Run
from nateq_webhooks.runners.pools import connections_needed, pool_size
from nateq_webhooks.runners.worker import Worker, drain

MIGRATIONS_SECONDS: Final = 2.0
"""How often a worker that waits for migrations looks whether they are applied."""


class Command(TerminalCommand):
    """Runs what is due: new deliveries, retries, and what a dead worker or a broker left behind."""

    help = "Run the receivers of stored deliveries: new ones, retries, and what dead workers left behind."
    audit_source: ClassVar[audit.Source] = audit.Source.WORKER

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--once", action="store_true", help="Run what is due now, then end (for cron).")
        parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="Threads (default: 1).")

    def handle(self, *, once: bool, concurrency: int, verbosity: int, **options: Any) -> None:  # noqa: ARG002
        """Work until nothing is due (`--once`), or until SIGTERM or SIGINT."""
        if not 1 <= concurrency <= 64:
            raise usage_error(_("--concurrency is %(value)s; use 1 to 64.") % {"value": concurrency})
        self._warn_of_small_pool(concurrency)
        watch = self._show if verbosity > 1 or (verbosity and self.stdout.isatty()) else None
        if once:
            if has_unapplied_migrations():  # a claim would count as a try, and the receiver could not be called
                raise CommandError(unapplied_text())
            found = drain(watch, concurrency=concurrency)
            if verbosity:
                text = ngettext("%(count)d run was due.", "%(count)d runs were due.", found)
                self.stdout.write(text % {"count": found})
            return
        worker = Worker(concurrency, watch)
        self._stop_on_signals(worker)
        if verbosity:
            text = ngettext(
                "Working with %(count)d thread. Stop with Ctrl-C.",
                "Working with %(count)d threads. Stop with Ctrl-C.",
                concurrency,
            )
            self.stdout.write(text % {"count": concurrency})
        if has_unapplied_migrations():
            self.stderr.write(self.style.WARNING(unapplied_text()))
            worker.wait_while(has_unapplied_migrations, MIGRATIONS_SECONDS)
        worker.run()
        if verbosity:
            self.stdout.write(_("Stopped. Runs that were not started were given back."))

    def _warn_of_small_pool(self, concurrency: int) -> None:
        """Warn if the connection pool has too few connections for the number of threads."""
        alias = router.db_for_write(Run)
        size, needed = pool_size(alias), connections_needed(concurrency)
        if size is not None and size < needed:
            text = _(
                "The connection pool of database %(alias)r has at most %(size)d connections, and --concurrency "
                "%(threads)d needs %(needed)d: leases may run out, and runs start twice. Raise "
                'OPTIONS["pool"]["max_size"], or lower --concurrency.'
            )
            words = {"alias": alias, "size": size, "threads": concurrency, "needed": needed}
            self.stderr.write(self.style.WARNING(text % words))

    def _stop_on_signals(self, worker: Worker) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_args: worker.stop())

    def _show(self, run: Run, outcome: Outcome) -> None:
        """Print a line about a finished try."""
        style = self.style.SUCCESS if outcome is Outcome.SUCCEEDED else self.style.ERROR
        self.stdout.write(
            f"{timezone.now():%H:%M:%S}  {style(f'{outcome.name.lower():9}')}  {run.receiver}  "
            f"{_printable(run.delivery.event)} {_printable(run.delivery.delivery_id)}"
        )


def _printable(text: str) -> str:
    """Return a sender's text with control characters escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
