"""The scenarios by name, how many deliveries they take, and what must be found in a package broken on purpose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.control.scenarios import ack, order, pause, replay
from tests.control.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing to show. `play` returns what is wrong; with a broken package that must contain `finding`."""

    play: Callable[[Stage], list[str]]
    deliveries: int
    short: int
    finding: str


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "replay": Scenario(play=replay.play, deliveries=100_000, short=3000, finding="effects are doubled"),
    "pause": Scenario(play=pause.play, deliveries=1500, short=180, finding="started while it was paused"),
    "order": Scenario(play=order.play, deliveries=1000, short=160, finding="out of order"),
    "ack": Scenario(play=ack.play, deliveries=1000, short=80, finding="effects are doubled"),
}
