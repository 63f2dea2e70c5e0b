"""A site without any worker: the answer waits for the receivers, and the sender's retries are the retry policy."""

from collections import Counter
from itertools import product

from tests.control.sending import Parcel, Sent, sending
from tests.control.shop import receivers
from tests.control.stage import Stage, count

TWICE_EVERY = 5
"""One delivery in five is brought by two requests at the same time."""


def play(stage: Stage) -> list[str]:
    """Send until everything is acknowledged; receivers fail half the time. The long form kills web workers."""
    from nateq_webhooks.models.hold import Heartbeat

    stage.environment["FAULTS_FAILING"] = "0.6"
    parcels = [
        Parcel(delivery_id=f"dlv_{number}", number=number, is_doubled=number % TWICE_EVERY == 0)
        for number in range(stage.deliveries)
    ]
    with stage.site([]) as actors, stage.kills(actors), sending(stage.sender(actors), parcels, rate=100) as traffic:
        sent = traffic.finished()
    attempts = sum(one.attempts for one in sent)
    print(
        f"  {len(parcels)} deliveries acknowledged after {attempts} attempts, at most "
        f"{max(one.attempts for one in sent)} of one; {actors.kills} web workers killed"
    )
    problems = [] if attempts > 1.5 * len(parcels) else ["hardly any attempt failed: that shows nothing"]
    if Heartbeat.objects.exists():
        problems.append("a worker was there")
    expected = product([parcel.delivery_id for parcel in parcels], receivers.RECEIVERS)
    return problems + count(expected) + _too_early(sent)


def _too_early(sent: list[Sent]) -> list[str]:
    """Say which deliveries were acknowledged before their receivers had run."""
    from tests.control.shop.models import Effect

    moments = {one.delivery_id: one.at for one in sent}
    late = Counter(
        delivery_id
        for delivery_id, started_at in Effect.objects.values_list("delivery_id", "started_at")
        if started_at.timestamp() > moments[delivery_id]
    )
    return [f"{len(late)} deliveries were acknowledged before their receivers ran"] if late else []
