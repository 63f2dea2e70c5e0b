"""A schema per tenant: what a process remembers is kept apart, and what works later works in the right tenant."""

import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone

from nateq_webhooks import dispatch, signals, tenants
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.leases import Lease, LeaseRenewer
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, OtherContent, Rejection, Run, Webhook
from nateq_webhooks.runners import tasks as tasks_runner
from nateq_webhooks.runners.worker import Worker, drain
from nateq_webhooks.testing import deliver
from tests.conftest import Sender, envelope, wait_until
from tests.dispatch.scene import Connect
from tests.encryption import columns
from tests.tenancy import ALPHA, BETA, schemas

pytestmark = pytest.mark.django_db(transaction=True)

ID = uuid.UUID("00000000-0000-4000-8000-000000000001")
"""Both tenants have a webhook of this id, as when one schema is a copy of the other."""


def secret_of(tenant: str) -> str:
    return f"whsec_the_secret_of_{tenant}"


@contextmanager
def tenant_of(name: str) -> Iterator[Sender]:
    """Be in a tenant, with a sender that signs with its secret."""
    with tenants.activate(name):
        yield Sender(Webhook.objects.get(pk=ID))


def post(sender: Sender, tenant: str, delivery_id: str = "dlv_1", **over: Any) -> Any:
    return sender.post(envelope(delivery_id=delivery_id, **over), secret=secret_of(tenant))


@pytest.fixture
def two(settings: Any) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has schemas that a connection looks through.")
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "TENANTS": "tests.tenancy.Schemas", "DISPATCH": "worker"}
    with schemas():
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                Webhook.objects.create(pk=ID, name=name, secret=secret_of(name))
        yield


@pytest.mark.usefixtures("two")
class TestTwoTenants:
    def test_each_has_its_own_webhooks_and_a_full_read_of_one_takes_none_from_the_other(self) -> None:
        with tenants.activate(BETA):
            only_here = Webhook.objects.create(name="only here", secret=secret_of("only"))
        for _ in range(2):
            for name in (ALPHA, BETA):
                with tenant_of(name) as sender:
                    assert post(sender, name, uuid.uuid4().hex).status_code == 200
                    assert {one.name for one in cache.known()} == set(Webhook.objects.values_list("name", flat=True))
                    assert (cache.get(only_here.pk) is not None) is (name == BETA)
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                assert Delivery.objects.count() == 2

    def test_a_site_tests_its_receivers_in_a_tenant(self, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None)
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                assert deliver("ticket.created").webhook.name == name
                assert Delivery.objects.get().status == "processed"

    def test_one_tenants_secret_opens_nothing_at_the_other(self) -> None:
        with tenant_of(ALPHA) as sender:
            assert post(sender, ALPHA).status_code == 200
            assert post(sender, BETA).status_code == 401
        with tenant_of(BETA) as sender:
            assert post(sender, ALPHA).status_code == 401

    def test_many_requests_of_both_at_once_land_where_they_belong(self) -> None:
        answers: list[int] = []

        def send(name: str, start: int) -> None:
            try:
                with tenant_of(name) as sender:
                    answers.extend(
                        post(sender, name, f"{name} {number}").status_code for number in range(start, start + 10)
                    )
            finally:
                connections.close_all()

        threads = [threading.Thread(target=send, args=((ALPHA, BETA)[i % 2], i * 10)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert answers == [200] * 60
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                ids = Delivery.objects.values_list("delivery_id", flat=True)
                assert len(ids) == 30
                assert all(one.startswith(name) for one in ids)

    def test_a_pause_of_one_holds_nothing_back_at_the_other(self, connect: Connect) -> None:
        ran: list[str] = []
        connect(signals.ticket_created, lambda delivery, **kwargs: ran.append(delivery.webhook.name))
        with tenants.activate(ALPHA):
            dispatch.pause(reason="moving")
            assert hold_cache.get("default").is_paused
        with tenants.activate(BETA):
            assert not hold_cache.get("default").is_paused
        for name in (ALPHA, BETA):
            with tenant_of(name) as sender:
                post(sender, name)

        assert drain() == 1
        assert ran == [BETA]

    def test_inline_dispatch_runs_in_the_requests_tenant(self, settings: Any, connect: Connect) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "DISPATCH": "inline"}
        connect(signals.ticket_created, lambda delivery, **kwargs: Webhook.objects.create(name=f"by {delivery.pk}"))
        for name in (ALPHA, BETA):
            with tenant_of(name) as sender:
                post(sender, name)
                assert Run.objects.get().status == "succeeded"
                assert Webhook.objects.filter(name__startswith="by ").count() == 1

    def test_a_worker_serves_both(self, connect: Connect) -> None:
        seen: list[tuple[str, str]] = []

        def receive(*, delivery: Delivery, **kwargs: Any) -> None:
            seen.append((delivery.webhook.name, delivery.delivery_id))
            Webhook.objects.create(name=f"by {delivery.delivery_id}")

        connect(signals.ticket_created, receive)
        worker = Worker(concurrency=2)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            for number in range(6):
                name = (ALPHA, BETA)[number % 2]
                with tenant_of(name) as sender:
                    post(sender, name, f"{name} {number}")
            wait_until(lambda: len(seen) == 6, seconds=120)
        finally:
            worker.stop()
            thread.join(60)

        assert all(delivery_id.startswith(name) for name, delivery_id in seen)
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}
                assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
                assert Webhook.objects.filter(name__startswith=f"by {name}").count() == 3

    def test_secrets_are_converted_in_both(self) -> None:
        pytest.importorskip("cryptography")
        out = io.StringIO()
        call_command("nateq_secrets", "rotate-key", "--decrypt", "--no-input", "--json", stdout=out)
        one = {"dry_run": False, "converted": 1, "unchanged": 0, "unreadable": 0}
        assert json.loads(out.getvalue()) == {ALPHA: one, BETA: one}
        for name in (ALPHA, BETA):
            with tenants.activate(name):
                assert columns(Webhook) == [secret_of(name)]

    def test_a_tenant_whose_tables_are_gone_does_not_stop_the_others(self, connect: Connect) -> None:
        ran: list[int] = []
        connect(signals.ticket_created, lambda delivery, **kwargs: ran.append(delivery.pk))
        with tenant_of(BETA) as sender:
            post(sender, BETA)
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {ALPHA}.nateq_webhooks_run RENAME TO gone")
            cursor.execute("ALTER TABLE public.nateq_webhooks_run RENAME TO gone")  # the path ends there
        worker = Worker()
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(lambda: len(ran) == 1, seconds=120)
        finally:
            worker.stop()
            thread.join(60)
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE public.gone RENAME TO nateq_webhooks_run")

    def test_refused_requests_are_recorded_where_they_came(self) -> None:
        for name in (ALPHA, BETA, BETA):
            with tenant_of(name) as sender:
                post(sender, "nobody")

        def recorded() -> list[int]:
            counts = []
            for name in (ALPHA, BETA):
                with tenants.activate(name):
                    counts.append(Rejection.objects.count())
            return counts

        wait_until(lambda: recorded() == [1, 2])
        recorder.finish()
        assert not Rejection.objects.exists()  # of the public schema

    def test_a_lease_is_renewed_where_it_is_held(self, settings: Any) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "RUN_LEASE": timedelta(seconds=1)}
        with tenant_of(BETA) as sender:
            post(sender, BETA)
            token, before = uuid.uuid4(), timezone.now() - timedelta(seconds=5)
            run = Run.objects.create(
                delivery=Delivery.objects.get(), receiver="x", status="running", lease=token, next_try_at=before
            )
            lease = Lease(alias="default", token=token, runs=[run], started=run, taken=1, tenant=BETA)
            with LeaseRenewer().renewing(lease):
                wait_until(lambda: Run.objects.filter(pk=run.pk, next_try_at__gt=before).exists(), seconds=120)

    def test_a_task_names_its_tenant(self, connect: Connect) -> None:
        ran: list[str] = []
        connect(signals.ticket_created, lambda delivery, **kwargs: ran.append(delivery.webhook.name))
        with tenant_of(BETA) as sender:
            post(sender, BETA)
            names = tenants.named("default", Delivery.objects.get().pk)

        assert names[1:] == (BETA,)
        task: Any = tasks_runner.run_delivery
        assert task.func(*names) == 1
        assert ran == [BETA]
        assert tenants.current("default") == ""

    def test_the_keys_for_other_services_differ(self, connect: Connect) -> None:
        keys: list[str] = []
        connect(signals.ticket_created, lambda run, **kwargs: keys.append(run.idempotency_key), "test.one")
        for name in (ALPHA, BETA):
            with tenant_of(name) as sender:
                post(sender, name)
        drain()

        assert len(set(keys)) == 2

    def test_another_content_is_kept_where_it_came(self) -> None:
        for name in (ALPHA, BETA):
            with tenant_of(name) as sender:
                post(sender, name, data=name)
                assert not OtherContent.objects.exists()
        with tenant_of(BETA) as sender:
            post(sender, BETA, data="other")
            assert OtherContent.objects.count() == 1
        with tenants.activate(ALPHA):
            assert not OtherContent.objects.exists()


class TestWithoutASetting:
    def test_there_is_one_tenant_without_a_name(self, webhook: Webhook) -> None:
        assert tenants.every() == [""]
        assert tenants.current("default") == ""
        assert tenants.named("default", 7) == (7,)
        with tenants.activate(""):
            assert Group.objects.count() == 0

    def test_a_connection_that_knows_its_schema_keeps_the_tenants_apart(
        self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cache.get(webhook.pk) is not None
        monkeypatch.setattr(connection, "schema_name", "other", raising=False)
        Webhook.objects.all().delete()

        assert cache.get(webhook.pk) is None
        assert tenants.every() == ["other"]
        assert tenants.named("default", 7) == (7, "other")

    def test_a_key_for_other_services_stays_as_it_was(self) -> None:
        run = Run(delivery_id=7, receiver="shop.receive", round=0)
        assert run.idempotency_key == "nateq-7-0-c5d2e05c461d93db"


class Half:
    def current(self, alias: str) -> str:
        return ""


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("tests.nowhere.Tenants", "not importable"), ("tests.test_tenants.Half", "without all()")],
)
def test_a_class_that_can_not_serve_is_an_error(settings: Any, path: str, complaint: str) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "TENANTS": path}

    found = [message for message in run_checks() if message.id == "nateq_webhooks.E004"]

    assert len(found) == 1
    assert complaint in found[0].msg


class TestTheCheck:
    def test_a_schema_per_tenant_without_the_setting_is_a_warning(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "nateq_webhooks.W046" not in [message.id for message in run_checks()]
        monkeypatch.setattr(connection, "set_schema", lambda name: None, raising=False)

        assert "nateq_webhooks.W046" in [message.id for message in run_checks()]
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "TENANTS": "tests.tenancy.Schemas"}
        assert "nateq_webhooks.W046" not in [message.id for message in run_checks()]
