"""What an erasure found and did: numbers only, never what it found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class TableReport:
    """The rows of one table."""

    looked_at: int = 0
    deleted: int = 0
    blanked: int = 0
    "Rows that stay, without what concerned the person."
    left: int = 0
    "Rows of other deliveries that quote only a name or a short number, which may be somebody else's."


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureReport:
    """What was erased, or with `is_dry_run` what would be."""

    is_dry_run: bool
    is_blank: bool
    "Whether rows stay and their contents are blanked."
    is_complete: bool
    "False if it was stopped: the same call continues."
    deliveries: int
    "Deliveries that met the criteria."
    quoting: int
    "Other deliveries that quote the person; what they quote is blanked."
    names_left: int
    "Other deliveries that quote only a name or a short number of the person: they are left alone."
    hidden: int
    "Deliveries that may be the person's: what was searched for was removed by retention, or masked before storing."
    runs_dropped: int
    "Unfinished runs that will not run."
    protected: int
    "Deliveries that rows of the project refer to (`on_delete=PROTECT`): they were blanked, not deleted."
    tables: Mapping[str, TableReport] = field(default_factory=dict)
    "By the name of the model, in lower case."

    @property
    def found(self) -> int:
        """Rows that were deleted or blanked, in all tables."""
        return sum(table.deleted + table.blanked for table in self.tables.values())

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "dry_run": self.is_dry_run,
            "blank": self.is_blank,
            "complete": self.is_complete,
            "deliveries": self.deliveries,
            "quoting": self.quoting,
            "names_left": self.names_left,
            "hidden": self.hidden,
            "runs_dropped": self.runs_dropped,
            "protected": self.protected,
            "tables": {name: asdict(table) for name, table in self.tables.items()},
        }


class Counts:
    """The numbers while they grow, and as JSON stores them."""

    def __init__(self, stored: Mapping[str, Any] | None = None) -> None:
        self._numbers: dict[str, dict[str, int]] = {name: dict(some) for name, some in (stored or {}).items()}

    def add(self, table: str, **numbers: int) -> None:
        """Add to the numbers of a table."""
        row = self._numbers.setdefault(table, {})
        for name, number in numbers.items():
            row[name] = row.get(name, 0) + number

    def copy(self) -> "Counts":
        """Return a copy, for a transaction that may be rolled back."""
        return Counts(self._numbers)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the numbers for `ErasureProgress.counts`."""
        return self._numbers

    def report(self, *, is_dry_run: bool, is_blank: bool, is_complete: bool) -> ErasureReport:
        """Return the report."""
        special = self._numbers.get("", {})
        tables = {name: TableReport(**some) for name, some in self._numbers.items() if name}
        return ErasureReport(
            is_dry_run=is_dry_run,
            is_blank=is_blank,
            is_complete=is_complete,
            deliveries=special.get("deliveries", 0),
            quoting=special.get("quoting", 0),
            names_left=special.get("names_left", 0),
            hidden=special.get("hidden", 0),
            runs_dropped=special.get("runs_dropped", 0),
            protected=special.get("protected", 0),
            tables=tables,
        )
