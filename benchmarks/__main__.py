"""`python -m benchmarks`: what the package costs, beside floors and other queues. benchmarks/README.md explains it."""

import argparse
import importlib
import json
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import SERVERS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

PARTS: Final = {
    "receive": "requests/s of real servers, beside bare views",
    "dispatch": "runs/s of workers, beside a bare claim and update, and beside other queues",
    "handler": "requests/s of Django's handler without a server (PostgreSQL)",
    "growth": "receiving, claims and bytes beside 0, 1 and 10 million stored deliveries (PostgreSQL)",
    "flood": "latency of genuine deliveries beside a flood of bad signatures",
    "prune": "latency of genuine deliveries while retention removes stored ones; takes the largest of --rows",
    "held": "claims and runs beside a transaction that is held open (PostgreSQL)",
    "admin": "times of the admin's pages on millions of rows; fills the database of --database and leaves it",
}
DEFAULT_PARTS: Final = ["receive", "dispatch"]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parts = "\n".join(f"  {name:9} {text}" for name, text in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure the package. Without a name: {' and '.join(DEFAULT_PARTS)}.\n\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--database", metavar="URL", help="a new database is created beside it (default: DATABASE_URL, else SQLite)"
    )
    parser.add_argument("--rounds", type=_positive(int), default=5, help="rounds of turns (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_positive(float), default=5, help="receive, flood: of each turn (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results, each sample included")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a picture of the results")
    group = parser.add_argument_group("receive")
    group.add_argument(
        "--servers", type=_list_of(str, tuple(SERVERS)), default=list(SERVERS), help=f"default: {','.join(SERVERS)}"
    )
    group.add_argument("--connections", type=_list_of(int), default=[16], metavar="N,N", help="default: 16")
    group = parser.add_argument_group("dispatch")
    group.add_argument("--deliveries", type=_positive(int), default=1000, help="per turn (default: %(default)s)")
    group.add_argument("--no-peers", dest="peers", action="store_false", help="leave out the other queues")
    group = parser.add_argument_group("handler")
    group.add_argument(
        "--requests", type=_positive(int), default=1000, help="per turn, of growth, too (default: %(default)s)"
    )
    group.add_argument("--threads", type=_positive(int), default=1, help="that send (default: %(default)s)")
    group = parser.add_argument_group("flood")
    group.add_argument("--rate", type=_positive(float), default=50, help="genuine deliveries a second")
    group.add_argument("--flood", type=float, default=500, help="bad signatures a second; 0: as fast as they go")
    group.add_argument("--body", type=_positive(int), default=2_000, help="bytes of a body of the flood")
    group.add_argument("--processes", type=_positive(int), default=2, help="of gunicorn")
    group = parser.add_argument_group("growth, admin")
    group.add_argument(
        "--rows",
        type=_list_of(int, least=0),
        default=[0, 1_000_000, 10_000_000],
        metavar="N,N",
        help="stored deliveries; admin takes the largest (default: 0,1000000,10000000)",
    )
    group.add_argument("--repeat", type=_positive(int), default=7)
    group.add_argument("--only", default="")
    group.add_argument("--explain", action="store_true")
    return parser


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse


def _list_of(kind: type, choices: tuple[str, ...] = (), least: int = 1) -> Any:
    def parse(text: str) -> list[Any]:
        values = [kind(each) for each in text.split(",")]
        for value in values:
            if (choices and value not in choices) or (kind is int and value < least):
                allowed = ", ".join(choices) or f"{least}, {least + 1}, ..."
                raise argparse.ArgumentTypeError(f"{value!r} is not one of {allowed}")
        return values

    return parse


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print tables; progress goes to stderr."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    options.parts = options.parts or DEFAULT_PARTS
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if options.database:
        os.environ["DATABASE_URL"] = options.database
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit("Ended by SIGTERM."))
    import django

    django.setup()
    try:
        tables = []
        for name in options.parts:
            found = importlib.import_module(f"benchmarks.parts.{name}").measure(options)
            for table in found:
                print(f"{table.to_markdown()}\n", flush=True)
            tables += found
            _write(options, tables)
    except KeyboardInterrupt:
        sys.exit("Interrupted; the databases and processes of the benchmarks are gone.")


def _write(options: argparse.Namespace, tables: list[Any]) -> None:
    """Write the files that were asked for, with what has been measured so far."""
    import django
    from django.db import connection

    from benchmarks.plot import to_svg
    from benchmarks.results import Table

    if options.json:
        document = {
            "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": connection.vendor,
            "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "rounds": options.rounds,
            "seconds": options.seconds,
            "tables": [table.to_dict() for table in tables],
        }
        options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if options.svg:
        options.svg.write_text(to_svg([table for table in tables if isinstance(table, Table)]))


if __name__ == "__main__":
    main()
