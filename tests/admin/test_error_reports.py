"""No error report shows a signing secret: not Django's debug page, not the mail to ADMINS, not the log of statements.

The database really fails here, in each path that holds a secret. The report is built as Django builds it,
with DEBUG and without, and searched for any piece of any secret that takes part.
"""

import contextlib
import copy
import hmac
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core import serializers
from django.core.signals import got_request_exception
from django.db import Error, connection
from django.db.models import JSONField
from django.db.models.signals import pre_save
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.views.debug import ExceptionReporter

from nateq_webhooks import inbox
from nateq_webhooks.inbox import storage
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import generate_secret
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.secret_text import SECRET_PREFIX, SecretText
from nateq_webhooks.remote.local_webhooks import secret_id
from tests.admin.pages import secret_row, webhook_form
from tests.conftest import Sender, envelope

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.pages]

PIECE = 12
"""One and a half times as many characters of a secret in a row are found, however a value is cut short."""

WEBHOOKS = Webhook._meta.db_table
SECRETS = Secret._meta.db_table

Break = Callable[[], AbstractContextManager[None]]


@dataclass
class Seen:
    """The reports of an exception, and the secrets that they must not show."""

    secrets: list[SecretText] = field(default_factory=list)
    reports: list[str] = field(default_factory=list, repr=False)

    def new_secret(self) -> SecretText:
        """Return a secret that is in no line of a source file."""
        secret = generate_secret()
        assert isinstance(secret, SecretText)
        self.secrets.append(secret)
        return secret

    def report(self, request: Any = None, **kwargs: object) -> None:
        """Keep the reports of the exception that is being handled: as HTML, which a mail has no more than, and text."""
        reporter = ExceptionReporter(request, *sys.exc_info())
        self.reports += [reporter.get_traceback_html(), reporter.get_traceback_text()]

    def has_no_secret(self) -> None:
        """Assert that there are reports, and none has a piece of a secret."""
        assert self.reports
        for report in self.reports:
            for secret in self.secrets:
                text = secret.removeprefix(SECRET_PREFIX)
                for start in range(0, len(text) - PIECE, PIECE // 2):
                    at = report.find(text[start : start + PIECE])
                    assert at < 0, report[max(at - 1500, 0) : at + 100]


@pytest.fixture(params=[False, True], ids=["", "DEBUG"])
def seen(request: pytest.FixtureRequest, settings: Any, caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    settings.DEBUG = request.param
    caplog.set_level(logging.DEBUG)
    seen = Seen()
    got_request_exception.connect(seen.report)
    with CaptureQueriesContext(connection) as queries:
        yield seen
        seen.reports.append("\n".join(str(query) for query in queries.captured_queries))
    got_request_exception.disconnect(seen.report)
    seen.reports.append(caplog.text)
    seen.reports += [repr(vars(record)) for record in caplog.records]
    seen.reports += ["".join(map(str, record.args)) for record in caplog.records if isinstance(record.args, tuple)]
    seen.has_no_secret()


@pytest.fixture
def owner(db: None, seen: Seen) -> Webhook:
    """A webhook whose secret nothing may show."""
    return Webhook.objects.create(name="shop", secret=seen.new_secret())


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, None)


@contextlib.contextmanager
def refused_by_a_trigger() -> Iterator[None]:
    """Every write is refused with a message that repeats the row, as far as the database can."""
    made, ended = [], []
    for table in (WEBHOOKS, SECRETS):
        for event in ("INSERT", "UPDATE"):
            name = f"refuse_{event.lower()}_{table}"
            if connection.vendor == "sqlite":
                made.append(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )
            elif connection.vendor == "postgresql":
                made.append(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_row()"
                )
            else:
                made.append(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW BEGIN DECLARE told VARCHAR(128); "
                    "SET told = LEFT(CONCAT('refused ', NEW.secret), 128); "
                    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = told; END"
                )
            ended.append(f"DROP TRIGGER {name}" + (f" ON {table}" if connection.vendor == "postgresql" else ""))
    if connection.vendor == "postgresql":
        made.insert(
            0,
            "CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'refused %', NEW; END $$",
        )
        ended.append("DROP FUNCTION refuse_row")
    execute(*made)
    try:
        yield
    finally:
        execute(*ended)


@contextlib.contextmanager
def refused_by_a_constraint() -> Iterator[None]:
    """PostgreSQL's message repeats the row: "Failing row contains (...)"."""
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL takes a constraint that the rows break already.")
    for table in (WEBHOOKS, SECRETS):
        execute(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK (length(secret) < 5) NOT VALID")
    try:
        yield
    finally:
        for table in (WEBHOOKS, SECRETS):
            execute(f"ALTER TABLE {table} DROP CONSTRAINT refused")


@contextlib.contextmanager
def without_a_column() -> Iterator[None]:
    """A migration that was not run yet, or one that ran too early."""
    execute(f"ALTER TABLE {WEBHOOKS} RENAME COLUMN secret TO gone")
    try:
        yield
    finally:
        execute(f"ALTER TABLE {WEBHOOKS} RENAME COLUMN gone TO secret")


@contextlib.contextmanager
def connection_lost() -> Iterator[None]:
    """The connection is gone when a row is about to be written."""

    def lose(**kwargs: Any) -> None:
        connection.connection.close()

    pre_save.connect(lose, sender=Webhook)
    pre_save.connect(lose, sender=Secret)
    try:
        yield
    finally:
        pre_save.disconnect(lose, sender=Webhook)
        pre_save.disconnect(lose, sender=Secret)
        connection.close()


def break_down(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("a bug")


def unreadable(*args: Any) -> None:
    raise RecursionError("nested too deeply")


BROKEN = [refused_by_a_trigger, refused_by_a_constraint, without_a_column, connection_lost]


# The admin


def url(page: str, webhook: Webhook | None = None) -> str:
    return reverse(f"admin:nateq_webhooks_webhook_{page}", args=[webhook.pk] if webhook else [])


def change(client: Client, webhook: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Any:
    return client.post(url("change", webhook), webhook_form(new_secret=str(seen.new_secret())))


def add(client: Client, webhook: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Any:
    return client.post(url("add"), {"name": "other", "is_active": "on", "new_secret": str(seen.new_secret())})


def add_generated(client: Client, webhook: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Webhook._meta.get_field("secret"), "default", seen.new_secret)
    return client.post(url("add"), {"name": "other", "is_active": "on", "new_secret": ""})


def add_older(client: Client, webhook: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Any:
    row = secret_row(webhook, new_secret=str(seen.new_secret()))
    return client.post(url("change", webhook), webhook_form(**row))


def rotate(client: Client, webhook: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("nateq_webhooks.remote.local_webhooks.generate_secret", seen.new_secret)
    return client.post(url("secret", webhook), {"confirmed": "yes", "current": secret_id(webhook)})


PATHS = [change, add, add_generated, add_older, rotate]


@pytest.mark.parametrize("broken", BROKEN)
def test_no_report_of_a_failing_database_in_the_admin_shows_a_secret(
    boss: Client, owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch, broken: Break
) -> None:
    boss.raise_request_exception = False
    for path in PATHS:
        with broken(), monkeypatch.context() as patched:
            response = path(boss, owner, seen, patched)

        assert response.status_code == 500, path
        seen.reports.append(response.content.decode())


def test_no_report_of_a_bug_in_the_admin_shows_a_secret(
    boss: Client, owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver of the site's own fails beside ours."""

    boss.raise_request_exception = False
    for path in PATHS:
        pre_save.connect(break_down)
        try:
            response = path(boss, owner, seen, monkeypatch)
        finally:
            pre_save.disconnect(break_down)

        assert response.status_code == 500, path
        seen.reports.append(response.content.decode())


def test_no_report_of_an_unreadable_row_shows_a_secret(
    boss: Client, owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's functions hold the whole row, as the driver gave it, while one column of it is converted."""

    boss.raise_request_exception = False
    monkeypatch.setattr(JSONField, "from_db_value", unreadable)

    pages = [
        boss.get(url("changelist")),
        boss.get(url("change", owner)),
        boss.post(url("change", owner), webhook_form()),
    ]

    assert {page.status_code for page in pages} == {500}


def test_no_report_of_an_unreadable_row_of_an_iterator_shows_a_secret(
    owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [webhook.pk for webhook in Webhook.objects.iterator()] == [owner.pk]
    monkeypatch.setattr(JSONField, "from_db_value", lambda *args: [][0])

    try:
        list(Webhook.objects.iterator())
    except IndexError:
        seen.report()


# The receiver view and its copy of the configuration


@pytest.mark.parametrize("where", [(storage, "upsert"), (signatures, "_candidates"), (hmac, "compare_digest")])
def test_no_report_of_a_bug_in_the_receiver_view_shows_a_secret(
    owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    Secret.objects.create(webhook=owner, secret=seen.new_secret())
    sender = Sender(owner, Client(raise_request_exception=False))
    signature = signatures.sign(b"{}", owner.secret)
    monkeypatch.setattr(*where, break_down)

    assert sender.post(b"{}", signature=signature).status_code == 500


def test_no_report_of_an_unreadable_configuration_shows_a_secret(
    owner: Webhook, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    Secret.objects.create(webhook=owner, secret=seen.new_secret())
    cache.invalidate()
    monkeypatch.setattr(JSONField, "from_db_value", unreadable)

    response = Sender(owner, Client(raise_request_exception=False)).post(envelope(), signature="0" * 64)

    assert response.status_code == 500


def test_no_repr_of_the_cached_configuration_shows_a_secret(owner: Webhook, seen: Seen) -> None:
    Secret.objects.create(webhook=owner, secret=seen.new_secret())
    cache.invalidate()
    configuration = inbox.find(owner.pk)
    assert configuration is not None

    assert len(configuration.keys) == 2
    seen.reports += [repr(configuration), repr(vars(cache)), repr(configuration.keys)]
    seen.reports += [repr(live.key.key) for live in configuration.keys]


# The models


def every_write(webhook: Webhook, seen: Seen) -> Iterator[Callable[[], object]]:
    other = Webhook(name="other", secret=seen.new_secret())
    older = Secret(webhook=webhook, secret=seen.new_secret())
    webhook.secret = seen.new_secret()
    yield webhook.save
    yield lambda: webhook.save(update_fields=["secret"])
    yield other.save
    yield older.save
    yield lambda: Webhook.objects.bulk_create([other])
    yield lambda: Secret.objects.bulk_create([older])
    yield lambda: Webhook.objects.filter(pk=webhook.pk).update(secret=webhook.secret)
    yield lambda: Webhook.objects.filter(pk=webhook.pk).update(name="the row in the message is not known here")
    yield lambda: Webhook.objects.bulk_update([webhook], ["secret"])
    yield lambda: Webhook.objects.update_or_create(name="third", defaults={"secret": webhook.secret})


@pytest.mark.parametrize("broken", [refused_by_a_trigger, refused_by_a_constraint])
def test_no_error_of_a_failing_database_shows_a_secret(owner: Webhook, seen: Seen, broken: Break) -> None:
    with broken():
        for write in every_write(owner, seen):
            with pytest.raises(Error) as caught:
                write()
            error = caught.value
            seen.reports += [str(error), repr(error), repr(error.args), repr(error.__cause__)]
            try:
                raise error
            except Error:
                seen.report()


def test_an_error_still_has_the_message_of_the_database(owner: Webhook, seen: Seen) -> None:
    with refused_by_a_trigger(), pytest.raises(Error, match="refused") as caught:
        owner.save()

    assert caught.value.__cause__ is not None
    seen.reports.append(str(caught.value))


def test_a_statement_is_logged_with_placeholders(owner: Webhook, seen: Seen, settings: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        owner.secret = seen.new_secret()
        owner.save()
        Webhook.objects.filter(pk=owner.pk).update(secret=seen.new_secret())

    logged = [query["sql"] for query in queries.captured_queries]
    assert len([sql for sql in logged if "UPDATE" in sql]) == 2
    seen.reports += logged


def test_nothing_that_prints_a_value_shows_a_secret(owner: Webhook, seen: Seen) -> None:
    older = Secret.objects.create(webhook=owner, secret=seen.new_secret())
    values = [
        *Webhook.objects.values(),
        *Webhook.objects.values_list("secret", "older_secrets__secret"),
        *Secret.objects.values_list("secret", flat=True),
        vars(owner),
        vars(older),
        owner.secret,
        {"secret": (owner.secret, [older.secret])},
        signatures.SigningKey.of(owner.secret).key,
        copy.deepcopy(owner.secret),
    ]

    seen.reports += [repr(value) for value in values]


def test_a_pickled_webhook_has_no_secret_and_reads_it_when_needed(owner: Webhook, seen: Seen) -> None:
    older = Secret.objects.create(webhook=owner, secret=seen.new_secret())
    pickled = [pickle.dumps(owner), pickle.dumps(older)]

    assert [pickle.loads(each).secret for each in pickled] == [owner.secret, older.secret]  # noqa: S301
    thawed = pickle.loads(pickled[0])  # noqa: S301
    thawed.save()
    owner.refresh_from_db()
    assert owner.secret == seen.secrets[0]
    seen.reports += [each.decode("latin-1") for each in pickled]


def test_a_dump_has_no_secret(owner: Webhook, seen: Seen) -> None:
    Secret.objects.create(webhook=owner, secret=seen.new_secret())
    for name in ("json", "xml"):
        seen.reports.append(serializers.serialize(name, [*Webhook.objects.all(), *Secret.objects.all()]))


def test_a_secret_is_text_in_every_other_way(owner: Webhook, seen: Seen) -> None:
    stored = Webhook.objects.get()

    assert stored.secret == owner.secret == seen.secrets[0]
    assert str(stored.secret) == f"{stored.secret}" == seen.secrets[0]
    seen.reports.append(repr(stored.secret))
