"""Characters that a database lacks: stored as escapes, never an error, and said by a check."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.test import Client

from nateq_webhooks import dispatch, signals
from nateq_webhooks.database.encoding import CharacterSet, forget, of_columns, of_connection, storable
from nateq_webhooks.models import Delivery, EventType, OtherContent, Replay, Run, Webhook
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.runners.worker import drain
from tests.conftest import SECRET, Sender, envelope
from tests.dispatch.scene import Connect

pytestmark = pytest.mark.django_db(transaction=True)

EMOJI, ARABIC, LATIN = "\U0001f600", "مرحبا", "é"
HOSTILE = "a\x00b\ud800c"

NARROW = {
    "nateq_webhooks_run": "MODIFY error longtext {} NOT NULL, MODIFY traceback longtext {} NOT NULL",
    "nateq_webhooks_hold": "MODIFY reason varchar(500) {} NOT NULL, MODIFY paused_by varchar(150) {} NOT NULL",
    "nateq_webhooks_replay": "MODIFY reason varchar(500) {} NOT NULL, MODIFY `by` varchar(150) {} NOT NULL",
    "nateq_webhooks_webhook": "MODIFY name varchar(100) {} NOT NULL, MODIFY secret varchar(255) {} NOT NULL",
    "nateq_webhooks_rejection": "MODIFY hint longtext {} NOT NULL",
    "nateq_webhooks_eventtype": "MODIFY description varchar(500) {} NOT NULL",
    "nateq_webhooks_attempt": "MODIFY remote_addr varchar(64) {} NULL",
}


@pytest.fixture(autouse=True)
def _asked_again() -> Iterator[None]:
    forget()
    yield
    forget()


def said() -> list[CheckMessage]:
    return [message for message in run_checks(databases=["default"]) if message.id == "nateq_webhooks.W045"]


def set_charset(charset: str) -> None:
    with connection.cursor() as cursor:
        for table, columns in NARROW.items():
            cursor.execute(f"ALTER TABLE {table} {columns.replace('{}', f'CHARACTER SET {charset}')}")
    forget()


@pytest.fixture
def utf8mb3() -> Iterator[None]:
    """The columns as a database made with `CHARACTER SET utf8` has them: those of ExactCharField are utf8mb4."""
    if connection.vendor != "mysql":
        pytest.skip("Only MariaDB and MySQL have such columns.")
    set_charset("utf8mb3")
    yield
    set_charset("utf8mb4")


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow_database(request: pytest.FixtureRequest, db: None) -> Iterator[str]:
    """A PostgreSQL database of this encoding, with the tables, in place of the tests' own."""
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has a database's encoding.")
    usual = connection.settings_dict["NAME"]
    name = f"{usual}_{request.param.lower()}"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    connection.close()
    connection.settings_dict["NAME"] = name
    forget()
    try:
        call_command("migrate", verbosity=0)
        yield request.param
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def fail(**kwargs: Any) -> None:
    raise ValueError(f"no {EMOJI} {ARABIC} {LATIN} {HOSTILE}")


def write_everything(sender: Sender) -> None:
    """Have every text that we or a user may write stored."""
    sender.post(envelope())
    drain()
    text = f"{EMOJI} {ARABIC} {LATIN} {HOSTILE}"
    dispatch.pause(reason=text, by=text)
    dispatch.pause(receiver=text, reason="x" * 495 + text)
    dispatch.resume()
    dispatch.replay(Delivery.objects.all(), reason=text, by=text)
    EventType.objects.remember({f"ticket.{EMOJI}": text})
    Webhook.objects.create(name=text, nateq_id=text)
    assert Webhook.objects.get(name=text).nateq_id
    Webhook.objects.filter(name=text).update(name=f"{text} again")


@pytest.mark.usefixtures("utf8mb3")
class TestUtf8mb3:
    def test_an_error_with_an_emoji_is_recorded(self, sender: Sender, connect: Connect) -> None:
        connect(signals.ticket_created, fail)
        write_everything(sender)

        run = Run.objects.order_by("pk")[0]
        assert run.status == "failed"
        assert run.error.startswith(f"ValueError: no \\U0001f600 {ARABIC} {LATIN} a\ufffdb\ufffdc")
        assert "\\U0001f600" in run.traceback
        assert f"\\U0001f600 {ARABIC}" in Replay.objects.order_by("pk")[0].reason

    def test_what_is_cut_fits_its_column(self, sender: Sender) -> None:
        dispatch.pause(reason=EMOJI * 100, by="sara")

        assert Hold.objects.get(scope="").reason == ("\\U0001f600" * 50)

    def test_a_delivery_keeps_its_texts_whole(self, sender: Sender) -> None:
        event = f"ticket.{EMOJI}"
        assert sender.post(envelope(event, data={"id": EMOJI}, delivery_id=EMOJI)).status_code == 200

        delivery = Delivery.objects.get()
        assert (delivery.event, delivery.resource_id, delivery.delivery_id) == (event, EMOJI, EMOJI)
        assert delivery.payload is not None
        assert delivery.payload["data"]["id"] == EMOJI
        assert delivery.notes == []

    def test_the_check_says_so(self) -> None:
        (message,) = said()
        assert "utf8mb3" in message.msg
        assert message.hint is not None
        assert "CONVERT TO CHARACTER SET utf8mb4" in message.hint

    def test_the_form_refuses_a_name_and_a_secret(self) -> None:
        for values in ({"name": EMOJI, "secret": SECRET}, {"name": "shop", "secret": f"whsec_{EMOJI * 20}"}):
            with pytest.raises(ValidationError, match="can't store"):
                Webhook(**values).full_clean()

    def test_the_admin_answers_with_the_form(self, client: Client) -> None:
        from django.contrib.auth.models import User

        client.force_login(User.objects.create_superuser("boss", "boss@shop.example", "tests only"))
        posted = {"name": f"shop {EMOJI}", "secret": SECRET, "events": "[]", "is_active": "on"}
        response = client.post("/admin/nateq_webhooks/webhook/add/", posted)

        assert response.status_code == 200
        assert not Webhook.objects.exists()


def test_a_connection_without_utf8mb4_is_safe_and_said(
    sender: Sender, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "mysql":
        pytest.skip("Only MariaDB and MySQL have a connection's character set.")
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"charset": "utf8mb3"})
    try:
        connect(signals.ticket_created, fail)
        write_everything(sender)
        answer = sender.post(envelope(f"ticket.{EMOJI}", delivery_id=f"{EMOJI}{ARABIC}"))

        assert answer.status_code == 200
        delivery = Delivery.objects.get(delivery_id__startswith="\\U0001f600")
        assert (delivery.event, delivery.delivery_id) == ("ticket.\\U0001f600", f"\\U0001f600{ARABIC}")
        assert delivery.load_event().name == f"ticket.{EMOJI}"
        assert Run.objects.exclude(error="").exists()
        assert any("connection's character set is utf8mb3" in message.msg for message in said())
    finally:
        connection.close()


def test_a_database_without_every_character_stores_what_it_can(narrow_database: str, connect: Connect) -> None:
    connect(signals.ticket_created, fail)
    seen: list[str] = []
    connect(signals.event_received, lambda event, **kwargs: seen.append(event.name))
    sender = Sender(Webhook.objects.create(name="shop", secret=SECRET))
    write_everything(sender)
    long = ARABIC * 60
    for delivery_id, event in (("long", long), (f"{LATIN}{ARABIC}", f"ticket.{EMOJI}")):
        posted = envelope(event, delivery_id=delivery_id, data={"id": delivery_id, "text": "\\u0041 \\\\"})
        assert sender.post(posted, headers={"X-Note": LATIN}).status_code == 200
        assert sender.post(posted | {"data": ARABIC}).status_code == 200
    drain()

    keeps_latin = narrow_database == "LATIN1"
    assert Run.objects.exclude(error="").order_by("pk")[0].error.startswith("ValueError: no \\U0001f600 \\u0645")
    first = LATIN if keeps_latin else "\\xe9"
    delivery = Delivery.objects.order_by("-pk")[0]
    assert delivery.delivery_id.startswith(f"{first}\\u0645")
    assert delivery.payload is None
    assert {"cut", "payload_not_queryable", "content_differs"} <= set(delivery.notes)
    assert json.loads(delivery.body)["metadata"]["delivery_id"] == f"{LATIN}{ARABIC}"
    assert {long, f"ticket.{EMOJI}"} <= set(seen)
    assert Delivery.objects.get(event="ticket.created").payload is not None
    assert OtherContent.objects.count() == 2
    assert f"encoding is {narrow_database}" in said()[0].msg


def test_a_usual_database_stores_everything_as_it_is(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, fail)
    write_everything(sender)

    assert of_connection("default") is of_columns("default") is CharacterSet.ALL
    assert Run.objects.order_by("pk")[0].error.startswith(f"ValueError: no {EMOJI} {ARABIC} {LATIN} a\ufffdb\ufffdc")
    assert Replay.objects.get().reason == f"{EMOJI} {ARABIC} {LATIN} a\ufffdb\ufffdc"
    assert said() == []


def test_ordinary_text_asks_the_database_nothing(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert storable("ticket.created", "default") == "ticket.created"


@pytest.mark.parametrize("events", [["a\x00"], ["\ud800"]])
def test_the_form_refuses_events_that_no_column_holds(db: None, events: list[str]) -> None:
    with pytest.raises(ValidationError):
        Webhook(name="shop", secret=SECRET, events=events).full_clean()
