"""Many webhooks: no request reads them all; a thread does, while each request reads the one that it is about."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks.inbox import configuration
from nateq_webhooks.inbox.configuration import RELOAD_SECONDS, TenantCache
from nateq_webhooks.models import Webhook
from tests.conftest import wait_until
from tests.waiting import Clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(configuration, "time", made)
    monkeypatch.setattr(configuration, "LARGE", 3)
    return made


@pytest.fixture
def webhooks() -> list[Webhook]:
    return [Webhook.objects.create(name=f"branch {number}") for number in range(6)]


@pytest.fixture
def warm(clock: Clock, webhooks: list[Webhook]) -> Iterator[TenantCache]:
    """A copy of all of them."""
    made = TenantCache()
    made.get(webhooks[0].pk)
    yield made
    made._reader.join(60)


def names(where: TenantCache) -> set[str]:
    return {each.name for each in where.known()}


def asked(where: TenantCache, pk: Any) -> tuple[str | None, list[str]]:
    """What a request learns of a webhook, and the statements that it costs."""
    with CaptureQueriesContext(connection) as captured:
        found = where.get(pk)
    return found.name if found else None, [entry["sql"] for entry in captured.captured_queries]


def test_after_a_change_the_request_reads_one_webhook_and_the_thread_all(
    warm: TenantCache, webhooks: list[Webhook]
) -> None:
    Webhook.objects.filter(pk=webhooks[1].pk).update(name="renamed")
    Webhook.objects.filter(pk=webhooks[2].pk).delete()
    warm.invalidate()

    name, statements = asked(warm, webhooks[1].pk)

    assert name == "renamed"
    assert len(statements) == 1
    assert re.search(r"WHERE .nateq_webhooks_webhook.\..id. = ", statements[0])
    assert asked(warm, webhooks[2].pk)[0] is None
    wait_until(lambda: names(warm) == {"branch 0", "renamed", "branch 3", "branch 4", "branch 5"})
    assert asked(warm, webhooks[1].pk) == ("renamed", [])


def test_the_thread_reloads_all_and_the_request_reads_the_changes(
    warm: TenantCache, webhooks: list[Webhook], clock: Clock
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM nateq_webhooks_webhook WHERE name = 'branch 5'")
    clock.now += RELOAD_SECONDS

    _name, statements = asked(warm, webhooks[0].pk)

    assert len(statements) == 1
    assert "modified_at" in statements[0].split("WHERE")[1]
    wait_until(lambda: "branch 5" not in names(warm))


def test_few_are_read_at_once_without_a_thread(warm: TenantCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "LARGE", 100)
    warm.invalidate()

    assert warm.get(Webhook.objects.latest("name").pk) is not None
    assert not warm._reader.is_alive
