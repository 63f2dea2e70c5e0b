"""Genuine traffic while retention removes stored deliveries: its latency, and how many are removed in a second.

A real gunicorn on this machine, over loopback, and `manage.py nateq_prune` in a process of its own. Genuine deliveries
come at a steady rate, each measured from the moment it was due, so that waiting counts: first alone, then until
everything that is old has been removed. `--rows` says how many deliveries are stored (the largest number).
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace

from benchmarks import views
from benchmarks.database import database_name, temporary_database
from benchmarks.load import percentile
from benchmarks.parts.filling import fill
from benchmarks.parts.flood import Outcome, send_genuine
from benchmarks.processes import SERVERS, end, running, serving
from benchmarks.results import Table

RETENTION_DAYS = 0.05
"""What was filled is months old; what comes during the measurement is not."""

TURN_SECONDS = 5.0


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure and print a table of its own: its figures are latencies, not rates."""
    with temporary_database():
        _measure(options)
    return []


def _measure(options: argparse.Namespace) -> None:
    from nateq_webhooks.models import Delivery, Webhook
    from nateq_webhooks.models.removed_delivery import RemovedDelivery

    fill(max(options.rows))
    path = Webhook.objects.create(name="bench", secret=views.SECRET.decode()).get_absolute_url()
    before = Delivery.objects.count()
    arguments = (f"--workers={options.processes}", "--threads=8", "--keep-alive=30", "--bind=127.0.0.1:{port}")
    gunicorn = replace(SERVERS["gunicorn"], arguments=(*arguments, "benchmarks.wsgi"))
    alone, pruning = Outcome(), Outcome()
    with serving(gunicorn) as (port, _session):
        send_genuine(port, path, options.rate, 1, Outcome())
        send_genuine(port, path, options.rate, options.seconds, alone)
        command = [sys.executable, "-m", "django", "nateq_prune", "--json"]
        started = time.monotonic()
        with running(command, sys.stderr.buffer, BENCH_RETENTION=str(RETENTION_DAYS)) as process:
            while process.poll() is None:
                send_genuine(port, path, options.rate, TURN_SECONDS, pruning)
                left = Delivery.objects.count()
                print(f"{left:>12,} deliveries left", file=sys.stderr)
            _ended(process)
        seconds = time.monotonic() - started
    removed = RemovedDelivery.objects.count()
    print(f"### Pruning beside live traffic, {database_name()}, {options.rate:g} genuine deliveries a second\n")
    print(f"{removed:,} of {before:,} deliveries were removed in {seconds:.0f} s, {removed / seconds:,.0f} a second.\n")
    print("| | genuine | p50 (ms) | p95 (ms) | p99 (ms) | most (ms) |")
    print(f"| --- |{' ---: |' * 5}")
    for name, outcome in (("alone", alone), ("while pruning", pruning)):
        ordered = sorted(outcome.seconds)
        times = [f"{1000 * percentile(ordered, share):.1f}" for share in (0.5, 0.95, 0.99, 1)]
        print(f"| {' | '.join([name, str(len(ordered)), *times])} |")
    print()


def _ended(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode:
        raise RuntimeError(f"nateq_prune ended with {process.returncode}.")
    end(process)
