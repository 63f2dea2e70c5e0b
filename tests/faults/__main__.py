"""`python -m tests.faults`: torture the site, then count. Exits with 1 and says what, when the promise was broken."""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import services
from tests.faults.actors import ROOT, Actors, runners_of
from tests.faults.sending import Sender
from tests.waiting import becomes_true

RECEIVERS = ("stock", "ledger", "journal")
SECRET = "whsec_faults_0123456789abcdef"
BROKERS = {"none": services.no_broker, "redis": services.redis, "rabbitmq": services.rabbitmq}
DATABASES = {"postgresql": services.postgresql, "mariadb": services.mariadb}


@dataclass
class Traffic:
    """What the sender has done: it posts each delivery until it is acknowledged, and a third of them again."""

    sender: Sender
    acknowledged: list[str] = field(default_factory=list)
    attempts: int = 0

    def send(self, number: int) -> None:
        """Send one delivery until it is acknowledged."""
        delivery_id = f"dlv_{number}"
        attempt = self.sender.deliver(delivery_id)
        self.acknowledged.append(delivery_id)
        repeat = number % 3 == 0
        if repeat:
            self.sender.post(delivery_id, attempt + 1)
        self.attempts += attempt + repeat


def main() -> None:
    """Read the options, set the scene, torture, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=DATABASES, default="postgresql")
    parser.add_argument("--dispatch", default="worker", help="inline, worker, tasks or celery")
    parser.add_argument("--broker", choices=BROKERS, default="none", help="for celery")
    parser.add_argument("--deliveries", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=100, help="deliveries per second, at most")
    parser.add_argument("--kill-every", type=float, default=0.7, help="seconds between two kills")
    parser.add_argument("--drain", type=float, default=120, help="seconds until everything must be done")
    parser.add_argument("--seed", type=int, help="of when what is killed")
    parser.add_argument("--prepared", action="store_true", help="PostgreSQL prepares the statements")
    parser.add_argument("--broken", choices=["double", "lost"], help="break it on purpose: this must be found")
    options = parser.parse_args()
    if options.prepared and options.database != "postgresql":
        parser.error("--prepared is for PostgreSQL only")
    if options.broken == "lost":
        options.dispatch = "tests.faults.shop.runners.Forgetful"
    random.seed(options.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        DATABASES[options.database]() as database,
        BROKERS[options.broker]() as broker,
    ):
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "DATABASE_URL": database.url + ("?prepare_threshold=2" if options.prepared else ""),
            "FAULTS_DISPATCH": options.dispatch,
            "FAULTS_BROKER": broker.url,
            "FAULTS_QUEUE": f"nateq_faults_{os.getpid()}",
            "FAULTS_BROKEN": options.broken or "",
            "FAULTS_BEAT_FILE": str(Path(folder) / "beat"),
        }
        os.environ.update(environment)
        problems = torture(options, database, broker, environment)
    for problem in problems:
        print(f"BROKEN: {problem}")
    sys.exit(1 if problems else 0)


def torture(
    options: argparse.Namespace, database: services.Service, broker: services.Service, environment: dict[str, str]
) -> list[str]:
    """Send, kill, wait until everything is done, and return what is wrong then."""
    subprocess.run([sys.executable, "-m", "django", "migrate", "-v", "0"], cwd=ROOT, check=True)
    import django

    django.setup()
    from nateq_webhooks.models import Webhook

    webhook = Webhook.objects.create(name="faults", secret=SECRET)
    actors = Actors(environment, runners_of(options.dispatch))
    traffic = Traffic(Sender(actors.port, webhook.get_absolute_url(), SECRET))
    over = threading.Event()
    try:
        actors.start()
        chaos = threading.Thread(target=wreak, args=(options, actors, database, broker, over, traffic))
        chaos.start()
        started = time.monotonic()
        with ThreadPoolExecutor(16) as senders:
            for number in range(options.deliveries):
                senders.submit(traffic.send, number)
                time.sleep(1 / options.rate)
        over.set()
        chaos.join()
        sent = time.monotonic()
        actors.revive()
        wait_until_drained(options.drain)
        drained = time.monotonic()
    finally:
        over.set()
        actors.stop()
    seed = "" if options.seed is None else f", seed {options.seed}"
    print(
        f"{options.database}{' with prepared statements' if options.prepared else ''}, "
        f"{options.dispatch}{'' if options.broker == 'none' else ' on ' + options.broker}{seed}: "
        f"{options.deliveries} deliveries in {traffic.attempts} attempts over {sent - started:.0f} s, "
        f"{actors.kills} processes killed; drained {drained - sent:.1f} s after the traffic"
    )
    return count(options.deliveries, traffic)


def wreak(
    options: argparse.Namespace,
    actors: Actors,
    database: services.Service,
    broker: services.Service,
    over: threading.Event,
    traffic: Traffic,
) -> None:
    """Kill a process every now and then; restart the database and empty the broker once, in the middle."""
    todo = [(0.35, database.restart), (0.55, broker.empty), (0.6, broker.empty)]
    while not over.wait(options.kill_every * random.uniform(0.5, 1.5)):
        actors.kill_one()
        while todo and len(traffic.acknowledged) >= todo[0][0] * options.deliveries:
            todo.pop(0)[1]()


def wait_until_drained(seconds: float) -> None:
    """Wait until every delivery is processed, or the time is over: then the count says what is missing."""
    from django.db import connection

    from nateq_webhooks.models import Delivery

    connection.close()
    unprocessed = Delivery.objects.exclude(status=Delivery.Status.PROCESSED)
    becomes_true(lambda: not unprocessed.exists(), seconds=seconds, every=0.1)


def count(sent: int, traffic: Traffic) -> list[str]:
    """Compare what was acknowledged with what is stored, and what is stored with what the receivers did."""
    from nateq_webhooks.models import Delivery, Run
    from tests.faults.shop.models import Effect

    problems = []
    stored = Counter(Delivery.objects.values_list("delivery_id", flat=True))
    if len(set(traffic.acknowledged)) != sent:
        problems.append(f"only {len(set(traffic.acknowledged))} of {sent} deliveries were acknowledged")
    lost = [delivery_id for delivery_id in traffic.acknowledged if stored[delivery_id] != 1]
    if lost:
        problems.append(f"{len(lost)} acknowledged deliveries are not stored exactly once, such as {lost[:3]}")
    effects: Counter[tuple[str, str]] = Counter(Effect.objects.values_list("delivery_id", "receiver"))
    expected = set(itertools.product(stored, RECEIVERS))
    missing = [key for key in expected if not effects[key]]
    doubled = [key for key, times in effects.items() if times > 1]
    if missing:
        problems.append(f"{len(missing)} effects are missing, such as {missing[:3]}")
    if doubled:
        problems.append(f"{len(doubled)} effects are doubled, such as {doubled[:3]}")
    stuck = Counter(Delivery.objects.exclude(status=Delivery.Status.PROCESSED).values_list("status", flat=True))
    if stuck:
        problems.append(f"deliveries that are not processed: {dict(stuck)}")
    unfinished = Counter(Run.objects.exclude(status=Run.Status.SUCCEEDED).values_list("status", flat=True))
    if unfinished:
        problems.append(f"runs that have not succeeded: {dict(unfinished)}")
    tries = dict(sorted(Counter(Run.objects.values_list("tries", flat=True)).items()))
    print(f"  {len(stored)} stored, {effects.total()} effects of {len(expected)}, tries: {tries}")
    return problems


if __name__ == "__main__":
    main()
