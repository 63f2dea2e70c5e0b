"""A site whose router reads from a replica: what follows our own writes is read where they were made.

The replica is either the same file by another connection, which sees nothing that is not committed, or one that never
learns of anything: a replica that lags behind.
"""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.server import ROOT

SITE = """
import json, sys
from django.conf import settings
import tests.settings as base
from tests.settings import SQLITE_OPTIONS

folder, kind = sys.argv[1:]

class Router:
    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "nateq_webhooks" else None

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True

given = {name: value for name, value in vars(base).items() if name.isupper()}
names = {"default": folder + "default", "replica": folder + ("default" if kind == "other" else "replica")}
databases = {
    alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": SQLITE_OPTIONS}
    for alias, name in names.items()
}
settings.configure(**given | {"DATABASES": databases, "DATABASE_ROUTERS": [Router()],
                              "NATEQ_WEBHOOKS": {"DISPATCH": "worker"}})
import django
django.setup()
import io
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from tests.conftest import SECRET, Sender, envelope

for alias in databases:
    call_command("migrate", database=alias, verbosity=0)
signals.ticket_created.connect(lambda **kwargs: None, dispatch_uid="shop.one", weak=False)
webhook = Webhook.objects.create(name="shop", secret=SECRET)
sender = Sender(webhook)
for number in range(5):
    assert sender.post(envelope(delivery_id=f"dlv_{number}")).status_code == 200
call_command("nateq_worker", "--once", verbosity=0)

def said(*command):
    out = io.StringIO()
    try:
        call_command(*command, stdout=out)
    except SystemExit:
        pass
    return out.getvalue()

def rows(model):
    return model.objects.using("default")

def bulk_replay():
    User.objects.create_superuser("boss", password="boss")
    client = Client()
    client.login(username="boss", password="boss")
    keys = ",".join(str(pk) for pk in rows(Delivery).values_list("pk", flat=True))
    answer = client.post("/admin/nateq_webhooks/delivery/replay-many/", {"deliveries": keys, "which": "all"})
    page = client.get(answer["Location"])
    history = LogEntry.objects.filter(content_type__model="delivery").values_list("object_id", flat=True)
    return {"page": page.status_code, "history": sorted(history) == sorted(keys.split(",")), "runs": rows(Run).count()}

def commands():
    first = rows(Delivery).order_by("pk").first()
    made = dispatch.replay(Delivery.objects.using("default").filter(pk=first.pk))
    told = {"replayed": made.runs}
    told["replay"] = said("nateq_replay", "--webhook", "shop", "--delivery", "dlv_1", "--event", "ticket.created")
    told["pause"] = said("nateq_pause", "--all")
    told["paused"] = [str(hold) for hold in api.paused()]
    told["status"] = json.loads(said("nateq_status", "--json"))
    told["resume"] = said("nateq_resume", "--all")
    webhook.pause = dispatch.pause(webhook="shop")
    told["orphans"] = said("nateq_orphans")
    return told

print(json.dumps(bulk_replay() if kind == "other" else commands()))
"""


def told(folder: Any, kind: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_SETTINGS")}
    done = subprocess.run(
        [sys.executable, "-c", SITE, f"{folder}{os.sep}", kind],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_history_of_a_bulk_replay_names_every_delivery(tmp_path: Any) -> None:
    assert told(tmp_path, "other") == {"page": 200, "history": True, "runs": 10}


@pytest.fixture(scope="module")
def lagging(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the commands say while the replica knows of nothing."""
    return told(tmp_path_factory.mktemp("site"), "lagging")


def test_a_replay_is_made_of_what_is_stored(lagging: Any) -> None:
    assert lagging["replayed"] == 1
    assert " of 1 delivery: 1 run made." in lagging["replay"]


def test_a_pause_is_seen_by_those_who_made_and_ended_it(lagging: Any) -> None:
    assert lagging["paused"] == ["everything"]
    assert lagging["resume"] == "Resumed: everything.\n"


def test_the_status_is_that_of_the_queue(lagging: Any) -> None:
    status = lagging["status"]
    assert [hold["scope"] for hold in status["paused"]] == [""]
    assert status["receivers"]["shop.one"]["held"] == 2
    assert [replay["left"] for replay in status["replays"]] == [1, 1]
