"""The client against the sandbox and against this site's API, over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nateq_webhooks.client import CreatedWebhook, NateqClient
from nateq_webhooks.sandbox import Sandbox
from tests.client.scripted import FakeTime
from tests.conftest import SharedSandbox
from tests.contract.servers import SandboxServer, Server, site_server

KEY = "tg_test_0123456789abcdefghijklmnopqrstuvwxyz"
URL = "https://shop.example/nateq/7c9e6679-7425-40de-944b-e07fc1f90ae7/"
EVENTS = ["ticket.created", "ticket.closed"]

Connect = Callable[..., NateqClient]


class SandboxTime(FakeTime):
    """A clock that the rate limit of a sandbox follows, if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._began = self.now
        self._sandbox: Sandbox | None = None

    def lead(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.move(0)

    def move(self, seconds: float) -> None:
        self.now += seconds
        if self._sandbox is not None:
            self._sandbox._control.call("stop_clock", at=self.now - self._began)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.move(0)


@pytest.fixture
def fake_time() -> SandboxTime:
    return SandboxTime()


@pytest.fixture
def connect(fake_time: SandboxTime) -> Iterator[Connect]:
    """Connect clients to servers; waiting takes them no time."""
    with ExitStack() as stack:

        def connect_one(server: Sandbox | Server, key: str = KEY, *, path: str = "") -> NateqClient:
            client = NateqClient(key, server.base_url + path, sleep=fake_time.sleep, clock=fake_time.clock)
            return stack.enter_context(client)

        yield connect_one


@pytest.fixture
def sandbox(shared_sandbox: SharedSandbox) -> Sandbox:
    return shared_sandbox(key=KEY, retry_base=0.05, rate_limit=10_000, seed=7)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """What the client calls: the sandbox, unless a test is marked `BOTH`."""
    if getattr(request, "param", "sandbox") == "sandbox":
        yield SandboxServer(request.getfixturevalue("sandbox"), KEY)
        return
    with site_server() as site:
        yield site


@pytest.fixture
def client(server: Server, connect: Connect) -> NateqClient:
    return connect(server, server.key)


@pytest.fixture
def created(client: NateqClient) -> CreatedWebhook:
    return client.webhooks.create(url=URL, events=EVENTS)
