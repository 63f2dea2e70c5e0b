"""A log that is read while it grows: nothing missed, nothing twice."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import NateqUnexpectedAnswerError
from tests.client.scripted import Asked, Say, ScriptedServer, wrapped

START = datetime(2026, 6, 30, tzinfo=UTC)


class Log:
    """A log at the server, newest first; `before_page` may change it, and says what it lists."""

    def __init__(self, entries: int, *, with_ids: bool = True, per_second: int = 1) -> None:
        self.with_ids, self.per_second = with_ids, per_second
        self.count = 0
        self.entries: list[dict[str, Any]] = []
        self.add(entries)
        self.before_page: Callable[[int], object] = lambda page: None
        self.pages = 0
        self.cap = 100
        self.says_total = True

    def add(self, number: int) -> None:
        for _ in range(number):
            self.count += 1
            moment = START + timedelta(seconds=self.count // self.per_second)
            entry = {"delivery_id": f"dlv_{self.count // 2}", "attempt": 1 + self.count % 2, "event": "ticket.created"}
            entry |= {"attempted_at": moment.isoformat()}
            if self.with_ids:
                entry["id"] = f"log_{self.count}"
            self.entries.insert(0, entry)

    @property
    def names(self) -> list[tuple[str, int]]:
        return [(entry["delivery_id"], entry["attempt"]) for entry in self.entries]

    def __call__(self, asked: Asked) -> Say:
        self.before_page(self.pages)
        self.pages += 1
        limit, offset = min(int(asked.query["limit"]), self.cap), int(asked.query["offset"])
        page = self.entries[offset : offset + limit]
        return Say(200, wrapped(page, **({"total": len(self.entries)} if self.says_total else {})))


def read(client: NateqClient) -> list[tuple[str, int | None]]:
    return [(entry.delivery_id, entry.attempt) for entry in client.webhooks.logs("wh_1")]


@pytest.mark.parametrize("says_total", [True, False])
@pytest.mark.parametrize(
    ("cap", "entries"),
    [
        (cap, entries)
        for cap in (1, 2, 3, 10, 50, 100)
        for entries in (0, 1, 2, 9, 50, 51, 100, 101, 250)
        if entries < 9 * cap
    ],
)
def test_a_log_that_stands_still_is_read_whole_and_in_order(
    client: NateqClient, server: ScriptedServer, entries: int, cap: int, says_total: bool
) -> None:
    server.script = log = Log(entries)
    log.cap, log.says_total = cap, says_total

    assert read(client) == log.names


@pytest.mark.parametrize("says_total", [True, False])
@pytest.mark.parametrize("arriving", [1, 89, 90, 91, 100, 250])
@pytest.mark.parametrize("with_ids", [True, False])
def test_entries_that_arrive_between_pages_hide_and_repeat_nothing(
    client: NateqClient, server: ScriptedServer, arriving: int, says_total: bool, with_ids: bool
) -> None:
    server.script = log = Log(430, with_ids=with_ids)
    log.says_total = says_total
    at_start = log.names
    log.before_page = lambda page: log.add(arriving) if 0 < page < 6 else None

    got = read(client)

    assert len(set(got)) == len(got)
    assert got == at_start


@pytest.mark.parametrize("seed", range(5))
def test_arrivals_and_removals_at_random_hide_nothing_that_stayed(
    client: NateqClient, server: ScriptedServer, seed: int
) -> None:
    chance = random.Random(seed)
    server.script = log = Log(600, per_second=chance.choice([1, 20, 1000]))
    log.cap, log.says_total = chance.choice([20, 50, 100]), chance.random() < 0.5
    at_start = log.names

    def change(page: int) -> None:
        if 0 < page < 30:
            log.add(chance.choice([0, 0, 1, 30]))
            first = chance.randrange(len(log.entries))
            del log.entries[first : first + chance.choice([0, 0, 1, 15])]

    log.before_page = change
    got = read(client)

    assert len(set(got)) == len(got)
    assert set(log.names) & set(at_start) <= set(got)


@pytest.mark.parametrize("gone", [5, 10, 11, 50, 99, 100, 150, 300])
def test_entries_removed_at_the_front_hide_none_behind_them(
    client: NateqClient, server: ScriptedServer, gone: int
) -> None:
    server.script = log = Log(500)
    at_start = log.names

    def purge(page: int) -> None:
        if page == 2:
            del log.entries[:gone]

    log.before_page = purge

    assert read(client) == [*at_start[:190], *[name for name in at_start[190:] if name in set(log.names)]]


@pytest.mark.parametrize("arriving", [1, 30, 90, 91, 100, 250])
@pytest.mark.parametrize("per_second", [2, 50, 400])
def test_arrivals_of_the_same_moment_as_the_first_entry_hide_and_repeat_nothing(
    client: NateqClient, server: ScriptedServer, arriving: int, per_second: int
) -> None:
    server.script = log = Log(230, per_second=per_second)
    at_start = log.names
    log.before_page = lambda page: log.add(arriving) if 0 < page < 4 else None

    got = read(client)

    assert len(set(got)) == len(got)
    assert [name for name in got if name in set(at_start)] == at_start


def test_a_reader_slower_than_the_log_grows_comes_to_its_end(client: NateqClient, server: ScriptedServer) -> None:
    server.script = log = Log(300)
    at_start = log.names
    got = []
    for entry in client.webhooks.logs("wh_1"):
        got.append((entry.delivery_id, entry.attempt))
        log.add(4)

    assert got == at_start


def test_a_log_in_order_of_deliveries_is_read_whole(client: NateqClient, server: ScriptedServer) -> None:
    """A late attempt of an early delivery stands far down, and is newer than the first entry of all."""
    server.script = log = Log(300)
    log.before_page = lambda page: log.add(3) if page else None
    log.entries[150]["attempted_at"] = (START + timedelta(days=1)).isoformat()
    at_start = log.names

    assert read(client) == at_start


def test_a_log_cut_down_to_nothing_ends(client: NateqClient, server: ScriptedServer) -> None:
    server.script = log = Log(500)
    at_start = log.names
    log.before_page = lambda page: log.entries.clear() if page == 1 else None

    assert read(client) == at_start[:100]


def test_entries_of_the_same_time_are_distinguished(client: NateqClient, server: ScriptedServer) -> None:
    server.script = log = Log(300, with_ids=False, per_second=10_000)
    log.before_page = lambda page: log.add(20) if page else None
    at_start = log.names

    assert read(client) == at_start


def test_attempts_that_share_an_id_or_a_number_are_all_read(client: NateqClient, server: ScriptedServer) -> None:
    entries = [
        {"id": "dlv_1", "delivery_id": "dlv_1", "attempt": attempt, "attempted_at": f"2026-06-30T12:00:0{second}Z"}
        for attempt, second in [(3, 3), (2, 2), (1, 1), (1, 0)]
    ]
    entries += [{"delivery_id": "dlv_2", "attempt": 1, "status": status} for status in ("failed", "delivered")]
    server.says(Say(200, wrapped(entries, total=len(entries))))

    assert len(read(client)) == 6


def test_pages_are_fetched_as_they_are_needed(client: NateqClient, server: ScriptedServer) -> None:
    server.script = log = Log(1000)

    entries = client.webhooks.logs("wh_1")
    assert log.pages == 0
    next(entries)
    assert log.pages == 1
    for _ in range(99):
        next(entries)
    assert log.pages == 1
    next(entries)
    assert log.pages == 2
    assert server.asked[1].query == {"limit": "100", "offset": "90"}


@pytest.mark.parametrize("name", ["next_cursor", "nextCursor"])
def test_a_cursor_is_followed(client: NateqClient, server: ScriptedServer, name: str) -> None:
    log = Log(250)

    def script(asked: Asked) -> Say:
        first = int(asked.query.get("cursor", "c0")[1:])
        following = f"c{first + 100}" if first + 100 < 250 else None
        return Say(200, wrapped(log.entries[first : first + 100], total=250, **{name: following}))

    server.script = script

    assert read(client) == log.names
    assert [asked.query for asked in server.asked] == [
        {"limit": "100", "offset": "0"},
        {"limit": "100", "cursor": "c100"},
        {"limit": "100", "cursor": "c200"},
    ]


def test_cursors_in_a_circle_end_in_an_error(
    client: NateqClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.client.paging.MAX_IDLE_PAGES", 5)
    server.says(Say(200, wrapped([{"id": "log_1"}], next_cursor="again")))

    with pytest.raises(NateqUnexpectedAnswerError, match="does not end"):
        read(client)
    assert len(server.asked) == 7


def test_a_server_without_pages_is_read_once(client: NateqClient, server: ScriptedServer) -> None:
    log = Log(137)
    server.says(Say(200, log.entries))

    assert read(client) == log.names
    assert len(server.asked) <= 3


def test_a_server_that_rounds_the_offset_to_pages_is_read_whole(client: NateqClient, server: ScriptedServer) -> None:
    log = Log(431)

    def script(asked: Asked) -> Say:
        first = int(asked.query["offset"]) // 100 * 100
        return Say(200, wrapped(log.entries[first : first + 100]))

    server.script = script

    assert read(client) == log.names


def test_an_oldest_first_log_is_read_whole(client: NateqClient, server: ScriptedServer) -> None:
    log = Log(250)
    log.entries.reverse()
    server.script = log

    assert read(client) == log.names


def test_the_list_of_webhooks_is_complete_while_one_is_added(client: NateqClient, server: ScriptedServer) -> None:
    webhooks = [{"id": f"wh_{number}"} for number in range(230)]

    def script(asked: Asked) -> Say:
        limit, offset = int(asked.query["limit"]), int(asked.query["offset"])
        if offset:
            webhooks.insert(0, {"id": f"new_{offset}"})
        return Say(200, wrapped(webhooks[offset : offset + limit], total=len(webhooks)))

    server.script = script

    assert [webhook.id for webhook in client.webhooks.list()] == [f"wh_{number}" for number in range(230)]


def test_thousands_of_arrivals_between_two_pages_are_neither_returned_nor_repeated(
    client: NateqClient, server: ScriptedServer
) -> None:
    server.script = log = Log(230)
    at_start = log.names
    log.before_page = lambda page: log.add(3_000) if page == 1 else None

    assert read(client) == at_start
