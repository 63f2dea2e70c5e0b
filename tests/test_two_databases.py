"""The deliveries in a database that is not the default one, under ATOMIC_REQUESTS: one site in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROOT

SITE = """
import json, sys
from django.conf import settings
import tests.settings as base
from tests.settings import SQLITE_OPTIONS

class Router:
    def db_for_read(self, model, **hints):
        return "hooks"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return db == "hooks"

given = {name: value for name, value in vars(base).items() if name.isupper()}
databases = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1] + alias, "OPTIONS": SQLITE_OPTIONS,
            "ATOMIC_REQUESTS": True}
    for alias in ("default", "hooks")
}
settings.configure(**given | {"DATABASES": databases, "DATABASE_ROUTERS": [Router()]})
import django
django.setup()
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connections
from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.testing import deliver
from tests.conftest import SECRET, Sender, envelope

call_command("migrate", database="hooks", verbosity=0)
seen = []

def writes(delivery, **kwargs):
    if delivery.delivery_id == "fails" and not kwargs["run"].tries > 1:
        Group.objects.create(name="undone")
        raise ValueError
    seen.append([connections[alias].in_atomic_block for alias in ("default", "hooks")])
    Group.objects.create(name=delivery.delivery_id)

signals.ticket_created.connect(writes, dispatch_uid="writes", weak=False)
signals.ticket_updated.connect(lambda **kwargs: None, dispatch_uid="does nothing", weak=False)
sender = Sender(Webhook.objects.create(name="shop", secret=SECRET))
answers = [sender.post(envelope(delivery_id=name)).status_code for name in ("a", "a", "fails")]
Run.objects.filter(status="failed").update(next_try_at="2026-01-01T00:00:00Z")
call_command("nateq_worker", "--once", verbosity=0)
call_command("check", databases=["default", "hooks"])
delivered = [deliver("ticket.updated", through_http=through_http) for through_http in (False, True)]
print(json.dumps({
    "delivered by testing": [[one.status, [run.status for run in one.runs.all()]] for one in delivered],
    "answers": answers,
    "in a transaction (default, hooks)": seen,
    "statuses": sorted(
        Delivery.objects.filter(event="ticket.created").values_list("delivery_id", "status", "attempts_seen")
    ),
    "written": sorted(Group.objects.values_list("name", flat=True)),
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = f"{tmp_path_factory.mktemp('site')}{os.sep}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_SETTINGS")}
    done = subprocess.run(
        [sys.executable, "-c", SITE, folder], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(folder, "hooks").exists()
    return json.loads(done.stdout.splitlines()[-1])


def test_every_request_is_answered_as_with_one_database(told: Any) -> None:
    assert told["answers"] == [200, 200, 200]
    assert told["statuses"] == [["a", "processed", 2], ["fails", "processed", 1]]


def test_only_the_runs_own_transaction_is_open_around_a_receiver(told: Any) -> None:
    assert told["in a transaction (default, hooks)"] == [[False, True], [False, True]]


def test_a_receivers_rows_commit_with_its_run(told: Any) -> None:
    assert told["written"] == ["a", "fails"]


def test_a_site_tests_its_receivers_with_the_deliveries_elsewhere(told: Any) -> None:
    assert told["delivered by testing"] == [["processed", ["succeeded"]]] * 2
