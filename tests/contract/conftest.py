"""The client and the sandbox, against each other over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nateq_webhooks.client import CreatedWebhook, NateqClient
from nateq_webhooks.sandbox import Sandbox
from tests.client.scripted import FakeTime

KEY = "tg_test_0123456789abcdefghijklmnopqrstuvwxyz"
URL = "https://shop.example/nateq/"
EVENTS = ["ticket.created", "ticket.closed"]

Connect = Callable[..., NateqClient]


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def connect(fake_time: FakeTime) -> Iterator[Connect]:
    """Connect clients to sandboxes; waiting takes them no time."""
    with ExitStack() as stack:

        def connect_one(sandbox: Sandbox, key: str = KEY, *, path: str = "") -> NateqClient:
            client = NateqClient(key, sandbox.base_url + path, sleep=fake_time.sleep, clock=fake_time.clock)
            return stack.enter_context(client)

        yield connect_one


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(key=KEY, retry_base=0.05, rate_limit=10_000, seed=7) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox, connect: Connect) -> NateqClient:
    return connect(sandbox)


@pytest.fixture
def created(client: NateqClient) -> CreatedWebhook:
    return client.webhooks.create(url=URL, events=EVENTS)
