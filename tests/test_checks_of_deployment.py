"""The system checks of a deployment, and that those which query survive a database that is empty or does not answer."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import signals
from nateq_webhooks.checks import deployment
from nateq_webhooks.models import Delivery, EventType, Webhook
from tests.builders import ago, build_run, store_deliveries
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

PROJECT = Path(__file__).parent.parent


def found(check: str, *, deploy: bool = True) -> list[CheckMessage]:
    messages = run_checks(tags=["nateq_webhooks"], databases=["default"], include_deployment_checks=deploy)
    return [message for message in messages if message.id == f"nateq_webhooks.{check}"]


def configured(**settings: Any) -> Any:
    return override_settings(NATEQ_WEBHOOKS=settings)


def test_debug() -> None:
    assert found("W070") == []
    with override_settings(DEBUG=True):
        (message,) = found("W070")
        assert found("W070", deploy=False) == []
    assert "DEBUG = False" in str(message.hint)


@pytest.mark.parametrize("retention", [{}, {"delivery": {"dead": None}}, {"payload": None, "delivery": None}])
def test_no_retention_is_a_suggestion(retention: dict[str, Any]) -> None:
    with configured(RETENTION=retention):
        (message,) = found("I003")
    assert "RETENTION" in str(message.hint)
    with configured(RETENTION={"payload": 90}):
        assert found("I003") == []


@pytest.mark.parametrize(
    "settings", [{"API_KEY": "tg_test_0123456789"}, {"API_KEYS": {"org_2": "tg_test_0123456789"}}, {}]
)
def test_a_test_key_is_named_and_not_shown(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if not settings:
        monkeypatch.setenv("NATEQ_API_KEY", "tg_test_0123456789")
    with configured(**settings):
        (message,) = found("W072")
    assert "0123456789" not in str(message)
    with configured(API_KEY="tg_live_0123456789"):
        assert found("W072") == []


class TestProxies:
    def test_a_proxy_that_is_not_trusted(self) -> None:
        with configured(), override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
            (message,) = found("W073")
        assert "TRUSTED_PROXIES" in str(message.hint)
        assert found("W073") == found("W074") == []

    def test_trust_without_a_proxy(self) -> None:
        with configured(TRUSTED_PROXIES=1):
            (message,) = found("W074")
        assert "X-Forwarded-For" in message.msg
        with configured(TRUSTED_PROXIES=1), override_settings(USE_X_FORWARDED_HOST=True):
            assert found("W073") == found("W074") == []


class TestSlowReceivers:
    def store(self, webhook: Webhook, fast: int, slow: int) -> None:
        for seconds, number in ((0.2, fast), (9, slow)):
            for delivery in store_deliveries(webhook, number):
                end = delivery.received_at + timedelta(seconds=seconds)
                build_run(delivery, started_at=delivery.received_at, finished_at=end).save()

    def test_one_in_ten_is_too_many(self, webhook: Webhook) -> None:
        self.store(webhook, fast=90, slow=10)

        with configured():
            (message,) = found("W075")
            assert "9 seconds" in message.msg
        with configured(DISPATCH="worker"):
            assert found("W075") == []

    def test_few_slow_ones_or_few_runs_are_not(self, webhook: Webhook) -> None:
        with configured():
            self.store(webhook, fast=0, slow=19)
            assert found("W075") == []
            self.store(webhook, fast=200, slow=5)
            assert found("W075") == []


class TestSubscriptions:
    def test_a_receiver_of_an_event_that_nobody_subscribes_to(self, connect: Connect) -> None:
        connect(signals.lead_created, lambda **kwargs: None, "shop.lead")
        assert found("W076") == []  # without any webhook
        shop = Webhook.objects.create(name="shop", events=["ticket.created"])

        (message,) = found("W076")

        assert "shop.lead is connected to 'lead.created'" in message.msg
        Webhook.objects.create(name="leads", events=[])
        assert found("W076") == []
        Webhook.objects.filter(name="leads").update(is_active=False)
        assert len(found("W076")) == 1
        shop.events = ["ticket.created", "lead.created"]
        shop.save()
        assert found("W076") == []

    def test_a_renamed_event(self) -> None:
        Webhook.objects.create(name="shop", events=["ticket.creatd", "something.else.entirely"])

        (message,) = found("W077")

        assert "'ticket.creatd'" in message.msg
        assert "'ticket.created'" in str(message.hint)
        EventType.objects.create(name="ticket.creatd")
        assert found("W077") == []


class TestGrowth:
    @pytest.fixture
    def large(self, monkeypatch: pytest.MonkeyPatch, webhook: Webhook) -> None:
        monkeypatch.setattr(deployment, "estimated_rows", lambda rows: 2_000_000)

    def test_a_large_old_table_without_retention(self, large: None, webhook: Webhook) -> None:
        store_deliveries(webhook, received_at=ago(days=100))

        with configured():
            (message,) = found("W078", deploy=False)
        with configured(RETENTION={"delivery": {"dead": None}}):
            assert len(found("W078", deploy=False)) == 1
        assert "2,000,000" in message.msg
        assert "nateq_prune" in str(message.hint)
        with configured(RETENTION={"delivery": 365}):
            assert found("W078") == []

    def test_a_large_young_table(self, large: None, webhook: Webhook) -> None:
        store_deliveries(webhook, received_at=ago(days=80))

        assert found("W078") == []

    def test_a_small_old_table(self, webhook: Webhook) -> None:
        store_deliveries(webhook, received_at=ago(days=800))

        assert found("W078") == []

    def test_rows_are_not_counted(self, webhook: Webhook) -> None:
        store_deliveries(webhook, received_at=ago(days=800))
        with configured(), CaptureQueriesContext(connection) as queries:
            deployment.check_growth(databases=["default"])

        assert not any("COUNT" in query["sql"].upper() for query in queries)
        assert len(queries) <= 2

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="the others keep statistics")
    def test_sqlite_is_estimated_by_its_newest_key(self, webhook: Webhook) -> None:
        store_deliveries(webhook, received_at=ago(days=100))
        Delivery.objects.update(id=5_000_000)

        with configured():
            assert "5,000,000" in found("W078")[0].msg


NO_DATABASE = {
    "PostgreSQL": "postgres://nobody@127.0.0.1:1/nothing",
    "MariaDB": "mysql://nobody@127.0.0.1:1/nothing",
}

RUN = """
import django
django.setup()
from django.core.checks import registry
found = []
for check in registry.registry.get_checks(include_deployment_checks=True):
    if check.__module__.startswith("nateq_webhooks."):
        found += check(app_configs=None, databases=["default"])
print(sorted({message.id for message in found if message.level > 20}))
"""


@pytest.mark.parametrize("database", ["empty", *NO_DATABASE])
def test_every_check_survives_a_database_without_tables_or_without_a_server(database: str, tmp_path: Path) -> None:
    """As Django 6.1's `check` calls them, which passes every database."""
    url = NO_DATABASE.get(database) or f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    if database != "empty":
        pytest.importorskip("psycopg" if database == "PostgreSQL" else "MySQLdb")
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": url,
        "PYTHONPATH": str(PROJECT),
    }
    began = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30
