"""A sandbox with quick retries, a receiver, and a client of its API."""

from collections.abc import Iterator

import httpx
import pytest

from nateq_webhooks.sandbox import Sandbox
from nateq_webhooks.sandbox.webhooks import SandboxWebhook
from tests.sandbox.receiver import Receiver

KEY = "tg_test_local"
TLS = httpx.create_ssl_context()  # loaded once: it takes longer than a test


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def session_sandbox() -> Iterator[Sandbox]:
    """One process for all tests of this folder; a test with options of its own starts another."""
    with Sandbox(key=KEY, retry_base=0.02, seed=7) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(session_sandbox: Sandbox) -> Sandbox:
    session_sandbox.reset()
    return session_sandbox


@pytest.fixture
def webhook(sandbox: Sandbox, receiver: Receiver) -> SandboxWebhook:
    return sandbox.webhooks.create(receiver.url, ["ticket.created", "ticket.closed"])


def client_of(sandbox: Sandbox, key: str | None = None) -> httpx.Client:
    return httpx.Client(
        base_url=sandbox.base_url,
        headers={"Authorization": f"Bearer {key or sandbox.key}"},
        trust_env=False,
        timeout=120,
        verify=TLS,
    )


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with client_of(sandbox) as client:
        yield client


@pytest.fixture
def screen(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A browser without JavaScript: it follows redirects."""
    with httpx.Client(base_url=sandbox.url, follow_redirects=True, trust_env=False, verify=TLS) as client:
        yield client
