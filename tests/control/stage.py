"""Where a scenario plays: its webhook, the site's processes, the management commands."""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.actors import ROOT, Actors
from tests.faults.sending import Sender

if TYPE_CHECKING:
    from nateq_webhooks.models import Webhook

SECRET = "whsec_control_0123456789abcdef"
STALLED_SECONDS = 120
"""Nothing was finished for so long: it is not only slow."""

WORKER = ["-m", "django", "nateq_worker", "--verbosity", "0"]


@dataclass(kw_only=True)
class Stage:
    """One scenario's site. `is_short`: only what a minute allows."""

    scenario: str
    is_broken: bool
    is_short: bool
    deliveries: int
    database: str
    folder: str
    webhook: "Webhook"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the site's processes."""
        return {
            "DJANGO_SETTINGS_MODULE": "tests.control.settings",
            "DATABASE_URL": self.database,
            "CONTROL_SCENARIO": self.scenario,
            "CONTROL_BROKEN": str(int(self.is_broken)),
            "FAULTS_FAILING": "0",
        } | self.environment

    @contextmanager
    def site(self, runners: Sequence[list[str]]) -> Iterator[Actors]:
        """Start two web workers, and what runs receivers beside them; end them afterwards."""
        actors = Actors(self.variables, runners, site="tests.wsgi")
        try:
            actors.start()
            yield actors
        finally:
            actors.stop()

    @contextmanager
    def kills(self, actors: Actors) -> Iterator[None]:
        """Kill one of the site's processes every other second, in the long form."""
        over = threading.Event()

        def kill() -> None:
            while not over.wait(random.uniform(1, 3)):
                actors.kill_one()

        killer = threading.Thread(target=kill)
        if not self.is_short:
            killer.start()
        try:
            yield
        finally:
            over.set()
            if not self.is_short:
                killer.join()

    def sender(self, actors: Actors) -> Sender:
        """Return who sends to the webhook."""
        return Sender(actors.port, self.webhook.get_absolute_url(), SECRET)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a management command."""
        return subprocess.Popen(
            [sys.executable, "-m", "django", *command],
            cwd=ROOT,
            env=os.environ | self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def call(self, *command: str, status: int = 0) -> str:
        """Run a management command to its end; return what it wrote. It must end with this exit code."""
        with self.start(*command) as process:
            written, _errors = process.communicate()
        if process.returncode != status:
            sys.exit(f"control: {' '.join(command)} ended with {process.returncode}, not {status}:\n{written}")
        return written


def wait_until_drained() -> None:
    """Wait until nothing is left to run, or nothing moves any more: then the count says what is missing."""
    from nateq_webhooks.models import Delivery, Run

    left, moved_at = -1, time.monotonic()
    while left and time.monotonic() - moved_at < STALLED_SECONDS:
        before = left
        left = Delivery.objects.filter(dispatch_at__isnull=False).count()
        left += Run.objects.filter(next_try_at__isnull=False).count()
        if left != before:
            moved_at = time.monotonic()
        time.sleep(0.3)


def count(expected: Iterable[tuple[str, str]], **effects: Any) -> list[str]:
    """Compare what the receivers did with what they should have done: pairs of delivery ids and receivers."""
    from nateq_webhooks.models import Delivery, Run
    from tests.control.shop.models import Effect

    found: Counter[tuple[str, str]] = Counter(
        Effect.objects.filter(**effects).values_list("delivery_id", "receiver").iterator()
    )
    wanted = set(expected)
    missing = [key for key in wanted if not found[key]]
    doubled = [key for key, times in found.items() if times > 1]
    unasked = [key for key in found if key not in wanted]
    stuck = Counter(Delivery.objects.exclude(status=Delivery.Status.PROCESSED).values_list("status", flat=True))
    unfinished = Counter(Run.objects.exclude(status=Run.Status.SUCCEEDED).values_list("status", flat=True))
    print(f"  {found.total()} effects of {len(wanted)}")
    return [
        *_named("effects are missing", missing),
        *_named("effects are doubled", doubled),
        *_named("effects are there that nobody asked for", unasked),
        *([f"deliveries are not processed: {dict(stuck)}"] if stuck else []),
        *([f"runs have not succeeded: {dict(unfinished)}"] if unfinished else []),
    ]


def _named(what: str, keys: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{len(keys)} {what}, such as {keys[:3]}"] if keys else []
