"""A scripted server, time that nobody waits for, and a client of both."""

from collections.abc import Iterator

import pytest

from nateq_webhooks.client import NateqClient
from tests.client.scripted import FakeTime, ScriptedServer, scripted_server

KEY = "tg_test_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"
REFUSED_KEYS = ["wrong_prefix_0123456789", "tg_test_with space_0123", "tg_test_0123456789\n"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATEQ_API_KEY", "NATEQ_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def client(server: ScriptedServer, fake_time: FakeTime) -> Iterator[NateqClient]:
    with NateqClient(KEY, server.base_url, sleep=fake_time.sleep, clock=fake_time.clock) as client:
        yield client
