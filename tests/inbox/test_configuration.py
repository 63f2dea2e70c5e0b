"""The cached configuration of the webhooks: its cost, its age, and failures of the database."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks.inbox import configuration
from nateq_webhooks.inbox.configuration import (
    OVERLAP,
    RELOAD_SECONDS,
    Configuration,
    ConfigurationCache,
    TenantCache,
    cache,
)
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.models.webhook import REFRESH_SECONDS
from nateq_webhooks.protocol.signatures import SigningKey
from tests.conftest import SECRET, Sender, envelope
from tests.waiting import Clock

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time passes only when a test moves the clock."""
    made = Clock()
    monkeypatch.setattr(configuration, "time", made)
    return made


@contextmanager
def statements(expected: int) -> Iterator[list[str]]:
    with CaptureQueriesContext(connection) as captured:
        queries: list[str] = []
        yield queries
    queries += [query["sql"] for query in captured.captured_queries]
    assert len(queries) == expected, queries


@contextmanager
def broken_database(error: Exception) -> Iterator[None]:
    """Every statement fails, as if the database were unreachable."""

    def fail(*args: Any) -> Any:
        raise error

    with connection.execute_wrapper(fail):
        yield


def behind_djangos_back(sql: str) -> None:
    """Run a statement that sends no signal and does not change `modified_at`."""
    with connection.cursor() as cursor:
        cursor.execute(sql)


def known(webhook: Webhook | uuid.UUID, where: ConfigurationCache | TenantCache = cache) -> Configuration:
    found = where.get(webhook if isinstance(webhook, uuid.UUID) else webhook.pk)
    assert found is not None
    return found


def key_ids(webhook: Webhook, where: ConfigurationCache | TenantCache = cache) -> list[str]:
    return [key.id for key in known(webhook, where).live_keys(timezone.now())]


def id_of(secret: str) -> str:
    return SigningKey.of(secret).id


# What it knows


def test_a_webhook_is_known_with_all_that_the_receiver_view_needs() -> None:
    webhook = Webhook.objects.create(
        name="shop",
        secret=SECRET,
        events=["ticket.created"],
        organization_id="org_1",
        signature_header="X-Hub-Signature-256",
    )

    found = known(webhook)

    assert (found.id, found.name, found.organization_id) == (webhook.pk, "shop", "org_1")
    assert found.events == {"ticket.created"}
    assert found.signature_meta_key == "HTTP_X_HUB_SIGNATURE_256"
    assert found.is_active
    assert not found.is_pending
    assert key_ids(webhook) == [id_of(SECRET)]


def test_a_webhook_without_its_own_signature_header_uses_the_one_of_the_settings(webhook: Webhook) -> None:
    assert known(webhook).signature_meta_key == "HTTP_X_NATEQ_SIGNATURE"


def test_an_overridden_signature_header_setting_applies_at_once(webhook: Webhook) -> None:
    known(webhook)

    with override_settings(NATEQ_WEBHOOKS={"SIGNATURE_HEADER": "X-Other"}):
        assert known(webhook).signature_meta_key == "HTTP_X_OTHER"
    assert known(webhook).signature_meta_key == "HTTP_X_NATEQ_SIGNATURE"


def test_a_webhook_without_events_subscribes_to_every_event_and_others_only_to_those_listed(webhook: Webhook) -> None:
    assert known(webhook).subscribes_to("ticket.created")
    assert known(webhook).subscribes_to("unknown.today")

    webhook.events = ["ticket.created"]
    webhook.save()

    assert known(webhook).subscribes_to("ticket.created")
    assert not known(webhook).subscribes_to("ticket.closed")
    assert not known(webhook).subscribes_to("ticket")


def test_inactive_and_pending_webhooks_are_known_as_such() -> None:
    off = Webhook.objects.create(name="off", is_active=False)
    pending = Webhook.objects.create(name="pending", registration=Webhook.Registration.PENDING)
    registered = Webhook.objects.create(name="registered", registration=Webhook.Registration.REGISTERED)

    assert not known(off).is_active
    assert known(pending).is_pending
    assert not known(registered).is_pending


def test_every_live_secret_is_a_key_and_the_webhooks_own_comes_first(webhook: Webhook) -> None:
    for number in range(3):
        Secret.objects.create(webhook=webhook, secret=f"whsec_{number}_0123456789abcdef")
    other = Webhook.objects.create(name="other", secret="whsec_other_0123456789abcdef")

    assert key_ids(webhook)[0] == id_of(SECRET)
    assert set(key_ids(webhook)) == {
        id_of(secret)
        for secret in (SECRET, "whsec_0_0123456789abcdef", "whsec_1_0123456789abcdef", "whsec_2_0123456789abcdef")
    }
    assert key_ids(other) == [id_of("whsec_other_0123456789abcdef")]


def test_a_secret_is_a_key_until_the_moment_it_expires_without_a_statement(webhook: Webhook) -> None:
    now = timezone.now()
    Secret.objects.create(webhook=webhook, secret="whsec_old_0123456789abcdef", expires_at=now + timedelta(hours=1))
    found = known(webhook)

    with statements(0):
        assert len(found.live_keys(now)) == 2
        assert len(found.live_keys(now + timedelta(hours=1) - timedelta(microseconds=1))) == 2
        assert len(found.live_keys(now + timedelta(hours=1))) == 1


def test_an_unusable_secret_is_left_out_and_logged_without_its_value(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    Secret.objects.create(webhook=webhook, secret="whsec_!private!_not_base64")
    with override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"}):
        cache.invalidate()
        Webhook.objects.filter(pk=webhook.pk).update(secret="whsec_c2l4dGVlbiBieXRlcyBvciBtb3Jl")

        assert [key.id for key in known(webhook).live_keys(timezone.now())] == [
            SigningKey.of("whsec_c2l4dGVlbiBieXRlcyBvciBtb3Jl", "base64").id
        ]

    assert '"shop"' in caplog.text
    assert "private" not in caplog.text


def test_an_empty_secret_is_not_a_key() -> None:
    webhook = Webhook.objects.create(name="empty", secret="")

    assert key_ids(webhook) == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["ticket.created", 7, None], {"ticket.created"}),
        (["ticket.created", ["x"], {}], {"ticket.created"}),
        ("ticket.created", {"ticket.created"}),
        ({"ticket.created": True}, {"ticket.created"}),
        (7, set()),
        ("", set()),
    ],
)
def test_malformed_events_are_ignored_and_affect_no_other_webhook(
    webhook: Webhook, events: Any, expected: set[str]
) -> None:
    malformed = Webhook.objects.create(name="malformed", events=events)

    assert known(malformed).events == expected
    assert known(webhook).is_active


def test_no_secret_is_in_any_repr(webhook: Webhook) -> None:
    Secret.objects.create(webhook=webhook, secret="whsec_old_0123456789abcdef")
    found = known(webhook)

    for text in (repr(found), str(found), repr(found.keys), repr(cache), str(vars(cache)), f"{found.keys[0]}"):
        assert SECRET not in text
        assert "whsec_old_0123456789abcdef" not in text
    assert id_of(SECRET) in repr(found)


# What it costs


def test_a_cold_copy_costs_one_statement_however_many_webhooks_and_secrets() -> None:
    for number in range(5):
        webhook = Webhook.objects.create(name=f"shop {number}")
        Secret.objects.create(webhook=webhook, secret="whsec_old_0123456789abcdef")

    with statements(1):
        known(webhook)
    assert len(cache._current()._by_id) == 5


def test_a_copy_is_refreshed_by_at_most_one_statement_a_second(webhook: Webhook, clock: Clock) -> None:
    assert REFRESH_SECONDS == 1
    known(webhook)

    with statements(10):
        for _ in range(100):
            clock.now += 0.1 + 1e-9
            known(webhook)


def test_after_an_idle_hour_one_statement_refreshes_the_copy(webhook: Webhook, clock: Clock) -> None:
    known(webhook)
    clock.now += 3_600

    with statements(1):
        for _ in range(10):
            known(webhook)


def test_a_refresh_reads_only_the_changes(webhook: Webhook, clock: Clock) -> None:
    long_ago = timezone.now() - 10 * OVERLAP
    Webhook.objects.filter(pk=webhook.pk).update(modified_at=long_ago)
    newest = Webhook.objects.create(name="newest")
    known(webhook)
    behind_djangos_back("UPDATE nateq_webhooks_webhook SET organization_id = 'org_9'")

    clock.now += REFRESH_SECONDS
    with statements(1) as queries:
        assert known(webhook).organization_id == ""  # not read again
        assert known(newest).organization_id == "org_9"  # read again: it changed within the overlap
    assert "modified_at" in queries[0].split("WHERE")[1]


def test_an_unknown_id_adds_no_entry_and_costs_nothing_more(webhook: Webhook, clock: Clock) -> None:
    known(webhook)

    with statements(0):
        for _ in range(1_000):
            assert cache.get(uuid.uuid4()) is None
    assert set(cache._current()._by_id) == {webhook.pk}

    clock.now += REFRESH_SECONDS
    with statements(1):
        for _ in range(1_000):
            assert cache.get(uuid.uuid4()) is None
    assert set(cache._current()._by_id) == {webhook.pk}


def test_without_any_webhook_an_unknown_id_costs_one_statement_a_second_too(clock: Clock) -> None:
    fresh = TenantCache()

    with statements(3):
        for _ in range(3):
            for _ in range(100):
                assert fresh.get(uuid.uuid4()) is None
            clock.now += REFRESH_SECONDS
    assert fresh._by_id == {}


@pytest.mark.django_db(transaction=True)
def test_a_lookup_during_another_threads_refresh_is_answered_from_the_copy(webhook: Webhook, clock: Clock) -> None:
    known(webhook)
    clock.now += REFRESH_SECONDS
    answers: list[Configuration | None] = []

    def while_refreshing(execute: Callable[..., Any], *args: Any) -> Any:
        other = threading.Thread(target=lambda: answers.append(cache.get(webhook.pk)))
        other.start()
        other.join(timeout=120)
        return execute(*args)

    with statements(1), connection.execute_wrapper(while_refreshing):
        known(webhook)

    assert [answer and answer.id for answer in answers] == [webhook.pk]


@pytest.mark.django_db(transaction=True)
def test_threads_that_wait_for_a_cold_copy_read_it_once(webhook: Webhook) -> None:
    asked: list[str] = []
    answers: list[Configuration | None] = []
    others: list[threading.Thread] = []

    def count(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        asked.append(sql)
        return execute(sql, *args)

    def ask(is_asking: threading.Event) -> None:
        with connection.execute_wrapper(count):
            is_asking.set()
            answers.append(cache.get(webhook.pk))
        connection.close()

    def while_reading(execute: Callable[..., Any], *args: Any) -> Any:
        for _ in range(4):
            is_asking = threading.Event()
            others.append(threading.Thread(target=ask, args=(is_asking,)))
            others[-1].start()
            assert is_asking.wait(60)
        return execute(*args)

    cache.invalidate()
    with connection.execute_wrapper(while_reading):
        known(webhook)
    for other in others:
        other.join(60)

    assert [answer and answer.id for answer in answers] == [webhook.pk] * 4
    assert asked == []


# How old it may be


Change = Callable[[Webhook], object]


def save(webhook: Webhook, **options: Any) -> None:
    webhook.organization_id = "org_9"
    webhook.save(**options)


def bulk_update(webhook: Webhook) -> None:
    webhook.organization_id = "org_9"
    Webhook.objects.bulk_update([webhook], ["organization_id"])


CHANGES: dict[str, Change] = {
    "save": save,
    "save some fields": lambda webhook: save(webhook, update_fields=["organization_id"]),
    "update": lambda webhook: Webhook.objects.filter(pk=webhook.pk).update(organization_id="org_9"),
    "bulk_update": bulk_update,
    "update_or_create": lambda webhook: Webhook.objects.update_or_create(
        name=webhook.name, defaults={"organization_id": "org_9"}
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_known_at_once_in_this_process_and_after_a_second_in_others(
    webhook: Webhook, clock: Clock, change: Change
) -> None:
    other = TenantCache()  # no signal reaches it, like another process's
    assert known(webhook).organization_id == known(webhook, other).organization_id == ""

    change(webhook)

    assert known(webhook).organization_id == "org_9"
    assert known(webhook, other).organization_id == ""
    clock.now += REFRESH_SECONDS
    assert known(webhook, other).organization_id == "org_9"


def test_a_new_webhook_is_known_at_once_here_and_after_a_second_elsewhere(webhook: Webhook, clock: Clock) -> None:
    other = TenantCache()
    known(webhook)
    known(webhook, other)

    new = Webhook.objects.create(name="new")

    assert known(new)
    assert other.get(new.pk) is None
    clock.now += REFRESH_SECONDS
    assert known(new, other)


@pytest.mark.parametrize("how", ["instance", "queryset"])
def test_a_deleted_webhook_is_forgotten_at_once_here_and_at_the_next_reload_elsewhere(
    webhook: Webhook, clock: Clock, how: str
) -> None:
    other = TenantCache()
    pk = webhook.pk
    known(webhook)
    known(webhook, other)

    if how == "instance":
        webhook.delete()
    else:
        Webhook.objects.filter(pk=pk).delete()

    assert cache.get(pk) is None
    clock.now += RELOAD_SECONDS
    assert other.get(pk) is None


OLD, NEW = "whsec_old_0123456789abcdef", "whsec_new_0123456789abcdef"


def expire(webhook: Webhook) -> Secret:
    older = webhook.older_secrets.get()
    older.expires_at = timezone.now()
    return older


ADD: dict[str, Change] = {
    "create": lambda webhook: Secret.objects.create(webhook=webhook, secret=NEW),
    "bulk_create": lambda webhook: Secret.objects.bulk_create([Secret(webhook=webhook, secret=NEW)]),
}
REVOKE: dict[str, Change] = {
    "save": lambda webhook: expire(webhook).save(),
    "update": lambda webhook: webhook.older_secrets.update(expires_at=timezone.now()),
    "bulk_update": lambda webhook: Secret.objects.bulk_update([expire(webhook)], ["expires_at"]),
    "delete": lambda webhook: webhook.older_secrets.get().delete(),
    "delete many": lambda webhook: webhook.older_secrets.all().delete(),
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [pytest.param(change, {SECRET, OLD, NEW}, id=name) for name, change in ADD.items()]
    + [pytest.param(change, {SECRET}, id=name) for name, change in REVOKE.items()],
)
def test_a_secret_added_or_revoked_is_known_at_once_in_this_process_and_after_a_second_in_others(
    webhook: Webhook, clock: Clock, change: Change, expected: set[str]
) -> None:
    other = TenantCache()
    Secret.objects.create(webhook=webhook, secret=OLD)
    assert set(key_ids(webhook)) == set(key_ids(webhook, other)) == {id_of(SECRET), id_of(OLD)}

    change(webhook)

    assert set(key_ids(webhook)) == {id_of(secret) for secret in expected}
    clock.now += REFRESH_SECONDS
    assert set(key_ids(webhook, other)) == {id_of(secret) for secret in expected}


def test_a_change_behind_djangos_back_is_known_after_the_reload(webhook: Webhook, clock: Clock) -> None:
    known(webhook)
    Webhook.objects.filter(pk=webhook.pk).update(modified_at=timezone.now() - 10 * OVERLAP)
    Webhook.objects.create(name="newest")
    known(webhook)
    behind_djangos_back("UPDATE nateq_webhooks_webhook SET organization_id = 'org_9'")

    clock.now += REFRESH_SECONDS
    assert known(webhook).organization_id == ""

    clock.now += RELOAD_SECONDS
    assert known(webhook).organization_id == "org_9"


@pytest.mark.parametrize(
    "seconds_between",
    [[RELOAD_SECONDS], [REFRESH_SECONDS] * (int(RELOAD_SECONDS / REFRESH_SECONDS) + 1)],
    ids=["idle", "busy"],
)
def test_a_row_deleted_behind_djangos_back_is_forgotten_after_the_reload(
    webhook: Webhook, clock: Clock, seconds_between: list[float]
) -> None:
    known(webhook)
    behind_djangos_back("DELETE FROM nateq_webhooks_webhook")

    for seconds in seconds_between:
        clock.now += seconds
        found = cache.get(webhook.pk)

    assert found is None


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_is_forgotten_again(webhook: Webhook, clock: Clock) -> None:
    known(webhook)
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).update(is_active=False)
        assert not known(webhook).is_active  # seen inside the transaction that made it
        transaction.set_rollback(True)

    clock.now += REFRESH_SECONDS
    assert known(webhook).is_active


@pytest.mark.django_db(transaction=True)
def test_rows_that_another_thread_read_before_the_commit_are_read_again_after_it(webhook: Webhook) -> None:
    with transaction.atomic():
        Webhook.objects.filter(pk=webhook.pk).update(is_active=False)
        # Another thread looks now, and its connection still sees the row as it was committed before.
        active = {webhook.pk: replace(known(webhook), is_active=True)}
        other = threading.Thread(target=cache._current()._cached.read, args=("default", lambda: active))
        other.start()
        other.join()
        assert known(webhook).is_active

    assert not known(webhook).is_active


# What it survives


@pytest.mark.parametrize(
    "error", [OperationalError("gone away"), DatabaseError("broken"), InterfaceError("connection already closed")]
)
def test_the_copy_is_used_while_the_database_is_unreachable(
    webhook: Webhook, clock: Clock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    before = known(webhook)

    with broken_database(error):
        for _ in range(3):
            clock.now += RELOAD_SECONDS
            assert known(webhook) == before
    assert caplog.text.count("could not be refreshed") == 3

    Webhook.objects.filter(pk=webhook.pk).update(organization_id="org_9")
    assert known(webhook).organization_id == "org_9"


def test_an_unreachable_database_is_asked_once_a_second(webhook: Webhook, clock: Clock) -> None:
    asked: list[int] = []

    def fail(*args: Any) -> Any:
        asked.append(1)
        raise OperationalError("gone away")

    known(webhook)
    clock.now += REFRESH_SECONDS
    with connection.execute_wrapper(fail):
        for _ in range(50):
            known(webhook)

    assert len(asked) == 1


def test_the_copy_is_refreshed_when_the_database_is_reachable_again(webhook: Webhook, clock: Clock) -> None:
    other = TenantCache()
    known(webhook, other)
    clock.now += REFRESH_SECONDS
    with broken_database(OperationalError("gone away")):
        known(webhook, other)

    Webhook.objects.filter(pk=webhook.pk).update(organization_id="org_9")
    clock.now += REFRESH_SECONDS

    assert known(webhook, other).organization_id == "org_9"


def test_the_first_lookup_raises_the_error_of_the_database_and_the_next_one_tries_again(webhook: Webhook) -> None:
    fresh = TenantCache()
    with broken_database(OperationalError("gone away")), pytest.raises(OperationalError):
        fresh.get(webhook.pk)

    assert known(webhook, fresh)


@pytest.mark.parametrize("error", [OperationalError("gone away"), InterfaceError("connection already closed")])
def test_a_request_is_answered_503_if_nothing_could_be_read_yet(sender: Sender, error: Exception) -> None:
    with broken_database(error):
        response = sender.post(envelope())

    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert sender.post(envelope()).status_code == 200
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("error", [OperationalError("gone away"), InterfaceError("connection already closed")])
def test_a_bad_signature_is_refused_from_the_copy_while_the_database_is_unreachable(
    sender: Sender, clock: Clock, error: Exception
) -> None:
    known(sender.webhook)
    clock.now += REFRESH_SECONDS

    with broken_database(error):
        assert sender.post(envelope(), secret="wrong").status_code == 401
        assert sender.post(envelope()).status_code == 503


# In a transaction


def test_a_change_read_inside_a_transaction_is_forgotten_when_it_is_rolled_back(webhook: Webhook) -> None:
    with transaction.atomic():
        webhook.is_active = False
        webhook.secret = "whsec_other_0123456789abcdef"
        webhook.save()
        assert not known(webhook).is_active
        transaction.set_rollback(True)

    assert known(webhook).is_active
    assert key_ids(webhook) == [id_of(SECRET)]


def test_a_copy_read_in_a_transaction_costs_no_statement_as_long_as_that_lasts(webhook: Webhook) -> None:
    with transaction.atomic():
        known(webhook)
        with CaptureQueriesContext(connection) as captured, transaction.atomic():
            known(webhook)
    assert not [query for query in captured.captured_queries if "SELECT" in query["sql"]]
