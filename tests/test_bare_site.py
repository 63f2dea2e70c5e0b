"""Sites of other shapes: without the admin, with it before or after our app, with a site or users of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT

AUTH = ["django.contrib.auth", "django.contrib.contenttypes"]
REST = [*AUTH, "django.contrib.sessions", "django.contrib.messages"]

SITES = {
    "nothing else": ([], []),
    "users": (AUTH, []),
    "users afterwards": ([], AUTH),
    "the admin before": (["django.contrib.admin", *REST], []),
    "the admin afterwards": ([], ["django.contrib.admin", *REST]),
    "an admin site of its own": (["tests.bare_site.admin_app.ShopAdminConfig", *REST], []),
    "users of its own": (["django.contrib.admin", "tests.bare_site.people", *REST], []),
}

COMMANDS = """
check
check --deploy --database default
migrate --verbosity 0
migrate --run-syncdb --verbosity 0
makemigrations --check --dry-run nateq_webhooks
nateq_status --json
nateq_pause --all --reason closed
nateq_resume --all
nateq_worker --once
nateq_orphans
"""

SCRIPT = """
import io, json, sys
import django
django.setup()
from django.apps import apps
from django.core.management import call_command
from django.test import Client

for line in COMMANDS.strip().splitlines():
    name, *arguments = line.split()
    try:
        call_command(name, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    except SystemExit as error:
        assert not error.code, line

from django.core.management import CommandError
for name, *arguments in [("nateq_webhook", "list"), ("nateq_events",)]:
    try:
        call_command(name, *arguments)
    except CommandError as error:
        assert "API key" in str(error), error

from nateq_webhooks.models import Delivery, Rejection, Run, Webhook
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.protocol.signatures import sign

webhook = Webhook.objects.create(name="shop", secret="whsec_0123456789abcdef0123456789abcdef")
body = json.dumps({
    "event": "ticket.created", "timestamp": "2026-06-30T12:00:00Z", "organization_id": "org_1", "data": {"id": "t"},
    "metadata": {"delivery_id": "dlv_1", "attempt": 1, "version": "1.0"},
}).encode()

def post(signature):
    answer = Client().post(webhook.get_absolute_url(), body, content_type="application/json",
                           headers={"X-Nateq-Signature": signature})
    return answer.status_code

assert post(sign(body, webhook.secret)) == 200
assert post("0" * 64) == 401
recorder.finish()
assert Rejection.objects.count() == 1
assert Run.objects.get().status == "succeeded", Run.objects.get().traceback
assert Webhook.objects.filter(name="made by a receiver").exists()
call_command("nateq_replay", "--delivery", "dlv_1", "--no-input", stdout=io.StringIO())
call_command("nateq_worker", "--once", stdout=io.StringIO())

if apps.is_installed("django.contrib.admin"):
    from django.contrib.auth import get_user_model
    user = get_user_model()(is_staff=True, is_superuser=True, **{get_user_model().USERNAME_FIELD: "a@shop.example"})
    user.save()
    client = Client()
    client.force_login(user)
    for path in ("", "delivery/", f"delivery/{Delivery.objects.get().pk}/change/", "webhook/", "run/", "rejection/"):
        answer = client.get(f"/admin/nateq_webhooks/{path}")
        assert answer.status_code == 200, (path, answer.status_code)
print("all is well")
"""


def run(tmp_path: Path, site: str, *arguments: str) -> str:
    before, after = SITES[site]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.bare_site.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path}/site.sqlite3",
        "BEFORE": ",".join(before),
        "AFTER": ",".join(after),
    }
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("site", SITES)
def test_every_command_and_receiving_work(tmp_path: Path, site: str) -> None:
    assert "all is well" in run(tmp_path, site, "-c", f'COMMANDS = """{COMMANDS}"""\n{SCRIPT}')


def test_manage_py_works_with_nothing_but_our_app_and_a_receivers(tmp_path: Path) -> None:
    assert "no issues" in run(tmp_path, "nothing else", "-m", "django", "check")
