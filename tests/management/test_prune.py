"""`manage.py nateq_prune`: what it says and prints, and that its SQL can be run."""

import json
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.utils import timezone

from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.retention import LeftReason, removal
from tests.builders import ago, build_delivery, build_run, insert, store_deliveries, store_run
from tests.commands import output
from tests.dispatch.scene import Configure

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "KNOWN_SECONDS", 0.0)


def prune(*arguments: str, **options: Any) -> str:
    return output("nateq_prune", *arguments, **options)


@pytest.mark.parametrize("retention", [{}, {"delivery": {"dead": None}, "payload": None}])
def test_without_a_period_it_says_that_nothing_is_removed(
    webhook: Webhook, configure: Configure, retention: dict[str, Any]
) -> None:
    configure(RETENTION=retention)
    store_deliveries(webhook, received_at=ago(days=4_000))

    assert prune().startswith('NATEQ_WEBHOOKS["RETENTION"] sets no period, so no content and no delivery is removed.\n')

    assert Delivery.objects.count() == 1


def test_it_says_what_was_removed_and_what_was_left(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"payload": 30, "delivery": 90})
    store_deliveries(webhook, 2, received_at=ago(days=100))
    store_deliveries(webhook, 1, received_at=ago(days=40))
    busy = store_deliveries(webhook, 1, received_at=ago(days=100), status="received")
    store_run(busy[0], status="waiting")

    would = prune("--dry-run")
    did = prune()

    assert would == (
        "The content of 1 delivery would be removed.\n2 deliveries would be removed.\n"
        "0 identities of removed deliveries are no longer needed.\nLeft, because a receiver has not finished: 1\n"
    )
    assert did == (
        "The content of 1 delivery was removed.\n2 deliveries were removed.\n"
        "0 identities of removed deliveries are no longer needed.\nLeft, because a receiver has not finished: 1\n"
    )


def test_json_has_every_number_and_nothing_else(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 90})
    store_deliveries(webhook, 3, received_at=ago(days=100))

    written = prune("--json")

    assert json.loads(written) == {
        "dry_run": False,
        "payloads_removed": 0,
        "deliveries_removed": 3,
        "identities_expired": 0,
        "audit_entries_removed": 0,
        "left": dict.fromkeys((reason.value for reason in LeftReason), 0),
        "complete": True,
    }
    assert json.loads(prune("--json", "--dry-run"))["dry_run"] is True


def test_progress_is_shown(webhook: Webhook, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(RETENTION={"delivery": 90})
    monkeypatch.setattr("nateq_webhooks.management.commands.nateq_prune.PROGRESS_SECONDS", 0)
    insert(build_delivery(webhook, ago(days=100)) for _ in range(10))

    assert "Looked through 100 %, removed 10\n" in prune()
    assert "Looked through" not in prune(verbosity=0)


def test_its_sql_can_be_run(webhook: Webhook) -> None:
    build_run(store_deliveries(webhook)[0]).save()

    statements = [line for line in prune("--sql").splitlines() if not line.startswith("--")]

    assert statements
    assert not any(statement.startswith("SHOW ENGINE") for statement in statements)  # quotes statements with bodies
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.replace("%", "%%"))
    assert timezone.now() > Delivery.objects.get().received_at


def test_a_database_error_says_what_to_do(webhook: Webhook, configure: Configure) -> None:
    configure(RETENTION={"delivery": 90})
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE nateq_webhooks_retentionprogress RENAME TO hidden")
    try:
        with pytest.raises(CommandError, match=r"The database failed \(\w+Error\)\. Run the command again"):
            prune()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE hidden RENAME TO nateq_webhooks_retentionprogress")
