"""Messages to a broker: sent by a thread, dropped while the broker does not work, and never waited for."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nateq_webhooks.runners import notifier as module
from nateq_webhooks.runners.notifier import BackgroundNotifier
from tests.conftest import wait_until
from tests.runners.processes import run

SEND_TIMEOUT = 0.1
PAUSE = 0.3


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT_SECONDS", SEND_TIMEOUT)
    monkeypatch.setattr(module, "FIRST_SEND_TIMEOUT_SECONDS", SEND_TIMEOUT)
    monkeypatch.setattr(module, "PAUSE_SECONDS", PAUSE)


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """What a broker that stays silent waits for; it ends with the test."""
    event = threading.Event()
    yield event
    event.set()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def after(seconds: float) -> Callable[[], bool]:
    """Return a condition that becomes true after so long."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def test_each_is_sent_in_order_by_another_thread() -> None:
    sent: list[tuple[int, str]] = []
    notifier = BackgroundNotifier(lambda pk: sent.append((pk, threading.current_thread().name)))

    for pk in range(50):
        assert notifier.notify(pk)

    wait_until(lambda: len(sent) == 50)
    assert sent == [(pk, "nateq_webhooks notifier") for pk in range(50)]


def test_the_caller_never_waits_for_a_silent_broker(silence: threading.Event) -> None:
    notifier = BackgroundNotifier(lambda pk: silence.wait())

    began = time.monotonic()
    for pk in range(5_000):
        notifier.notify(pk)

    assert time.monotonic() - began < 60  # each would wait for half a second


def test_a_silent_broker_is_warned_of_once_and_not_notified_for_a_while(
    silence: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[int] = []

    def send(pk: int) -> None:
        started.append(pk)
        silence.wait()

    notifier = BackgroundNotifier(send)
    assert notifier.notify(1)
    wait_until(lambda: started == [1])
    wait_until(after(SEND_TIMEOUT))

    assert [notifier.notify(pk) for pk in (2, 3, 4)] == [False, False, False]

    (said,) = warnings_in(caplog)
    assert said.startswith("The broker can't be notified of new deliveries: it has not answered for 0.")
    assert "They are stored; a worker or the next recovery finds them." in said
    assert started == [1]


def test_a_broker_that_refuses_is_warned_of_once_and_not_notified_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def send(pk: int) -> None:
        tried.append(pk)
        raise ConnectionRefusedError

    notifier = BackgroundNotifier(send)
    notifier.notify(1)
    wait_until(lambda: not notifier.notify(2))

    assert not notifier.notify(3)
    assert tried == [1]
    (said,) = warnings_in(caplog)
    assert "ConnectionRefusedError" in said


def test_the_first_send_of_a_process_may_take_longer_and_drops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It imports the client and connects: 0.1 to 0.5 s with Celery."""
    monkeypatch.setattr(module, "FIRST_SEND_TIMEOUT_SECONDS", 60)
    connected, started, sent = threading.Event(), threading.Event(), []

    def send(pk: int) -> None:
        started.set()
        connected.wait(60)
        sent.append(pk)

    notifier = BackgroundNotifier(send)
    assert notifier.notify(1)
    assert started.wait(60)
    wait_until(after(3 * SEND_TIMEOUT))
    assert all(notifier.notify(pk) for pk in (2, 3, 4))
    connected.set()

    wait_until(lambda: sent == [1, 2, 3, 4])
    assert warnings_in(caplog) == []


def test_a_later_send_that_takes_as_long_has_failed(monkeypatch: pytest.MonkeyPatch, silence: threading.Event) -> None:
    monkeypatch.setattr(module, "FIRST_SEND_TIMEOUT_SECONDS", 60)
    sent: list[int] = []

    def send(pk: int) -> None:
        sent.append(pk)
        if pk != 1:
            silence.wait()

    notifier = BackgroundNotifier(send)
    notifier.notify(1)
    wait_until(lambda: sent == [1])
    notifier.notify(2)
    wait_until(lambda: sent == [1, 2])
    wait_until(after(SEND_TIMEOUT))

    assert not notifier.notify(3)


def test_after_the_pause_it_is_tried_again() -> None:
    sent: list[int] = []

    def send(pk: int) -> None:
        if not sent:
            sent.append(-pk)
            raise ConnectionRefusedError
        sent.append(pk)

    notifier = BackgroundNotifier(send)
    notifier.notify(1)
    wait_until(lambda: not notifier.notify(2))
    wait_until(after(PAUSE))

    assert notifier.notify(3)
    wait_until(lambda: sent == [-1, 3])


def test_after_the_pause_it_is_tried_again_even_if_the_first_send_never_ends(silence: threading.Event) -> None:
    """Else one connection that a firewall forgot would end the messages of a process for good."""
    sent: list[int] = []

    def send(pk: int) -> None:
        if pk == 1:
            sent.append(-1)
            silence.wait()
        sent.append(pk)

    notifier = BackgroundNotifier(send)
    notifier.notify(1)
    wait_until(lambda: sent == [-1])
    notifier.notify(2)
    wait_until(after(SEND_TIMEOUT))
    assert not notifier.notify(3)
    wait_until(after(PAUSE))

    assert notifier.notify(4)

    wait_until(lambda: sent == [-1, 4])


def test_sends_that_never_end_do_not_add_up_without_bound(
    silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_SEND_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    inside: list[int] = []

    def send(pk: int) -> None:
        inside.append(pk)
        silence.wait()

    notifier = BackgroundNotifier(send)

    def notify_until_it_hangs(number: int) -> bool:
        notifier.notify(len(inside))
        return len(inside) >= number

    wait_until(lambda: notify_until_it_hangs(module.MAX_HUNG))
    more = after(0.3)
    wait_until(lambda: notify_until_it_hangs(module.MAX_HUNG + 1) or more())

    assert len(inside) == module.MAX_HUNG


def test_once_the_hung_sends_have_ended_it_goes_on() -> None:
    silence, sent = threading.Event(), []

    def send(pk: int) -> None:
        silence.wait()
        sent.append(pk)

    notifier = BackgroundNotifier(send)
    notifier.notify(1)
    wait_until(after(SEND_TIMEOUT * 1.5))
    assert not notifier.notify(2)
    silence.set()
    wait_until(after(PAUSE))

    notifier.notify(3)

    wait_until(lambda: sent == [1, 3])


def test_no_more_wait_than_it_can_hold(silence: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 10)
    monkeypatch.setattr(module, "FIRST_SEND_TIMEOUT_SECONDS", 60)
    notifier = BackgroundNotifier(lambda pk: silence.wait())

    taken = sum(notifier.notify(pk) for pk in range(100))

    assert 10 <= taken <= 11


FORK = """
import os, sys
from nateq_webhooks.runners.notifier import BackgroundNotifier
from tests.conftest import wait_until
sent = []
notifier = BackgroundNotifier(sent.append)
notifier.notify(1)
wait_until(lambda: sent == [1])
child = os.fork()
if child == 0:
    notifier.notify(2)
    wait_until(lambda: sent == [1, 2])
    print("the child has sent its own", flush=True)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.django_db
def test_a_process_that_was_forked_has_a_thread_of_its_own() -> None:
    """As gunicorn's workers are, with `preload_app`."""
    assert "the child has sent its own" in run("-W", "ignore", "-c", f"import django; django.setup()\n{FORK}")
