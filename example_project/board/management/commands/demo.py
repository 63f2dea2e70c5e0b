"""`manage.py demo`: a local Nateq and a receiving site on this machine, without any setup."""

import logging
import secrets
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Pause
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.test import override_settings
from django.urls import reverse

from example_project.board.audit import ACCEPTED, LEGEND, PUT_OFF, Attempt, problems, summary, table
from example_project.board.models import Ticket
from example_project.board.observation import observe_when_finished
from example_project.board.server import HOST, serving
from example_project.board.traffic import early_events, one_round
from example_project.board.worker import working
from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.models import Webhook

if TYPE_CHECKING:
    from example_project.board.nateq import Nateq
    from nateq_webhooks.sandbox import Sandbox

LOGIN = "demo"
SECONDS_FOR_RECEIVERS = 30.0
STOPPED_BY_HAND = 130
"""The exit code of a program that Ctrl-C ended."""


class Command(BaseCommand):
    help = "Have a local Nateq send all its events to this project over HTTP, and show the results."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="send one round, check it, and end")
        parser.add_argument("--port", type=int, default=8000, help="where to serve (8000; 0: any free port)")
        parser.add_argument(
            "--nateq-port", type=int, default=8765, help="where to run the local Nateq (8765; 0: any free port)"
        )
        parser.add_argument("--password", help=f"the password of the admin login {LOGIN!r} (default: generated)")
        parser.add_argument(
            "--every", type=float, default=2.0, metavar="SECONDS", help="the time between deliveries (2)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        if options["verbosity"] < 2:
            _silence_expected_errors()
        self.stdout.write(_ensure_login(options["password"]))
        try:
            with (
                self._served(options["port"]) as site,
                self._local_nateq(options["nateq_port"]) as sandbox,
                override_settings(NATEQ_WEBHOOKS=_settings(site, sandbox)),
                working(),
            ):
                self._demonstrate(site, sandbox, options)
        except KeyboardInterrupt:
            if options["once"]:
                raise CommandError("Stopped before the round was checked.", returncode=STOPPED_BY_HAND) from None
            self.stdout.write("\nStopped.")
        except OSError as error:
            raise CommandError(f"The demo's server can't be started: {error!r}") from error
        except NateqWebhooksError as error:
            raise CommandError(str(error)) from error

    @contextmanager
    def _served(self, port: int) -> Iterator[str]:
        """Serve this project; yields its address."""
        with serving(port) as actual:
            self._report_other_port(port, actual)
            yield f"http://{HOST}:{actual}"

    @contextmanager
    def _local_nateq(self, port: int) -> Iterator["Sandbox"]:
        """Run the local Nateq. Imported here, because a missing extra is an error that says what to install."""
        from example_project.board.nateq import local_nateq

        with local_nateq(port) as sandbox:
            self._report_other_port(port, int(sandbox.url.rpartition(":")[2]))
            yield sandbox

    def _report_other_port(self, wanted: int, actual: int) -> None:
        if wanted not in (0, actual):
            self.stdout.write(f"Port {wanted} is taken; serving on {actual} instead.")

    def _demonstrate(self, site: str, sandbox: "Sandbox", options: dict[str, Any]) -> None:
        from example_project.board.nateq import Nateq

        webhook, _ = Webhook.objects.get_or_create(name="demo")
        nateq = Nateq(sandbox, webhook)
        first_number = _next_number()
        ids = nateq.register(early_events(first_number))
        ids += [delivery_id for sending in one_round(first_number) for delivery_id in nateq.send(sending)]
        found = self._check(nateq, ids, show_table=True)
        if options["once"]:
            if found:
                raise CommandError("\n  ".join(["Not every delivery was handled exactly once:", *found]))
            return
        self._report(found)
        self._print_addresses(site, nateq, sandbox)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.stdout.write(f"Continuing with a delivery every {options['every']:g} s, until Ctrl-C.")
        while True:
            self._send_slowly(nateq, options["every"])

    def _print_addresses(self, site: str, nateq: "Nateq", sandbox: "Sandbox") -> None:
        deliveries = reverse("admin:nateq_webhooks_delivery_changelist")
        self.stdout.write(f"\nBoard       {site}{reverse('board')}?live=1")
        self.stdout.write(f"Admin       {site}{reverse('admin:index')}")
        self.stdout.write(f"Deliveries  {site}{deliveries}")
        self.stdout.write(f"Nateq       {nateq.webhook_page}")
        self.stdout.write("            a local one: Settings -> Developers -> Webhooks, with history, send and faults")
        self.stdout.write(f"Nateq's API {sandbox.base_url}  key {sandbox.key}\n\n")

    def _send_slowly(self, nateq: "Nateq", seconds: float) -> None:
        """Send a round with pauses, print the attempts, and check it."""
        ids: list[str] = []
        printed: list[Attempt] = []
        for sending in one_round(_next_number()):
            ids += nateq.send(sending)
            Pause().wait(seconds)
            printed += self._print_attempts(nateq.attempts(ids)[len(printed) :], printed)
        nateq.wait_until_finished(ids)
        self._print_attempts(nateq.attempts(ids)[len(printed) :], printed)
        self._report(self._check(nateq, ids, show_table=False))

    def _print_attempts(self, new: list[Attempt], printed: list[Attempt]) -> list[Attempt]:
        """Print the results of new attempts, and return them."""
        accepted = {attempt.delivery_id for attempt in printed if attempt.status == ACCEPTED}
        for attempt in new:
            self.stdout.write(_sentence(attempt, is_repeated=attempt.delivery_id in accepted))
            if attempt.status == ACCEPTED:
                accepted.add(attempt.delivery_id)
        return new

    def _check(self, nateq: "Nateq", ids: list[str], *, show_table: bool) -> list[str]:
        """Compare Nateq's log with the database, print the result, and return what is wrong."""
        nateq.wait_until_finished(ids)
        attempts = nateq.attempts(ids)
        observed = observe_when_finished(ids, seconds=SECONDS_FOR_RECEIVERS)
        lines = summary(attempts, observed)
        if show_table:
            self.stdout.write("\n".join([table(lines), *LEGEND, "\n"]))
        found = problems(ids, attempts, observed)
        if not found:
            total = lines[-1]
            verdict = (
                f"Nothing lost, nothing doubled: {total.accepted} deliveries stored once, "
                f"{total.repeated} repetitions ran nothing again, {total.refused} bad signatures refused, "
                f"{total.put_off} attempts answered with 503, which Nateq retried."
            )
            self.stdout.write(self.style.SUCCESS(verdict))
        return found

    def _report(self, found: list[str]) -> None:
        for problem in found:
            self.stderr.write(problem)


def _settings(site: str, sandbox: "Sandbox") -> dict[str, Any]:
    """Return the settings with this site's address, and with the local Nateq instead of the real one."""
    here = {"PUBLIC_URL": site, "API_KEY": sandbox.key, "BASE_URL": sandbox.base_url}
    return settings.NATEQ_WEBHOOKS | here


def _ensure_login(password: str | None) -> str:
    """Create the admin login, or set its password; return a message about it."""
    user, created = get_user_model().objects.get_or_create(
        username=LOGIN, defaults={"is_staff": True, "is_superuser": True}
    )
    if not created and password is None:
        return f"Admin login {LOGIN}: its password was shown when it was created; --password sets a new one."
    password = password or secrets.token_urlsafe(9)
    user.set_password(password)
    user.save()
    return f"Admin login {LOGIN}, password {password}"


def _next_number() -> int:
    """The first example number whose ticket is not on the board yet."""
    return Ticket.objects.count() + 1


def _sentence(attempt: Attempt, *, is_repeated: bool) -> str:
    outcome = "repeated, already stored" if is_repeated else "accepted"
    if attempt.number > 1 and not is_repeated:
        outcome = f"accepted at attempt {attempt.number}"
    if not attempt.is_genuine:
        outcome = "bad signature, refused"
    if attempt.status == PUT_OFF:
        outcome = "put off"
    elif attempt.status != attempt.wanted_status:
        outcome = f"expected {attempt.wanted_status}"
    return f"{attempt.ended_at:%H:%M:%S}  {attempt.event:<22}  {attempt.status or '---'}  {outcome}"


def _silence_expected_errors() -> None:
    """Hide the log lines of refusals, failing receivers and requests; `-v 2` shows them."""
    logging.getLogger("django.server").setLevel(logging.CRITICAL)
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    logging.getLogger("nateq_webhooks").setLevel(logging.CRITICAL)
