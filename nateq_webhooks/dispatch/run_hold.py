"""What holds one run back, and since when: for the pages that show a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nateq_webhooks.dispatch.holds import HoldState, read_holds
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import EVERYTHING, Hold, scope_parts
from nateq_webhooks.models.run import HELD_BY_ORDER


class HoldKind(StrEnum):
    """What kind of thing holds a run back."""

    EVERYTHING = "everything"
    "A person has paused everything."
    WEBHOOK = "webhook"
    "A person has paused the webhook."
    RECEIVER = "receiver"
    "A person has paused the receiver."
    BREAKER = "breaker"
    "The circuit breaker has paused the receiver for this webhook."
    RATE_LIMIT = "rate_limit"
    "The rate limit of the receiver lets it start later."
    ORDER = "order"
    "An earlier delivery of the same key has not finished (`ORDERED_BY`)."
    UNKNOWN_RECEIVER = "unknown_receiver"
    "No process knows its receiver."


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHold:
    """What holds a run back."""

    kind: HoldKind
    hold: Hold | None = None
    "The pause, with who, why and since when; the rate limit's hold; None for the other kinds."
    rate: float | None = None
    "Runs a second, of a rate limit."

    @property
    def is_pause(self) -> bool:
        """Whether a person or the circuit breaker has paused it, so that it can be resumed."""
        return self.hold is not None and self.hold.is_paused


def holds_of(alias: str, runs: Iterable[Run]) -> dict[int, RunHold]:
    """Return what holds each run back, by the run's key. Runs that nothing holds back are not in it.

    Reads the holds once. The runs need their `delivery`, whose webhook may be paused.
    """
    pending = [run for run in runs if run.status in Run.PENDING]
    if not pending:
        return {}
    state = read_holds(alias)
    found = {run.pk: hold_of(run, state) for run in pending}
    return {key: held for key, held in found.items() if held is not None}


def hold_of(run: Run, state: HoldState) -> RunHold | None:
    """Return what holds a run back; None if nothing does: it is due, runs or has finished."""
    if run.status not in Run.PENDING:
        return None
    if run.is_parked:
        return RunHold(kind=HoldKind.UNKNOWN_RECEIVER)
    if state.is_paused:
        return RunHold(kind=HoldKind.EVERYTHING, hold=state.holds[EVERYTHING])
    # A run created during a pause is moved to its hold by the next claim, so its own column may still say otherwise.
    expected = state.held_by(run.delivery.webhook_id, run.receiver)
    hold = next((each for each in state.holds.values() if each.pk in {run.held_by, expected} and each.is_paused), None)
    if hold is not None:
        return RunHold(kind=_kind(hold), hold=hold)
    if run.held_by == HELD_BY_ORDER:
        return RunHold(kind=HoldKind.ORDER)
    limited = next((hold for hold, _rate in state.rate_limited() if hold.pk == run.held_by), None)
    if limited is not None:
        return RunHold(kind=HoldKind.RATE_LIMIT, hold=limited, rate=state.rates[run.receiver])
    return None


def _kind(hold: Hold) -> HoldKind:
    webhook, receiver = scope_parts(hold.scope)
    if webhook:
        return HoldKind.BREAKER if receiver else HoldKind.WEBHOOK
    return HoldKind.RECEIVER
