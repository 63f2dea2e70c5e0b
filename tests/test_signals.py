"""The signals as an application uses them: connected, fired by a delivery, and disconnected again."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.dispatch import Signal, receiver
from django.test import override_settings

from nateq_webhooks import signals
from nateq_webhooks.errors import ReceiverError
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.events import EVENTS, Event
from nateq_webhooks.receivers import ANY_EVENT, registry
from nateq_webhooks.signals import EventSignal, signal_for
from tests.conftest import Sender, envelope

HERE = __name__

calls: list[tuple[str, dict[str, Any]]] = []


def note(name: str, **kwargs: Any) -> None:
    calls.append((name, kwargs))


def on_ticket(**kwargs: Any) -> None:
    note("on_ticket", **kwargs)


async def on_ticket_async(**kwargs: Any) -> None:
    note("on_ticket_async", **kwargs)


class Board:
    @classmethod
    def of_class(cls, **kwargs: Any) -> None:
        note(f"of_class of {cls.__name__}", **kwargs)

    @staticmethod
    def static(**kwargs: Any) -> None:
        note("static", **kwargs)


@pytest.fixture(autouse=True)
def _clean_signals() -> Iterator[None]:
    """Leave every signal as it was, whatever a test connected by itself."""
    calls.clear()
    every = [*signals._by_event.values(), signals.event_received]
    receivers = {event: dict(found) for event, found in registry._by_event.items()}
    connected = [(signal, list(signal.receivers or [])) for signal in every]
    yield
    for signal in [*signals._by_event.values()]:
        if signal not in every:
            signal.receivers = []
    for signal, before in connected:
        signal.receivers = before
    registry._by_event.clear()
    registry._by_event.update(receivers)


def called() -> list[str]:
    return [name for name, _ in calls]


# The signals that there are


@pytest.mark.parametrize("event", EVENTS)
def test_every_published_event_has_a_signal_of_its_name(event: str) -> None:
    signal = getattr(signals, event.replace(".", "_"))

    assert isinstance(signal, EventSignal)
    assert signal.event == event
    assert signal_for(event) is signal


def test_there_are_no_signals_of_unpublished_events() -> None:
    named = {value.event for value in vars(signals).values() if isinstance(value, EventSignal)}

    assert named == {*EVENTS, ANY_EVENT}
    assert isinstance(signals.event_received, EventSignal)


OUTCOMES = ("received", "duplicated", "content_differs", "rejected", "processed", "failed")
MONITORING = [f"delivery_{outcome}" for outcome in OUTCOMES]


@pytest.mark.parametrize("name", MONITORING)
def test_the_signals_for_monitoring_are_plain_django_signals(name: str) -> None:
    assert type(getattr(signals, name)) is Signal


def test_the_same_name_always_gives_the_same_signal_published_or_not() -> None:
    assert signal_for("ticket.merged") is signal_for("ticket.merged")
    assert signal_for("ticket.merged") is not signal_for("ticket.Merged")
    assert signal_for("ticket.merged") is not signals.event_received


@pytest.mark.parametrize("name", ["", None, 7, b"ticket.created", ["ticket.created"], signals.ticket_created])
def test_a_signal_for_no_event_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="is not an event name"):
        signal_for(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ticket_created", "ticket.created"),
        ("Ticket.Created", "ticket.created"),
        ("TICKET.CREATED", "ticket.created"),
        ("ticketCreated", "ticket.created"),
        ("TicketCreated", "ticket.created"),
        ("ticket-created", "ticket.created"),
        ("ticket:created", "ticket.created"),
        ("ticket/created", "ticket.created"),
        ("ticket.created ", "ticket.created"),
        (".ticket.created", "ticket.created"),
        ("ticket..created", "ticket.created"),
        ("ticket.created.*", "ticket.created"),
    ],
)
def test_a_misspelled_event_is_refused_with_the_right_spelling(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"is not an event name. Did you mean '{meant}'"):
        signal_for(name)


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "ticket.*",
        "*.created",
        "ticket.?",
        "ticket.[a-z]+",
        "ticket.(created|closed)",
        "ticket.created,ticket.closed",
        "ticket.created;",
        "ticket merged",
        "ticket.merged\n",
        "ticket.\u200bmerged",
        "^ticket",
        "\x00",
    ],
)
def test_a_pattern_a_list_or_a_space_is_refused_with_what_to_do(name: str) -> None:
    problem = r"is not an event name(: there are no patterns.*event_received|. Did you mean)"
    with pytest.raises(ValueError, match=problem):
        signal_for(name)


def test_a_pattern_names_the_events_of_its_family() -> None:
    with pytest.raises(ValueError, match=r"\(broadcast.sent, broadcast.failed\)"):
        signal_for("broadcast.*")


@pytest.mark.parametrize(
    "name",
    ["ticket.merged", "ticket.Merged", "ping", "webhook.test", "order.line_item.created", "تذكرة.جديدة"],
)
def test_a_name_that_is_unknown_today_has_a_signal(name: str) -> None:
    assert signal_for(name).event == name


# Connecting


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (on_ticket, "on_ticket"),
        (on_ticket_async, "on_ticket_async"),
        (Board.of_class, "Board.of_class"),
        (Board.static, "Board.static"),
    ],
)
def test_djangos_decorator_connects_by_name(function: Callable[..., Any], name: str) -> None:
    assert receiver(signals.ticket_created)(function) == function

    assert [each.name for each in registry.for_event("ticket.created")] == [f"{HERE}.{name}"]


def test_djangos_decorator_connects_to_several_signals_and_with_a_dispatch_uid() -> None:
    receiver([signals.ticket_created, signals.ticket_closed], dispatch_uid="shop.tickets")(on_ticket)

    for event in ("ticket.created", "ticket.closed"):
        assert [each.name for each in registry.for_event(event)] == ["shop.tickets"]


def test_djangos_decorator_refuses_a_local_function() -> None:
    with pytest.raises(ReceiverError, match="no stable name"):

        @receiver(signals.ticket_created)
        def local(**kwargs: Any) -> None: ...

    assert not signals.ticket_created.has_listeners(Delivery)


def test_a_lambda_is_refused_and_not_connected() -> None:
    cases: list[dict[str, Any]] = [{}, {"weak": False}, {"dispatch_uid": "shop.stock"}]
    for options in cases:
        with pytest.raises(ReceiverError):
            signals.ticket_created.connect(lambda **kwargs: None, **options)

    assert not signals.ticket_created.has_listeners(Delivery)
    assert registry.for_event("ticket.created") == []


def test_a_receiver_may_ask_not_to_be_wrapped_in_a_transaction() -> None:
    receiver(signals.ticket_created, atomic=False)(on_ticket)
    signals.ticket_created.connect(on_ticket_async)

    assert [each.atomic for each in registry.for_event("ticket.created")] == [False, True]


def test_a_receiver_has_the_same_atomic_on_all_its_signals() -> None:
    signals.ticket_created.connect(on_ticket)

    with pytest.raises(ReceiverError, match=r"atomic=True.*atomic=False"):
        signals.event_received.connect(on_ticket, atomic=False)

    assert not signals.event_received.has_listeners(Delivery)


@pytest.mark.parametrize("sender", [Webhook, Run, object(), "nateq_webhooks.Delivery", 7, Delivery()])
def test_a_sender_that_never_sends_is_refused(sender: object) -> None:
    with pytest.raises(ReceiverError, match=r"never sends.*webhook_id"):
        signals.ticket_created.connect(on_ticket, sender=sender)


def test_the_delivery_class_may_be_named_as_the_sender() -> None:
    signals.ticket_created.connect(on_ticket, sender=Delivery)

    assert [each.name for each in registry.for_event("ticket.created")] == [f"{HERE}.on_ticket"]


# Disconnecting


@pytest.mark.parametrize("function", [on_ticket, Board.of_class], ids=["a function", "a class method"])
def test_a_receiver_is_disconnected_as_it_was_connected(function: Callable[..., Any]) -> None:
    signals.ticket_created.connect(function)

    assert signals.ticket_created.disconnect(function) is True

    assert registry.for_event("ticket.created") == []
    assert signals.ticket_created.disconnect(function) is False


def test_a_receiver_with_a_dispatch_uid_is_disconnected_with_it() -> None:
    signals.ticket_created.connect(lambda **kwargs: None, dispatch_uid="shop.stock", weak=False)

    assert signals.ticket_created.disconnect(dispatch_uid="shop.other") is False
    assert len(registry.for_event("ticket.created")) == 1

    assert signals.ticket_created.disconnect(dispatch_uid="shop.stock") is True
    assert registry.for_event("ticket.created") == []


@pytest.mark.parametrize(
    ("connected", "disconnected"),
    [
        pytest.param({"dispatch_uid": "shop.stock"}, {}, id="without the dispatch_uid"),
        pytest.param({"sender": Delivery}, {}, id="without the sender"),
        pytest.param({}, {"dispatch_uid": f"{HERE}.on_ticket"}, id="by its name as the dispatch_uid"),
    ],
)
def test_disconnect_returns_whether_the_receiver_is_disconnected(
    connected: dict[str, Any], disconnected: dict[str, Any]
) -> None:
    signals.ticket_created.connect(on_ticket, **connected)

    said = signals.ticket_created.disconnect(on_ticket, **disconnected)

    gone = not registry.for_event("ticket.created")
    assert gone is said
    assert signals.ticket_created.has_listeners(Delivery) is not said


def test_disconnecting_from_one_signal_leaves_the_other() -> None:
    signals.ticket_created.connect(on_ticket)
    signals.event_received.connect(on_ticket)

    signals.ticket_created.disconnect(on_ticket)

    assert [each.name for each in registry.for_event("ticket.created")] == [f"{HERE}.on_ticket"]


# Fired by a delivery


@pytest.mark.django_db
def test_a_receiver_gets_the_class_the_event_and_the_row(sender: Sender) -> None:
    signals.ticket_created.connect(on_ticket)

    sender.post(envelope())

    ((_, kwargs),) = calls
    assert kwargs["sender"] is Delivery
    assert kwargs["delivery"] == Delivery.objects.get()
    assert kwargs["event"] == Event(
        name="ticket.created",
        timestamp=datetime(2026, 6, 30, 12, tzinfo=UTC),
        organization_id="org_1",
        data={"id": "tkt_1", "subject": "Help"},
        delivery_id="dlv_1",
        attempt=1,
        version="1.0",
    )


@pytest.mark.django_db
@pytest.mark.parametrize("event", EVENTS)
def test_each_published_event_fires_its_own_signal_and_the_one_of_every_event(sender: Sender, event: str) -> None:
    for name in EVENTS:
        signal_for(name).connect(partial(note, name), dispatch_uid=f"test.{name}", weak=False)
    signals.event_received.connect(on_ticket)

    sender.post(envelope(event))

    assert called() == [event, "on_ticket"]


@pytest.mark.django_db
def test_an_event_unknown_today_fires_its_signal_and_the_one_of_every_event(sender: Sender) -> None:
    signal_for("ticket.merged").connect(on_ticket)
    signals.event_received.connect(on_ticket_async)
    signals.ticket_created.connect(Board.static)

    sender.post(envelope("ticket.merged"))

    assert called() == ["on_ticket", "on_ticket_async"]


@pytest.mark.django_db
def test_sync_async_class_and_static_receivers_all_run(sender: Sender) -> None:
    for function in (on_ticket, on_ticket_async, Board.of_class, Board.static):
        signals.ticket_created.connect(function)

    sender.post(envelope())

    assert called() == ["on_ticket", "on_ticket_async", "of_class of Board", "static"]
    assert Run.objects.filter(status=Run.Status.SUCCEEDED).count() == 4


@pytest.mark.django_db
def test_each_receiver_gets_its_own_copy_of_the_event_and_the_delivery(sender: Sender) -> None:
    seen: list[Any] = []

    def spoil(event: Event, delivery: Delivery, **kwargs: Any) -> None:
        seen.append(event.data.copy())
        event.data.clear()
        delivery.event = "spoilt"

    def look(event: Event, delivery: Delivery, **kwargs: Any) -> None:
        seen.append((event.data, delivery.event))

    signals.ticket_created.connect(spoil, dispatch_uid="spoil", weak=False)
    signals.ticket_created.connect(look, dispatch_uid="look", weak=False)

    sender.post(envelope())

    data = {"id": "tkt_1", "subject": "Help"}
    assert seen == [data, (data, "ticket.created")]


@pytest.mark.django_db
def test_a_receiver_of_two_signals_that_fire_for_one_delivery_runs_once_for_it(sender: Sender) -> None:
    signals.event_received.connect(on_ticket)
    signals.ticket_created.connect(on_ticket)

    sender.post(envelope())
    sender.post(envelope("lead.created", delivery_id="dlv_2"))

    assert called() == ["on_ticket", "on_ticket"]
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_a_disconnected_receiver_runs_no_more(sender: Sender) -> None:
    signals.ticket_created.connect(on_ticket)
    sender.post(envelope())
    signals.ticket_created.disconnect(on_ticket)

    sender.post(envelope(delivery_id="dlv_2"))

    assert called() == ["on_ticket"]


# Monitoring


@pytest.fixture
def monitored() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the signals for monitoring say, in order."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda **kwargs: seen.append((name, kwargs))

    for name in MONITORING:
        getattr(signals, name).connect(listener(name), dispatch_uid="test.monitored", weak=False)
    yield seen
    for name in MONITORING:
        getattr(signals, name).disconnect(dispatch_uid="test.monitored")


Monitored = list[tuple[str, dict[str, Any]]]


@pytest.mark.django_db
def test_a_new_delivery_sends_received_and_then_processed(sender: Sender, monitored: Monitored) -> None:
    signals.ticket_created.connect(on_ticket)

    sender.post(envelope())

    assert [name for name, _ in monitored] == ["delivery_received", "delivery_processed"]
    for _, kwargs in monitored:
        assert kwargs["sender"] is Delivery
        assert kwargs["delivery"] == Delivery.objects.get()


@pytest.mark.django_db
def test_a_delivery_without_receivers_sends_processed_and_a_repeated_one_duplicated_alone(
    sender: Sender, monitored: Monitored
) -> None:
    sender.post(envelope())
    sender.post(envelope(attempt=2))
    sender.post(b"[]")

    names = ["delivery_received", "delivery_processed", "delivery_duplicated", "delivery_received"]
    assert [name for name, _ in monitored] == names
    assert monitored[2][1]["delivery"].attempts_seen == 2


@pytest.mark.django_db
def test_a_refused_request_sends_its_reason_and_not_its_body(sender: Sender, monitored: Monitored) -> None:
    sender.post(envelope(), secret="wrong")

    ((name, kwargs),) = monitored
    assert name == "delivery_rejected"
    assert kwargs["sender"] is Delivery
    assert kwargs["webhook_id"] == sender.webhook.pk
    assert kwargs["reason"] == "no_match"
    assert kwargs["remote_addr"] == "127.0.0.1"
    assert "Help" not in repr(kwargs)


@pytest.mark.django_db
def test_a_failed_try_sends_no_signal_but_giving_up_does(sender: Sender, monitored: Monitored) -> None:
    def fails(**kwargs: Any) -> None:
        raise LookupError("no such customer")

    signals.ticket_created.connect(fails, dispatch_uid="fails", weak=False)

    sender.post(envelope())
    assert [name for name, _ in monitored] == ["delivery_received"]

    monitored.clear()
    with override_settings(NATEQ_WEBHOOKS={"MAX_TRIES": 1}):
        sender.post(envelope(delivery_id="dlv_2"))

    assert [name for name, _ in monitored] == ["delivery_received", "delivery_failed"]
    assert monitored[1][1]["delivery"].status == Delivery.Status.DEAD


@pytest.mark.django_db
def test_a_monitoring_receiver_that_raises_changes_no_answer_and_stops_no_other(
    sender: Sender, monitored: Monitored
) -> None:
    def fails(**kwargs: Any) -> None:
        raise LookupError("the monitor is down")

    every = [signals.delivery_received, signals.delivery_duplicated, signals.delivery_processed]
    signals.ticket_created.connect(on_ticket)
    for signal in every:
        signal.connect(fails, dispatch_uid="test.fails", weak=False)
    try:
        statuses = [sender.post(envelope(attempt=attempt)).status_code for attempt in (1, 2)]
    finally:
        for signal in every:
            signal.disconnect(dispatch_uid="test.fails")

    assert statuses == [200, 200]
    assert [name for name, _ in monitored] == ["delivery_received", "delivery_processed", "delivery_duplicated"]
