"""`nateq_prune` and `nateq_erase` in processes of their own: killed again and again, beside a sender that repeats."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group

from nateq_webhooks import signals
from nateq_webhooks.models import Attempt, Delivery, Run, RunTry, Webhook
from nateq_webhooks.models.erasure_progress import ErasureProgress
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.retention_progress import RetentionProgress
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.builders import ago, build_run, insert
from tests.conftest import Connect, Sender
from tests.erasure.people import OMAR, SARA, body_of, ticket, traces
from tests.runners.processes import process, run

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

PRUNE = ("-m", "django", "nateq_prune", "--pause", "4")
ERASE = ("-m", "django", "nateq_erase", "--no-input", "--where", "data.requester.id=cus_sara9")
SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.management.retention_settings"}
KILLS = 3


@pytest.fixture
def effects(connect: Connect, settings: Any) -> Callable[[], Counter[str]]:
    """What the receiver did, by delivery id: it is committed with the run."""
    settings.NATEQ_WEBHOOKS = settings.NATEQ_WEBHOOKS | {"DISPATCH": "inline"}

    def receiver(*, delivery: Delivery, **kwargs: Any) -> None:
        Group.objects.create(name=f"{delivery.delivery_id} {delivery.pk} {time.monotonic_ns()}")

    connect(signals.ticket_created, receiver, "shop.open")
    return lambda: Counter(name.split()[0] for name in Group.objects.values_list("name", flat=True))


def store_old(webhook: Webhook, count: int, people: Sequence[dict[str, str]]) -> list[Delivery]:
    """Store deliveries that are old enough to go, and whose receiver has succeeded."""
    built = (
        ticket(webhook, number, people[number % len(people)], received_at=ago(days=60, minutes=-number))
        for number in range(count)
    )
    stored = insert(built)
    runs = [build_run(one, Run.Status.SUCCEEDED, receiver="shop.open", next_try_at=None) for one in stored]
    Run.objects.bulk_create(runs)
    Group.objects.bulk_create(Group(name=f"{one.delivery_id} {one.pk}") for one in stored)
    return stored


def store_unfinished(webhook: Webhook) -> list[Delivery]:
    """Store as old ones whose receiver has not finished: it waits, is held, is parked, runs, or will be tried again.

    Every other one had been processed, and is replayed.
    """
    hold = Hold.objects.create(scope="receiver:x")
    statuses = [Delivery.Status.RECEIVED, Delivery.Status.PROCESSED]
    built = [
        ticket(webhook, number, OMAR, received_at=ago(days=50), status=statuses[number % 2])
        for number in range(10_000, 10_050)
    ]
    stored = insert(built)
    later = ago(days=-300)
    kinds: list[dict[str, Any]] = [
        {"status": "waiting", "next_try_at": later},
        {"status": "waiting", "next_try_at": later, "held_by": hold.pk},
        {"status": "waiting", "next_try_at": PARKED_UNTIL},
        {"status": "running", "next_try_at": later},
        {"status": "failed", "next_try_at": later},
    ]
    Run.objects.bulk_create(
        build_run(one, receiver="shop.later", **kinds[number % len(kinds)]) for number, one in enumerate(stored)
    )
    return stored


class Traffic:
    """A sender that posts new deliveries and repeats old ones."""

    def __init__(self, webhook: Webhook, old: Sequence[Delivery], chance: random.Random) -> None:
        self.sender = Sender(webhook)
        self.old = old
        self.chance = chance
        self.new: list[str] = []
        self.answers: Counter[tuple[int, bytes]] = Counter()

    def post(self) -> None:
        if self.chance.random() < 0.4:
            number = len(self.new)
            self.new.append(f"dlv_new_{number}")
            data = {"id": f"tkt_new_{number}", "requester": OMAR}
            self._send(body_of("ticket.created", data, self.new[-1]))
            return
        # Those that go first are repeated while they go.
        one = self.chance.choice(self.old[: self.chance.choice([100, 500, len(self.old)])])
        document = json.loads(one.body)
        document["metadata"]["attempt"] = 2
        self._send(json.dumps(document).encode())

    def _send(self, body: bytes) -> None:
        response = self.sender.post(body)
        self.answers[response.status_code, response.content] += 1


def kill_again_and_again(command: Sequence[str], traffic: Traffic) -> int:
    """Kill a command at random moments; return how often it was still at work."""
    killed = 0
    for _ in range(KILLS):
        with process(*command, **SETTINGS) as removing:
            killed_at = time.monotonic() + traffic.chance.uniform(0.6, 2.0)
            while time.monotonic() < killed_at and removing.popen.poll() is None:
                traffic.post()
            killed += removing.popen.poll() is None
            removing.popen.kill()
    return killed


def test_a_killed_prune_beside_deliveries_and_repeats(webhook: Webhook, effects: Callable[[], Counter[str]]) -> None:
    Webhook.objects.update(has_removed=True)  # else the first process waits until all know it
    old = store_old(webhook, 2_000, [OMAR])
    unfinished = store_unfinished(webhook)
    runs = list(Run.objects.filter(delivery__in=unfinished).order_by("pk").values())
    traffic = Traffic(webhook, [*old, *unfinished], random.Random(3))

    killed = kill_again_and_again(PRUNE, traffic)
    run(*PRUNE[:-2], "--pause", "0", **SETTINGS)

    assert killed
    assert {status for status, _content in traffic.answers} == {200}
    assert set(Delivery.objects.values_list("delivery_id", flat=True)) == {
        *traffic.new,
        *(one.delivery_id for one in unfinished),
    }
    assert list(Run.objects.filter(delivery__in=unfinished).order_by("pk").values()) == runs
    removed = RemovedDelivery.objects.filter(reason="retention").values_list("identity", flat=True)
    assert Counter(removed) == Counter(one.identity for one in old)
    assert traffic.answers[200, b'{"status": "already stored"}'] > 0
    assert effects() == Counter([*traffic.new, *(one.delivery_id for one in old)])
    assert RetentionProgress.objects.get().after >= old[-1].pk
    assert_nothing_is_orphaned()


@pytest.mark.parametrize("options", [(), ("--blank",)], ids=["delete", "blank"])
def test_a_killed_erasure_beside_deliveries_and_repeats(
    webhook: Webhook, effects: Callable[[], Counter[str]], options: tuple[str, ...]
) -> None:
    Webhook.objects.update(has_removed=True)
    old = store_old(webhook, 1_000, [SARA, OMAR])
    sara, omar = old[::2], old[1::2]
    unfinished = store_unfinished(webhook)
    failed = [build_run(one, Run.Status.DEAD, receiver="shop.mail", error=f"no {SARA['email']}") for one in old[:200]]
    Run.objects.bulk_create(failed)
    runs = list(Run.objects.filter(delivery__in=unfinished).order_by("pk").values())
    traffic = Traffic(webhook, old, random.Random(4))

    killed = kill_again_and_again((*ERASE, *options), traffic)
    run(*ERASE, *options, **SETTINGS)

    assert killed
    assert {status for status, _content in traffic.answers} == {200}
    assert traces() == []
    assert not ErasureProgress.objects.exists()
    kept = {*traffic.new, *(one.delivery_id for one in (*omar, *unfinished, *(sara if options else ())))}
    assert set(Delivery.objects.values_list("delivery_id", flat=True)) == kept
    assert list(Run.objects.filter(delivery__in=unfinished).order_by("pk").values()) == runs
    if not options:
        removed = set(RemovedDelivery.objects.filter(reason="erasure").values_list("identity", flat=True))
        assert removed >= {one.identity for one in sara}
    assert effects() == Counter([*traffic.new, *(one.delivery_id for one in old)])
    assert_nothing_is_orphaned()


def assert_nothing_is_orphaned() -> None:
    assert not Run.objects.exclude(delivery__in=Delivery.objects.all()).exists()
    assert not RunTry.objects.exclude(run__in=Run.objects.all()).exists()
    assert not Attempt.objects.exclude(delivery__in=Delivery.objects.all()).exists()
