"""Four processes send while dispatch is paused, everything and then one receiver, and resumed."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING

from tests.control.sending import SENDERS, Parcel, sending
from tests.control.shop import receivers
from tests.control.stage import WORKER, Stage, count, wait_until_drained
from tests.faults.actors import Actors
from tests.waiting import becomes_true

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from nateq_webhooks.models import Delivery

RATE = 4.0
"""Deliveries a second from each sender."""

GRACE = timedelta(seconds=1)
"""A pause is in force everywhere after this."""

WORKERS, CONCURRENCY = 2, 2

MOST_THREADS = 2 * WORKERS * CONCURRENCY
"""How many threads may explain the order of the starts: twice those there are, as a run may be released and claimed
again. Fifty starts in random order need about eleven."""


def play(stage: Stage) -> list[str]:
    """Pause everything in the first half of the traffic, one receiver in the second."""
    stage.environment["CONTROL_WORK_SECONDS"] = "0.015"
    worker = [*WORKER, "--concurrency", str(CONCURRENCY)]
    with stage.site([worker] * WORKERS) as actors:
        return [
            *_pause(stage, actors, "all", None),
            *_pause(stage, actors, "one", receivers.name_of("crm")),
        ]


def _pause(stage: Stage, actors: Actors, name: str, receiver: str | None) -> list[str]:
    """Send, pause, kill what would forget it, resume, and return what is wrong."""
    from nateq_webhooks.models import Delivery

    mine = Delivery.objects.filter(delivery_id__startswith=name)
    option = ["--receiver", receiver] if receiver else ["--all"]
    # More than there is time for: the senders go on until everything has been seen.
    parcels = [Parcel(delivery_id=f"{name}_{number}", number=number) for number in range(50 * stage.deliveries)]
    some = stage.deliveries // 6
    with sending(stage.sender(actors), parcels, rate=RATE) as traffic:
        becomes_true(lambda: mine.count() >= some, seconds=600, every=0.1)
        paused_at = _call_pause(stage, option)
        problems = _shown(stage, receiver)
        for _ in range(0 if receiver else 3):  # with one receiver paused, the others' runs would wait for their lease
            actors.kill_one()
        late = mine.filter(received_at__gt=paused_at + GRACE)
        becomes_true(lambda: late.count() >= some and datetime.now(UTC) > paused_at + 4 * GRACE, seconds=600, every=0.1)
        if receiver:
            problems += _others_go_on(late, 2 * some)
        resumed_at = datetime.now(UTC)
        stage.call("nateq_resume", *option)
        afterwards = mine.filter(received_at__gt=resumed_at)
        becomes_true(lambda: afterwards.count() >= some, seconds=600, every=0.1)
        traffic.stop()
        sent = {one.delivery_id for one in traffic.finished()}
    wait_until_drained()
    print(f"  {name}: {len(sent)} deliveries from {SENDERS} processes; {actors.kills} of the site's killed so far")
    problems += _compare(mine, receivers.RECEIVERS if receiver is None else ("crm",), paused_at, resumed_at)
    if lost := sent - set(mine.values_list("delivery_id", flat=True)):
        problems.append(f"{len(lost)} deliveries were acknowledged, but are not stored")
    return problems + count(product(sent, receivers.RECEIVERS), delivery_id__startswith=name)


def _call_pause(stage: Stage, option: list[str]) -> datetime:
    """Pause by the command; return the moment from which others could see it."""
    from nateq_webhooks.models.hold import Hold

    command = stage.start("nateq_pause", "--reason", "CRM is being moved", *option)
    becomes_true(lambda: Hold.objects.filter(paused_at__isnull=False).exists(), seconds=60, every=0.01)
    seen_at = datetime.now(UTC)
    command.communicate()
    return seen_at


def _shown(stage: Stage, receiver: str | None) -> list[str]:
    """Say where the pause is not shown: `nateq_status`, with its exit code, and the system check."""
    scope = f"receiver:{receiver}" if receiver else ""
    status = json.loads(stage.call("nateq_status", "--json", status=1))
    shown = [(hold["scope"], hold["reason"]) for hold in status["paused"]]
    problems = [] if shown == [(scope, "CRM is being moved")] else [f"nateq_status shows {shown}"]
    if "nateq_webhooks.W006" not in stage.call("check", "--database", "default"):
        problems.append("no system check shows the pause")
    return problems


def _compare(
    deliveries: "QuerySet[Delivery]", names: Sequence[str], paused_at: datetime, resumed_at: datetime
) -> list[str]:
    """Say what started while it was paused, and what did not start in the order of arrival afterwards."""
    from tests.control.shop.models import Effect

    effects = Effect.objects.filter(receiver__in=names, started_at__lt=resumed_at)
    late_by = max(paused_at, *effects.values_list("started_at", flat=True)) - paused_at
    during = effects.filter(started_at__gt=paused_at + GRACE).count()
    came = deliveries.filter(received_at__gt=paused_at + GRACE, received_at__lt=resumed_at)
    backlog = list(came.order_by("received_at").values_list("delivery_id", flat=True))
    claims = [_claims(name, backlog, waiting_at=resumed_at if names == ("crm",) else None) for name in names]
    threads = max(map(_threads_needed, claims))
    moments = [moment for of_one in claims for moment in of_one]
    print(
        f"  {', '.join(names)}: {len(backlog)} deliveries came while paused, the last start "
        f"{late_by.total_seconds():.2f} s after the pause; resumed, what waited was taken within "
        f"{(max(moments) - min(moments)).total_seconds():.1f} s, in the order of {threads} threads"
    )
    problems = []
    if during:
        problems.append(f"{during} runs started while it was paused, the last {late_by} after the pause")
    if threads > MOST_THREADS:
        problems.append(
            f"the deliveries were not started as they came: it takes {threads} threads to explain the order"
        )
    return problems


def _claims(name: str, delivery_ids: Sequence[str], *, waiting_at: datetime | None) -> list[datetime]:
    """Return when a receiver's runs were taken, in the order of the deliveries.

    With `waiting_at` only of runs that were there by then: where workers lag behind, new deliveries and waiting runs
    are taken by turns, so that a backlog of the one does not stop the other.
    """
    from nateq_webhooks.models import Run

    runs = Run.objects.filter(receiver=receivers.name_of(name), started_at__isnull=False)
    if waiting_at is not None:
        runs = runs.filter(created_at__lt=waiting_at)
    moments = dict(runs.values_list("delivery__delivery_id", "started_at"))
    return [moment for one in delivery_ids if (moment := moments.get(one)) is not None]


def _threads_needed(starts: Sequence[datetime]) -> int:
    """Return the fewest threads, each of which starts deliveries in the order they came, that explain these starts.

    That is independent of how fast the machine is: each thread claims up to twenty runs and works them off in order,
    beside other threads that have claimed later ones.
    """
    latest: list[datetime] = []  # each thread's, sorted
    for start in starts:
        if thread := bisect_right(latest, start):
            latest[thread - 1] = start
        else:
            latest.insert(0, start)
    return len(latest)


def _others_go_on(came: "QuerySet[Delivery]", expected: int) -> list[str]:
    """Say when the other receivers do not run for what comes while one is paused."""
    from tests.control.shop.models import Effect

    others = Effect.objects.exclude(receiver="crm")
    if becomes_true(
        lambda: others.filter(delivery_id__in=came.values("delivery_id")).count() >= expected, seconds=120, every=0.1
    ):
        return []
    return ["the other receivers wait, too"]
