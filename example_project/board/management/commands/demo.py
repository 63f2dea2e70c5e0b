"""`manage.py demo`: the whole package at work, on this machine, with nothing to set up."""

import logging
import secrets
import signal
from argparse import ArgumentParser
from http.client import HTTPException
from threading import Event as Pause
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from django.utils import timezone

from example_project.board.audit import LEGEND, problems, summary, table
from example_project.board.models import Ticket
from example_project.board.observation import observe_when_finished
from example_project.board.sender import HOST, Answer, Sender
from example_project.board.server import serving
from example_project.board.traffic import one_round
from nateq_webhooks.models import Webhook

LOGIN = "demo"
SECONDS_FOR_RECEIVERS = 30.0
STOPPED_BY_HAND = 130
"""What a shell expects of a program that Ctrl-C ended."""


class Command(BaseCommand):
    help = "Sends signed traffic of all Nateq events to this project over HTTP and shows what became of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="send one round, check it, and end")
        parser.add_argument("--port", type=int, default=8000, help="where to serve (8000; 0: any free port)")
        parser.add_argument("--password", help=f"the password of the admin login {LOGIN!r} (default: generated)")
        parser.add_argument(
            "--every", type=float, default=2.0, metavar="SECONDS", help="the time between deliveries (2)"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        if options["verbosity"] < 2:
            _silence_what_the_demo_provokes()
        self.stdout.write(_ensure_login(options["password"]))
        self.webhook, _ = Webhook.objects.get_or_create(name="demo")
        try:
            with serving(options["port"]) as port:
                if port != options["port"] and options["port"]:
                    self.stdout.write(f"Port {options['port']} is taken; serving on {port} instead.")
                self._demonstrate(port, options)
        except KeyboardInterrupt:
            if options["once"]:
                raise CommandError("Stopped before the round was checked.", returncode=STOPPED_BY_HAND) from None
            self.stdout.write("\nStopped.")
        except (OSError, HTTPException) as error:
            raise CommandError(f"The demo's server did not answer: {error!r}") from error

    def _say_where_to_look(self, port: int) -> None:
        site = f"http://{HOST}:{port}"
        deliveries = reverse("admin:nateq_webhooks_delivery_changelist")
        self.stdout.write(f"\nBoard       {site}{reverse('board')}?live=1")
        self.stdout.write(f"Admin       {site}{reverse('admin:index')}")
        self.stdout.write(f"Deliveries  {site}{deliveries}\n\n")

    def _demonstrate(self, port: int, options: dict[str, Any]) -> None:
        sender = Sender(port=port, path=self.webhook.get_absolute_url())
        found = self._check(self._send_at_once(sender), show_table=True)
        if options["once"]:
            if found:
                raise CommandError("\n  ".join(["Not every delivery was handled exactly once:", *found]))
            return
        self._report(found)
        self._say_where_to_look(port)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.stdout.write(f"Going on, a delivery every {options['every']:g} s, until Ctrl-C.")
        while True:
            self._report(self._check(self._send_slowly(sender, options["every"]), show_table=False))

    def _send_at_once(self, sender: Sender) -> list[Answer]:
        """Send a round as fast as it is answered, with a counter where somebody watches."""
        volleys = list(one_round(self.webhook.secret, first_number=_next_number()))
        answers: list[Answer] = []
        for done, volley in enumerate(volleys, start=1):
            answers += sender.send(volley)
            if self.stdout.isatty():
                self.stdout.write(f"\rSending {done}/{len(volleys)}", ending="" if done < len(volleys) else "\n")
                self.stdout.flush()
        return answers

    def _send_slowly(self, sender: Sender, seconds: float) -> list[Answer]:
        """Send a round with pauses, and say what happens."""
        answers: list[Answer] = []
        for volley in one_round(self.webhook.secret, first_number=_next_number()):
            Pause().wait(seconds)
            for answer in sender.send(volley):
                answers.append(answer)
                self.stdout.write(_sentence(answer))
        return answers

    def _check(self, answers: list[Answer], *, show_table: bool) -> list[str]:
        """Compare with the database, print how it stands, and return what is wrong."""
        ids = {answer.attempt.delivery_id for answer in answers}
        observed = observe_when_finished(ids, seconds=SECONDS_FOR_RECEIVERS)
        lines = summary(answers, observed)
        if show_table:
            self.stdout.write("\n".join([table(lines), *LEGEND, "\n"]))
        found = problems(answers, observed)
        if not found:
            total = lines[-1]
            verdict = (
                f"Nothing lost, nothing doubled: {total.accepted} deliveries stored once, "
                f"{total.retried} retries ran nothing again, {total.refused} forgeries refused."
            )
            self.stdout.write(self.style.SUCCESS(verdict))
        return found

    def _report(self, found: list[str]) -> None:
        for problem in found:
            self.stderr.write(problem)


def _ensure_login(password: str | None) -> str:
    """Create the admin login, or give it this password; return what to tell the user about it."""
    user, created = get_user_model().objects.get_or_create(
        username=LOGIN, defaults={"is_staff": True, "is_superuser": True}
    )
    if not created and password is None:
        return f"Admin login {LOGIN}: its password was shown when it was made; --password sets a new one."
    password = password or secrets.token_urlsafe(9)
    user.set_password(password)
    user.save()
    return f"Admin login {LOGIN}, password {password}"


def _next_number() -> int:
    """The first example number whose ticket is not on the board yet."""
    return Ticket.objects.count() + 1


def _sentence(answer: Answer) -> str:
    attempt = answer.attempt
    outcome = "accepted" if attempt.number == 1 else f"retry {attempt.number}, already stored"
    if not attempt.genuine:
        outcome = "forged, refused"
    if answer.status != answer.wanted_status:
        outcome = f"expected {answer.wanted_status}"
    return f"{timezone.now():%H:%M:%S}  {attempt.event:<22}  {answer.status}  {outcome}"


def _silence_what_the_demo_provokes() -> None:
    """Keep refusals, failing receivers and access lines off the screen; `-v 2` shows them."""
    logging.getLogger("django.server").setLevel(logging.CRITICAL)
    logging.getLogger("django.request").setLevel(logging.ERROR)
    logging.getLogger("nateq_webhooks").setLevel(logging.CRITICAL)
