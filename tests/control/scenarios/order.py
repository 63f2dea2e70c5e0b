"""Deliveries of some keys, four workers, receivers that fail at random: a key's effects come one by one, in order."""

import json
from collections import defaultdict
from itertools import pairwise, product
from pathlib import Path

from tests.control.sending import Parcel, sending
from tests.control.shop import receivers
from tests.control.stage import WORKER, Stage, count, wait_until_drained

KEYS = 20


def play(stage: Stage) -> list[str]:
    """Send the keys' deliveries in turns; the long form kills workers meanwhile."""
    from django.db.models import Sum

    from nateq_webhooks.models import Run
    from nateq_webhooks.models.hold import OrderLock

    log = Path(stage.folder) / "tries"
    stage.environment |= {"FAULTS_FAILING": "0.25", "CONTROL_TRIES_LOG": str(log), "CONTROL_WORK_SECONDS": "0.002"}
    parcels = [Parcel(delivery_id=f"dlv_{place}", number=place % KEYS) for place in range(stage.deliveries)]
    with stage.site([WORKER] * 4) as actors:
        with stage.kills(actors), sending(stage.sender(actors), parcels, rate=40) as traffic:
            traffic.finished()
        wait_until_drained()
        print(f"  {len(parcels)} deliveries of {KEYS} keys, 4 workers, {actors.kills} processes killed")
    tries = Run.objects.aggregate(total=Sum("tries"))["total"]
    print(f"  {tries} tries of {Run.objects.count()} runs")
    problems = [] if tries > Run.objects.count() else ["no receiver failed: that shows nothing"]
    if left := OrderLock.objects.count():
        problems.append(f"{left} turns are left over")
    expected = product([parcel.delivery_id for parcel in parcels], receivers.RECEIVERS)
    return problems + count(expected) + _out_of_order() + _at_once(log)


def _out_of_order() -> list[str]:
    """Say which effects are not where their delivery's place among those of its key is.

    A key's deliveries were sent one after the other, each when the one before it had been acknowledged.
    """
    from tests.control.shop.models import Effect

    lines: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for receiver, key, delivery_id, seen in Effect.objects.order_by("pk").values_list(
        "receiver", "key", "delivery_id", "seen"
    ):
        lines[receiver, key].append((int(delivery_id.removeprefix("dlv_")), seen))
    wrong = [
        (receiver, key, numbers)
        for (receiver, key), numbers in lines.items()
        if numbers != [(number, place) for place, (number, _seen) in enumerate(sorted(numbers))]
    ]
    return [f"the effects of {len(wrong)} of {len(lines)} keys are out of order, such as {wrong[:1]}"] if wrong else []


def _at_once(log: Path) -> list[str]:
    """Say which tries of the same receiver and key overlapped, failed ones included."""
    tries: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        receiver, key, begun, ended = json.loads(line)
        tries[receiver, key].append((begun, ended))
    overlaps = [key for key, spans in tries.items() for one, other in pairwise(sorted(spans)) if other[0] < one[1]]
    return [f"{len(overlaps)} tries ran at the same time as another of their key"] if overlaps else []
