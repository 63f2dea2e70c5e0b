"""A secret that was made, entered, rotated and used is in no column, dump, log, page or answer."""

import io
import json
import pickle
import uuid
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.remote.local_webhooks import secret_id
from tests.api.conftest import Program
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.pages

pytest.importorskip("cryptography")


def every_column() -> str:
    """Return the rows of every table of the database, as it has them."""
    texts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            texts += [repr([bytes(cell) if isinstance(cell, memoryview) else cell for cell in row]) for row in cursor]
    return "\n".join(texts)


def dump() -> str:
    out = io.StringIO()
    call_command("dumpdata", stdout=out)
    return out.getvalue()


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def known(program: Program, admin_client: Client, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every secret that there ever was, after each way to get one."""
    caplog.set_level("DEBUG")
    options: Any = {"method": "POST", "content_type": "application/json"}
    made = program.ask(
        "/webhooks", status=201, data=json.dumps({"name": "shop"}), headers={"Idempotency-Key": "once"}, **options
    ).json()["data"]
    shop = Webhook.objects.get(name="shop")
    headers = {"Idempotency-Key": "twice"}
    rotated = program.ask(f"/webhooks/{shop.pk}/rotate-secret", headers=headers, **options).json()["data"]
    known = [made["secret"], rotated["secret"]]

    def address(page: str) -> str:
        return reverse(f"admin:nateq_webhooks_webhook_{page}", args=[shop.pk])

    shop.refresh_from_db()
    admin_client.post(address("secret"), {"confirmed": "yes", "current": secret_id(shop)})
    known.append(Webhook.objects.get(name="shop").secret)
    entered, another = f"whsec_{uuid.uuid4().hex}", f"whsec_{uuid.uuid4().hex}"
    form = {
        "name": "shop",
        "is_active": "on",
        "new_secret": entered,
        "older_secrets-TOTAL_FORMS": "1",
        "older_secrets-INITIAL_FORMS": "0",
        "older_secrets-0-webhook": str(shop.pk),
        "older_secrets-0-new_secret": another,
    }
    assert admin_client.post(address("change"), form).status_code == 302
    known += [entered, another]
    assert Secret.objects.count() == 4
    for number, secret in enumerate(known):
        assert Sender(shop).post(envelope(delivery_id=f"dlv_{number}"), secret=secret).status_code == 200
    assert Sender(shop).post(envelope(), secret=f"whsec_{uuid.uuid4().hex}").status_code == 401
    return [each.removeprefix("whsec_") for each in known]


def test_no_secret_is_anywhere(
    known: list[str], program: Program, admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Webhook.objects.get(name="shop")
    names = ("change", "secret", "history", "test", "pause", "sent")
    pages = [reverse(f"admin:nateq_webhooks_webhook_{name}", args=[shop.pk]) for name in names]
    lists = [reverse(f"admin:nateq_webhooks_{model}_changelist") for model in ("webhook", "delivery", "rejection")]
    places = {
        "columns": every_column(),
        "dump": dump(),
        "log": caplog.text + repr([record.__dict__ for record in caplog.records]),
        "pages": "".join(admin_client.get(page).content.decode() for page in (*pages, *lists)),
        "answers": "".join(program.ask(path).text for path in ("/webhooks", f"/webhooks/{shop.pk}", "/deliveries")),
        "commands": run("nateq_secrets") + run("nateq_secrets", "rotate-key") + run("check", "--database", "default"),
        "pickles": repr([pickle.dumps(row) for row in (*Webhook.objects.all(), *Secret.objects.all())]),
    }
    found = [(place, secret) for place, text in places.items() for secret in known if secret in text]

    assert found == []
    assert "fernet:" in places["columns"]
    assert "fernet:" in places["dump"]
    assert {row.secret.removeprefix("whsec_") for row in (*Webhook.objects.all(), *Secret.objects.all())} == set(known)
