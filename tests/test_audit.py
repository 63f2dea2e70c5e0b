"""The audit log: entries are committed with their action, hold no secret, and are removed by their own retention."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from nateq_webhooks import audit
from nateq_webhooks.audit import Action, Source, acting, record
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.models import AuditEntry
from nateq_webhooks.protocol.secret_text import SecretText

pytestmark = pytest.mark.django_db(transaction=True)


class TestRecord:
    def test_an_entry_says_who_did_what_to_what(self) -> None:
        with acting(Source.ADMIN, "mona"):
            record(Action.REPLAYED, target="replay 7", details={"deliveries": 500, "receivers": ["shop.send"]})

        entry = AuditEntry.objects.get()
        assert (entry.action, entry.source, entry.actor, entry.target) == ("replayed", "admin", "mona", "replay 7")
        assert entry.details == {"deliveries": 500, "receivers": ["shop.send"]}

    def test_outside_of_any_way_in_it_was_code(self) -> None:
        record(Action.PAUSED, actor="deploy")

        assert AuditEntry.objects.filter(source=Source.CODE, actor="deploy").exists()

    def test_who_acts_inside_is_forgotten_afterwards(self) -> None:
        with acting(Source.COMMAND, "root"), acting(Source.API, "API key ci"):
            record(Action.PAUSED)
        record(Action.RESUMED)

        assert list(AuditEntry.objects.values_list("source", "actor")) == [("code", ""), ("api", "API key ci")]

    def test_an_action_that_is_rolled_back_leaves_no_entry(self) -> None:
        with transaction.atomic():
            record(Action.PAUSED)
            transaction.set_rollback(True)

        assert not AuditEntry.objects.exists()

    def test_an_entry_that_cannot_be_stored_prevents_the_action(self) -> None:
        def refuse(execute: Any, sql: str, *args: Any) -> Any:
            if "auditentry" in sql:
                raise DatabaseError("disk full")
            return execute(sql, *args)

        with connection.execute_wrapper(refuse), pytest.raises(DatabaseError, match="disk full"):
            record(Action.EXPORTED)

    @pytest.mark.parametrize("details", [{"secret": SecretText("whsec_x")}, {"names": [SecretText("whsec_x")]}])
    def test_a_secret_is_refused(self, details: dict[str, Any]) -> None:
        with pytest.raises(TypeError, match="secret"):
            record(Action.SECRET_CHANGED, details=details)

    def test_odd_names_are_stored(self) -> None:
        record(Action.PAUSED, actor="a\x00" * 200, target="دفع 🚀 \ud800" * 99, details={"receiver": "\x00\udfff 🚀"})

        entry = AuditEntry.objects.get()
        assert len(entry.actor) == 150
        assert "\x00" not in entry.actor + entry.details["receiver"]

    def test_a_long_list_of_names_is_cut(self) -> None:
        record(Action.REPLAYED, details={"receivers": [f"shop.receiver_{number}" for number in range(60)]})

        names = AuditEntry.objects.get().details["receivers"]
        assert (len(names), names[-1]) == (51, "+10")


def store(count: int, **age: float) -> None:
    """Store entries of that age."""
    at = timezone.now() - timedelta(**age)
    AuditEntry.objects.bulk_create(AuditEntry(action=Action.PAUSED, source=Source.CODE, at=at) for _ in range(count))


class TestPrune:
    def test_the_oldest_go_first_and_an_entry_counts_them(self) -> None:
        store(5, days=40)
        store(1, days=10)
        before = timezone.now() - timedelta(days=30)

        assert [audit.prune(before, 3) for _ in range(3)] == [3, 2, 0]

        removed = AuditEntry.objects.get(action=Action.PRUNED)
        assert (removed.target, removed.details) == ("audit log", {"entries": 5})
        assert AuditEntry.objects.filter(action=Action.PAUSED).count() == 1

    def test_the_maintenance_of_a_worker_removes_them(self, settings: Any) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "AUDIT_RETENTION": timedelta(days=30)}
        store(2, days=31)
        store(1, days=29)

        Maintenance("default").run_once()

        assert sorted(AuditEntry.objects.values_list("action", "source")) == [("paused", "code"), ("pruned", "worker")]

    def test_by_default_they_are_kept_for_ever(self) -> None:
        store(1, days=5000)

        Maintenance("default").run_once()

        assert AuditEntry.objects.count() == 1
