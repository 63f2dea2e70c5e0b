"""What was removed stays removed: the webhook is deleted and created again under its id, or saved from an old copy."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import dispatch, retention
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from tests.conftest import SECRET, Sender, envelope
from tests.retention.conftest import Configure
from tests.retention.test_repeats import ALREADY, effects, make_old

__all__ = ["effects"]

pytestmark = pytest.mark.django_db(transaction=True)


def remove(sender: Sender, configure: Configure, *, erase: bool = False) -> None:
    configure(RETENTION={"delivery": 30})
    sender.post(envelope())
    make_old()
    if erase:
        dispatch.erase({"organization_id": "org_1"})
    else:
        retention.prune()
    assert Delivery.objects.count() == 0
    assert RemovedDelivery.objects.count() >= 1


def _columns(webhook: Webhook) -> dict[str, Any]:
    return {"pk": webhook.pk, "name": "again", "secret": SECRET}


def _loaddata(webhook: Webhook, tmp_path: Path) -> None:
    [row] = json.loads(serializers.serialize("json", [webhook]))
    row["fields"] |= {"secret": SECRET, "has_removed": False}
    fixture = tmp_path / "webhooks.json"
    fixture.write_text(json.dumps([row]))
    call_command("loaddata", str(fixture), verbosity=0)


AGAIN: dict[str, Callable[[Webhook, Path], object]] = {
    "save": lambda webhook, _path: Webhook(**_columns(webhook)).save(),
    "create": lambda webhook, _path: Webhook.objects.create(**_columns(webhook)),
    "get_or_create": lambda webhook, _path: Webhook.objects.get_or_create(pk=webhook.pk, defaults=_columns(webhook)),
    "bulk_create": lambda webhook, _path: Webhook.objects.bulk_create([Webhook(**_columns(webhook))]),
    "loaddata": _loaddata,
}


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize("way", AGAIN)
def test_a_repeat_to_a_webhook_that_was_created_again_runs_nothing(
    sender: Sender, configure: Configure, effects: Counter[str], tmp_path: Path, way: str, *, erase: bool
) -> None:
    remove(sender, configure, erase=erase)
    webhook = Webhook.objects.get()
    webhook.delete()

    AGAIN[way](Webhook(pk=sender.webhook.pk, name="again", secret=SECRET), tmp_path)

    assert Webhook.objects.get().has_removed
    response = sender.post(envelope(attempt=2))
    assert (response.status_code, response.content) == (200, ALREADY)
    assert (effects, Delivery.objects.count()) == ({"dlv_1": 1}, 0)


def test_a_webhook_that_is_saved_from_an_old_copy_keeps_it(
    sender: Sender, configure: Configure, effects: Counter[str], tmp_path: Path
) -> None:
    """A form that was opened before the first removal is sent after it."""
    old, older = Webhook.objects.get(), Webhook.objects.get()
    assert not old.has_removed
    remove(sender, configure)

    old.save()
    assert Webhook.objects.get().has_removed
    older.save(update_fields=["name", "has_removed"])
    assert Webhook.objects.get().has_removed
    _loaddata(old, tmp_path)
    assert Webhook.objects.get().has_removed
    assert isinstance(old.has_removed, bool)
    assert sender.post(envelope(attempt=2)).content == ALREADY
    assert effects == {"dlv_1": 1}


def test_it_is_kept_also_before_the_first_row_has_gone(webhook: Webhook) -> None:
    """A removal says that it begins some seconds before it does."""
    old = Webhook.objects.get()
    Webhook.objects.update(has_removed=True)

    old.save()

    assert Webhook.objects.get().has_removed
    old.refresh_from_db()
    assert old.has_removed


def test_records_of_removed_deliveries_that_are_loaded_count(
    sender: Sender, configure: Configure, tmp_path: Path
) -> None:
    remove(sender, configure)
    fixture = tmp_path / "removed.json"
    fixture.write_text(serializers.serialize("json", RemovedDelivery.objects.all()))
    RemovedDelivery.objects.all().delete()
    Webhook.objects.update(has_removed=False)

    call_command("loaddata", str(fixture), verbosity=0)

    assert Webhook.objects.get().has_removed
    assert sender.post(envelope(attempt=2)).content == ALREADY


def test_a_new_webhook_has_none_and_may_be_reset(webhook: Webhook) -> None:
    assert not Webhook.objects.get().has_removed
    Webhook.objects.update(has_removed=True)
    Webhook.objects.update(has_removed=False)
    assert not Webhook.objects.get().has_removed


def test_a_saved_webhook_costs_no_further_statement(webhook: Webhook) -> None:
    row = Webhook.objects.get()

    with CaptureQueriesContext(connection) as queries:
        row.save()

    assert [query["sql"] for query in queries if "removeddelivery" in query["sql"]] == []
