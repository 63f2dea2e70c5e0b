"""`python -m tests.control`: play the scenarios, then count. Exits with 1 and says what, when a promise was broken."""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from tests.faults import services
from tests.faults.actors import ROOT

DATABASES = {"postgresql": services.postgresql, "mariadb": services.mariadb}


def main() -> None:
    """Read the options, start a database, play each scenario on an empty one."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "tests.control.settings"}
    parser = argparse.ArgumentParser(prog="python -m tests.control", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="replay, pause, order, ack; all by default")
    parser.add_argument("--database", choices=DATABASES, default="postgresql")
    parser.add_argument("--deliveries", type=int, help="instead of each scenario's own number")
    parser.add_argument("--short", action="store_true", help="few deliveries, few kills: a minute for all")
    parser.add_argument("--broken", action="store_true", help="break the package on purpose: each must find it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, DATABASES[options.database]() as database:
        os.environ["DATABASE_URL"] = database.url
        subprocess.run([sys.executable, "-m", "django", "migrate", "-v", "0"], cwd=ROOT, check=True)
        import django

        django.setup()
        from tests.control.scenarios import SCENARIOS

        if unknown := set(options.scenarios) - set(SCENARIOS):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
        names = options.scenarios or list(SCENARIOS)
        passed = [play(name, options, folder, database.url) for name in names]
    sys.exit(0 if all(passed) else 1)


def play(name: str, options: argparse.Namespace, folder: str, database: str) -> bool:
    """Play one scenario on an emptied database and print the verdict; say whether it is as it should be."""
    from django.core.management import call_command

    from nateq_webhooks.models import Webhook
    from tests.control.scenarios import SCENARIOS
    from tests.control.stage import SECRET, Stage

    scenario = SCENARIOS[name]
    call_command("flush", interactive=False, verbosity=0)
    stage = Stage(
        scenario=name,
        is_broken=options.broken,
        is_short=options.short,
        deliveries=options.deliveries or (scenario.short if options.short else scenario.deliveries),
        database=database,
        folder=folder,
        webhook=Webhook.objects.create(name="control", secret=SECRET),
    )
    began = time.monotonic()
    print(f"{name}, {options.database}:", flush=True)
    problems = scenario.play(stage)
    verdict = [f"BROKEN: {name}: {problem}" for problem in problems] or [f"OK: {name}"]
    print("\n".join(verdict), f"({time.monotonic() - began:.0f} s)", flush=True)
    if not options.broken:
        return not problems
    found = any(scenario.finding in problem for problem in problems)
    print(f"{'FOUND OUT' if found else 'NOT FOUND OUT'}: {name} was broken on purpose", flush=True)
    return found


if __name__ == "__main__":
    main()
