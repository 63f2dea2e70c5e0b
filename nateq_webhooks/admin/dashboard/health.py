"""The last hours of a webhook: how many deliveries came, what became of them, and how fast."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from nateq_webhooks.admin.dashboard.processing_times import ProcessingTimes
from nateq_webhooks.models import Delivery


@dataclass(frozen=True, kw_only=True, slots=True)
class Hour:
    """The number of deliveries of each status that came in the hour that begins at `start`."""

    start: datetime
    numbers: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many deliveries came."""
        return sum(self.numbers.values())


@dataclass(frozen=True, kw_only=True)
class Health:
    """The last hours of one webhook, or of all of them."""

    hours: Sequence[Hour]
    last: datetime | None
    "When the newest delivery came; None if none came, or if `is_last_known` is false and none of those counted did."
    times: ProcessingTimes | None
    counted_from: datetime | None
    "If not None, only deliveries that came later are counted."
    is_unfinished: bool = False
    "Whether the older hours will be counted soon."
    is_last_known: bool = True

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """How many deliveries of each status came."""
        counted: Counter[str] = Counter()
        for hour in self.hours:
            counted.update(hour.numbers)
        return counted

    @property
    def total(self) -> int:
        """How many deliveries came."""
        return sum(self.numbers.values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(self.numbers.get(status, 0) for status in Delivery.FAILING)

    @property
    def share_failed(self) -> float | None:
        """The share that failed, from 0 to 1; None if none came."""
        return self.failed / self.total if self.total else None
