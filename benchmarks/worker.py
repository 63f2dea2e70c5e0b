"""A worker process of the benchmarks: drains a queue each time it is told to.

It reads lines of a queue's name and a number of threads from its input, and prints for each one line of JSON with the
fields of `benchmarks.queues.Drained`.
"""

import json
import os
import sys
from dataclasses import asdict

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

import django


def main() -> None:
    """Work until the input ends."""
    django.setup()
    from benchmarks import receivers
    from benchmarks.queues import QUEUES

    receivers.connect()
    print("ready", flush=True)
    for line in sys.stdin:
        name, threads = line.split()
        print(json.dumps(asdict(QUEUES[name].drain(int(threads)))), flush=True)


if __name__ == "__main__":
    main()
