"""Stored deliveries are replayed to one of three receivers, the command killed in the middle and run again."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.control.shop import receivers
from tests.control.stage import WORKER, Stage, count, wait_until_drained
from tests.waiting import becomes_true

if TYPE_CHECKING:
    from nateq_webhooks.models import Delivery

CLOSED_EVERY = 10
"""One delivery in ten is of the event that is replayed a second time."""

KILLED_AT = (0.3, 0.6)
"""How much of the replay is done when its command is killed."""

MAX_GROWTH_KIB = 24 * 1024
"""How much the command's memory may grow from its first batch to its end."""


FIRST_TIME = datetime(2026, 6, 30, 12, tzinfo=UTC)
"""When the deliveries came, and their first runs ended."""


@dataclass(frozen=True)
class Made:
    """One start of the command: how long it ran (seconds), its memory at the first batch and at most (KiB)."""

    seconds: float
    first_kib: int
    peak_kib: int
    was_killed: bool
    wrote: str


def play(stage: Stage) -> list[str]:
    """Store, replay with nobody at work beside the command, run; then replay a part with workers beside it."""
    began = time.monotonic()
    delivery_ids = _store(stage)
    print(f"  {stage.deliveries} deliveries with 3 finished runs each, after {time.monotonic() - began:.0f} s")
    problems = _replay_alone(stage)
    with stage.site([WORKER, WORKER]):
        began = time.monotonic()
        wait_until_drained()
        seconds = time.monotonic() - began
        print(f"  two workers ran what was made in {seconds:.0f} s ({stage.deliveries / seconds:.0f} runs/s)")
        problems += _replay_beside_workers(stage)
        wait_until_drained()
    closed = [delivery_id for delivery_id in delivery_ids if _is_closed(delivery_id)]
    expected = [(delivery_id, "crm") for delivery_id in delivery_ids] + [(one, "ledger") for one in closed]
    return problems + count(expected, is_replay=True) + _records(stage, len(closed))


def _replay_alone(stage: Stage) -> list[str]:
    command = [
        "nateq_replay",
        "--receiver",
        receivers.name_of("crm"),
        "--reason",
        "CRM was down",
        "--all",
        "--no-input",
    ]
    starts = [_made(stage, command, kill_at=share) for share in (*KILLED_AT, None)]
    seconds = sum(made.seconds for made in starts)
    peak, growth = max(made.peak_kib for made in starts), max(made.peak_kib - made.first_kib for made in starts)
    print(
        f"  the command, killed at {' and '.join(f'{share:.0%}' for share in KILLED_AT)}: {seconds:.1f} s in "
        f"{len(starts)} starts, {stage.deliveries / seconds:.0f} deliveries/s, start-up included; peak memory "
        f"{peak / 1024:.0f} MiB, {growth / 1024:.1f} MiB more than at the first batch"
    )
    problems = []
    if [made.was_killed for made in starts] != [True, True, False]:
        problems.append("the command came to its end before it was killed")
    if growth > MAX_GROWTH_KIB:
        problems.append(f"the command's memory grew by {growth / 1024:.0f} MiB")
    if "Continuing replay" not in starts[-1].wrote:
        problems.append(f"the command does not say that it goes on: {starts[-1].wrote!r}")
    return problems


def _replay_beside_workers(stage: Stage) -> list[str]:
    """Kill a second replay's command at once: workers bring it to its end, and the same command again adds nothing."""
    command = ["nateq_replay", "--event", "ticket.closed", "--receiver", receivers.name_of("ledger"), "--no-input"]
    killed = _made(stage, command, kill_at=0.0)
    from nateq_webhooks.models import Replay

    is_finished = becomes_true(
        lambda: not Replay.objects.filter(finished_at__isnull=True).exists(), seconds=120, every=0.1
    )
    stage.call(*command, *_kill_and_repeat(stage))
    problems = [] if killed.was_killed else ["the second command came to its end before it was killed"]
    return problems if is_finished else [*problems, "workers did not bring a killed command's replay to its end"]


def _made(stage: Stage, command: list[str], *, kill_at: float | None) -> Made:
    """Run the command to its end, or kill it with SIGKILL when so much of the replay is done."""
    from nateq_webhooks.models import Replay

    before = Replay.objects.first()
    begun_at = before.after if before else 0
    began = time.monotonic()
    process = stage.start(*command, *_kill_and_repeat(stage))
    first = peak = 0
    was_killed = False
    while process.poll() is None:
        newest = Replay.objects.first()
        peak = max(peak, _peak_kib(process.pid))
        if newest is None or (newest == before and newest.after == begun_at):
            continue
        first = first or peak
        if kill_at is not None and newest.share_done >= kill_at:
            process.kill()
            process.wait()
            newest.refresh_from_db()
            was_killed = kill_at == 0 or newest.finished_at is None
            break
    seconds = time.monotonic() - began
    return Made(seconds, first or peak, peak, was_killed, process.communicate()[0])


def _kill_and_repeat(stage: Stage) -> list[str]:
    """Break the promise on purpose: each start begins another replay, which adds runs beside pending ones."""
    return ["--new"] if stage.is_broken else []


def _peak_kib(pid: int) -> int:
    """Return the most memory that a process has had so far (KiB); 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _records(stage: Stage, closed: int) -> list[str]:
    """Compare what is kept about the replays, and the first runs, with what happened."""
    from nateq_webhooks.models import Replay, Run

    kept = list(Replay.objects.order_by("pk").values_list("deliveries", "runs", "reason"))
    asked = [(stage.deliveries, stage.deliveries, "CRM was down"), (closed, closed, "")]
    problems = [] if kept == asked else [f"the replays are kept as {kept}, not as {asked}"]
    first = Run.objects.filter(round=0, status=Run.Status.SUCCEEDED, tries=1, finished_at=FIRST_TIME).count()
    if first != 3 * stage.deliveries:
        problems.append(f"only {first} of {3 * stage.deliveries} first runs are as they were")
    return problems


def _store(stage: Stage) -> list[str]:
    """Put the history into the database as it would be by now: deliveries, and the first runs of their receivers."""
    from django.db import connection

    from nateq_webhooks.models import Delivery, Run

    delivery_ids = [f"dlv_{number}" for number in range(stage.deliveries)]
    for start in range(0, stage.deliveries, 2000):
        Delivery.objects.bulk_create(_rows(stage, range(start, min(start + 2000, stage.deliveries))))
    run, delivery = Run._meta.db_table, Delivery._meta.db_table
    with connection.cursor() as cursor:
        for receiver in receivers.RECEIVERS:
            cursor.execute(
                f"INSERT INTO {run} (delivery_id, receiver, round, status, tries, started_at, finished_at, "
                "duration, error, traceback, held_by, next_try_at, lease, created_at) "
                "SELECT id, %s, 0, 'succeeded', 1, "
                f"received_at, received_at, NULL, '', '', 0, NULL, NULL, received_at FROM {delivery}",
                [receivers.name_of(receiver)],
            )
    return delivery_ids


def _rows(stage: Stage, numbers: range) -> "Iterator[Delivery]":
    from nateq_webhooks.protocol.examples import example_envelope
    from tests.builders import build_delivery

    for number in numbers:
        delivery_id = f"dlv_{number}"
        event = "ticket.closed" if _is_closed(delivery_id) else "ticket.created"
        document = example_envelope(event, number=number, delivery_id=delivery_id)
        yield build_delivery(
            stage.webhook,
            FIRST_TIME,
            delivery_id=delivery_id,
            event=event,
            resource_id=document["data"]["id"],
            organization_id=document["organization_id"],
            timestamp=FIRST_TIME,
            attempt=1,
            body=json.dumps(document).encode(),
            payload=document,
        )


def _is_closed(delivery_id: str) -> bool:
    return int(delivery_id.removeprefix("dlv_")) % CLOSED_EVERY == 0
