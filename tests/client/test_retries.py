"""When a call is made again, how long it waits before, and how it keeps to the limit."""

import logging
import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from nateq_webhooks.client import NateqClient
from nateq_webhooks.client.limits import count, requested_wait
from nateq_webhooks.errors import (
    ApiError,
    NateqConfigurationError,
    NateqConnectionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
)
from tests.client.conftest import KEY
from tests.client.scripted import Asked, FakeTime, Say, ScriptedServer, refused, wrapped

OK = Say(200, wrapped([], total=0))
WRITES: list[Callable[[NateqClient], Any]] = [
    lambda client: client.webhooks.create(url="https://shop.example/", events=["a.b"]),
    lambda client: client.webhooks.update("wh_1", is_active=False),
    lambda client: client.webhooks.delete("wh_1"),
    lambda client: client.webhooks.rotate_secret("wh_1"),
]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_read_is_made_three_times(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime, status: int
) -> None:
    server.says(Say(status))

    with pytest.raises(ApiError) as raised:
        client.webhooks.list()

    assert raised.value.status == status
    assert len(server.asked) == 3
    assert len(fake_time.slept) == 2
    assert 0 <= fake_time.slept[0] <= 0.5
    assert 0 <= fake_time.slept[1] <= 1.0


@pytest.mark.parametrize("trouble", [Say(503), Say(408), Say(429), Say(hang_up=True)])
def test_a_read_that_works_at_last_is_as_if_nothing_had_been(
    client: NateqClient, server: ScriptedServer, trouble: Say
) -> None:
    server.says(trouble, trouble, OK)

    assert client.webhooks.list() == []
    assert len(server.asked) == 3


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("trouble", [Say(408), Say(500), Say(503, headers={"Retry-After": "1"}), Say(hang_up=True)])
def test_a_write_that_may_have_happened_is_not_made_again(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime, write: Callable[[NateqClient], Any], trouble: Say
) -> None:
    server.says(trouble)

    with pytest.raises((NateqServerError, NateqTimeoutError, NateqConnectionError)) as raised:
        write(client)

    assert raised.value.is_ambiguous
    assert len(server.asked) == 1
    assert fake_time.slept == []


@pytest.mark.parametrize("write", WRITES)
def test_a_write_over_the_limit_was_not_done_and_is_made_again(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime, write: Callable[[NateqClient], Any]
) -> None:
    answer = Say(200, wrapped({"id": "wh_1", "secret": "whsec_1_0123456789abcdef"}))
    server.says(Say(429, refused("RATE_LIMIT_EXCEEDED"), {"Retry-After": "7"}), answer)

    write(client)

    assert len(server.asked) == 2
    assert fake_time.slept == [7]


@pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 501])
def test_what_will_not_change_is_not_asked_again(client: NateqClient, server: ScriptedServer, status: int) -> None:
    server.says(Say(status))

    with pytest.raises(ApiError):
        client.webhooks.events()
    assert len(server.asked) == (3 if status == 501 else 1)


def test_the_waits_double_to_eight_seconds_with_full_jitter(server: ScriptedServer) -> None:
    server.says(Say(500))
    time = FakeTime()
    with (
        NateqClient(KEY, server.base_url, retries=60, sleep=time.sleep, clock=time.clock) as client,
        pytest.raises(NateqServerError),
    ):
        client.webhooks.events()

    ceilings = [0.5, 1, 2, 4] + [8] * 56
    assert len(time.slept) == 60
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(time.slept, ceilings, strict=True))
    assert min(time.slept[4:]) < 3  # full jitter: not only the upper half
    assert max(time.slept[4:]) > 5


def test_without_retries_a_call_is_made_once(server: ScriptedServer) -> None:
    server.says(Say(503))
    with NateqClient(KEY, server.base_url, retries=0) as client, pytest.raises(NateqServerError):
        client.webhooks.events()
    assert len(server.asked) == 1


def test_retry_after_is_honoured_up_to_a_minute(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime
) -> None:
    details = {"limit": 100, "window": "1 minute", "retry_after_seconds": 3600}
    server.says(Say(429, refused("RATE_LIMIT_EXCEEDED", details=details), {"Retry-After": "3600"}))

    with pytest.raises(NateqRateLimitError, match="asks the client to wait 3600 s") as raised:
        client.webhooks.events()

    assert raised.value.retry_after == 3600
    assert raised.value.details == details
    assert fake_time.slept == [60, 60]


def test_the_details_say_how_long_where_the_header_does_not(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime
) -> None:
    server.says(Say(429, refused("RATE_LIMIT_EXCEEDED", details={"retry_after_seconds": 9})), OK)

    client.webhooks.events()

    assert fake_time.slept == [9]


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "inf", "1e9", "", "12 parsecs", "9" * 40, "٣", "None"])
def test_a_retry_after_that_says_nothing_is_as_none(value: str) -> None:
    assert requested_wait(value, None) is None


def test_a_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)

    assert 25 < (requested_wait(format_datetime(later, usegmt=True), None) or 0) <= 30
    assert requested_wait("Wed, 21 Oct 2015 07:28:00 GMT", None) == 0
    assert requested_wait("Wed, 21 Oct 2015 07:28:00 -0000", None) == 0


@pytest.mark.parametrize(
    ("header", "number"), [("0", 0), ("17", 17), (None, None), ("-1", None), ("x", None), ("²", None)]
)
def test_a_header_that_counts_is_read_or_left(header: str | None, number: int | None) -> None:
    assert count(header) == number


def test_the_waiting_is_logged(client: NateqClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    server.says(Say(503), OK)

    with caplog.at_level(logging.INFO, "nateq_webhooks"):
        client.webhooks.list()

    assert "GET /webhooks failed: NateqServerError, retrying in" in caplog.text


class Minutes:
    """A server with a limit, in fixed minutes of its own or in a minute that slides."""

    def __init__(self, time: FakeTime, *, limit: int, slides: bool = False, started: float = 0) -> None:
        self.time, self.limit, self.slides = time, limit, slides
        self.started = time.now - started
        self.taken: list[float] = []
        self.refusals = 0

    def __call__(self, asked: Asked) -> Say:
        now = self.time.now
        if self.slides:
            self.taken = [moment for moment in self.taken if moment > now - 60]
        elif now - self.started >= 60:
            self.started, self.taken = now, []
        headers = {"X-RateLimit-Limit": str(self.limit)}
        if len(self.taken) >= self.limit:
            self.refusals += 1
            wait = (self.taken[0] if self.slides else self.started) + 60 - now
            return Say(429, refused("RATE_LIMIT_EXCEEDED"), headers | {"Retry-After": str(max(1, math.ceil(wait)))})
        self.taken.append(now)
        self.time.now += 0.01
        headers["X-RateLimit-Remaining"] = str(self.limit - len(self.taken))
        return Say(200, wrapped([]), headers)


@pytest.mark.parametrize("started", [0, 30, 59])
def test_a_client_slows_down_before_it_is_refused(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime, started: float
) -> None:
    limit = Minutes(fake_time, limit=20, started=started)
    server.script = limit

    for _ in range(70):
        client.webhooks.events()

    assert limit.refusals == 0
    assert all(0 < wait <= 60 for wait in fake_time.slept)
    assert 3 <= len(fake_time.slept) <= 4


def test_a_client_keeps_to_a_minute_that_slides(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime
) -> None:
    limit = Minutes(fake_time, limit=20, slides=True)
    server.script = limit

    began = fake_time.now
    for _ in range(100):
        client.webhooks.events()

    assert limit.refusals <= 5
    assert fake_time.now - began < 5 * 60 + 60


def test_requests_are_not_held_up_while_some_are_left(
    client: NateqClient, server: ScriptedServer, fake_time: FakeTime
) -> None:
    server.says(Say(200, wrapped([]), {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "1"}))

    for _ in range(5):
        client.webhooks.events()

    assert fake_time.slept == []


def test_a_429_says_itself_how_long_to_wait(client: NateqClient, server: ScriptedServer, fake_time: FakeTime) -> None:
    spent = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0"}
    server.says(Say(429, refused("RATE_LIMIT_EXCEEDED"), spent | {"Retry-After": "3"}), OK)

    client.webhooks.events()

    assert fake_time.slept == [3]


def test_closing_ends_the_wait_of_another_thread(server: ScriptedServer) -> None:
    asked = threading.Event()
    server.says(Say(429, headers={"Retry-After": "60"}, act=asked.set))
    client = NateqClient(KEY, server.base_url)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            client.webhooks.events()
        except NateqConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert asked.wait(60)
    client.close()
    thread.join(60)

    assert not thread.is_alive()
    # Closed while it waited, or while the answer was still being read.
    assert [type(error) for error in errors] == [NateqConfigurationError]


def test_threads_share_a_client(client: NateqClient, server: ScriptedServer) -> None:
    server.script = lambda asked: Say(200, wrapped({"id": asked.path.rpartition("/")[2]}))
    results: dict[int, list[str]] = {}

    def call(number: int) -> None:
        results[number] = [client.webhooks.get(f"wh_{number}_{turn}").id for turn in range(10)]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert results == {number: [f"wh_{number}_{turn}" for turn in range(10)] for number in range(6)}
