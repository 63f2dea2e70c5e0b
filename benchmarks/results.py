"""The results of a measurement: samples of turns, their medians and ratios, as Markdown and as JSON."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

UNKNOWN = "–"  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one turn measured. None is what was not measured, or is unknown on this system."""

    rate: float
    "Requests, runs or tasks per second."
    p50: float | None = None
    "Milliseconds."
    p99: float | None = None
    "Milliseconds."
    server_cpu: float | None = None
    "Seconds of processor time of the server's processes per 1,000 requests."
    database_cpu: float | None = None
    "Seconds of processor time of the database's backends per 1,000 requests."


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of some values, and how far they are from it."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Return the spread of at least one value."""
        found = list(values)
        return cls(median=statistics.median(found), min=min(found), max=max(found))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is measured: a sample for each round, and the row that is its floor, if it has one."""

    name: str
    floor: str = ""
    samples: list[Sample] = field(default_factory=list)

    @property
    def rate(self) -> Spread:
        """The rate over the rounds."""
        return Spread.of(sample.rate for sample in self.samples)

    def median_of(self, name: str) -> float | None:
        """Return the median of a field over the rounds; None if it was not measured."""
        values = [getattr(sample, name) for sample in self.samples]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that were measured in turns in one run."""

    title: str
    unit: str
    "What is counted per second: `requests`, `runs`."
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def ratio(self, row: Row) -> Spread | None:
        """Return the rate of a row relative to its floor's in the same round; None without a floor."""
        floors = [each for each in self.rows if each.name == row.floor]
        if not floors:
            return None
        pairs = zip(row.samples, floors[0].samples, strict=True)
        return Spread.of(own.rate / floor.rate for own, floor in pairs)

    def to_markdown(self) -> str:
        """Return the table as Markdown; a column that no row has is left out."""
        columns = {f"{self.unit}/s": [f"{row.rate.median:,.0f}" for row in self.rows]}
        columns["min to max"] = [f"{row.rate.min:,.0f} to {row.rate.max:,.0f}" for row in self.rows]
        ratios = [self.ratio(row) for row in self.rows]
        columns["of its floor"] = [f"{ratio.median:.2f}" if ratio else UNKNOWN for ratio in ratios]
        columns["min to max of it"] = [f"{ratio.min:.2f} to {ratio.max:.2f}" if ratio else UNKNOWN for ratio in ratios]
        for name, title, digits in (
            ("p50", "p50 (ms)", 1),
            ("p99", "p99 (ms)", 1),
            ("server_cpu", f"CPU of the server (s per 1,000 {self.unit})", 2),
            ("database_cpu", f"CPU of the database (s per 1,000 {self.unit})", 2),
        ):
            columns[title] = [_number(row.median_of(name), digits) for row in self.rows]
        shown = {title: cells for title, cells in columns.items() if set(cells) != {UNKNOWN}}
        lines = [f"### {self.title}", ""]
        lines += [f"| | {' | '.join(shown)} |", f"| --- |{' ---: |' * len(shown)}"]
        lines += [
            f"| {row.name} | {' | '.join(cells)} |"
            for row, cells in zip(self.rows, zip(*shown.values(), strict=True), strict=True)
        ]
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON: the samples, and what follows from them."""
        rows = []
        for row in self.rows:
            ratio = self.ratio(row)
            medians = {name: row.median_of(name) for name in ("p50", "p99", "server_cpu", "database_cpu")}
            rows.append(asdict(row) | medians | {"rate": asdict(row.rate), "ratio": asdict(ratio) if ratio else None})
        return {"title": self.title, "unit": self.unit, "notes": self.notes, "rows": rows}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Table":
        """Return the table of which `to_dict` made this."""
        rows = [
            Row(name=row["name"], floor=row["floor"], samples=[Sample(**sample) for sample in row["samples"]])
            for row in found["rows"]
        ]
        return cls(title=found["title"], unit=found["unit"], notes=found["notes"], rows=rows)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Figures that are not rates: a line for each thing, with as many cells as the head has."""

    title: str
    head: list[str]
    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def to_markdown(self) -> str:
        """Return the listing as Markdown."""
        rule = f"| --- |{' ---: |' * (len(self.head) - 1)}"
        lines = [f"| {' | '.join(cells)} |" for cells in (self.head, *self.lines)]
        return "\n".join(
            [f"### {self.title}", "", lines[0], rule, *lines[1:], "", *(f"{note}\n" for note in self.notes)]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def in_turns(rows: list[Row], rounds: int) -> Iterable[tuple[int, Row]]:
    """Yield each row once a round, forwards and backwards by turns, so that no row always comes after the same one."""
    for number in range(rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            yield number, row
