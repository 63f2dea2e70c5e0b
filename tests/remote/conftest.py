"""A sandbox, the settings that point to it, and what both sides have."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Webhook
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import SharedSandbox

KEY = "tg_test_0123456789abcdef"
SITE = "http://127.0.0.1:8000"


@pytest.fixture
def sandbox(shared_sandbox: SharedSandbox) -> Sandbox:
    return shared_sandbox(key=KEY, retry_base=0.05, rate_limit=1_000_000, seed=7)


@contextmanager
def connected(sandbox: Sandbox) -> Iterator[NateqClient]:
    """Let the site use a sandbox, and connect to it."""
    with (
        override_settings(NATEQ_WEBHOOKS={"API_KEY": KEY, "BASE_URL": sandbox.base_url, "PUBLIC_URL": SITE}),
        remote.connect() as client,
    ):
        yield client


@pytest.fixture
def nateq(sandbox: Sandbox) -> Iterator[NateqClient]:
    with connected(sandbox) as client:
        yield client


@pytest.fixture
def registered(nateq: NateqClient) -> Webhook:
    return remote.register(nateq, "shop", ["ticket.created"]).webhook


@pytest.fixture
def run(nateq: NateqClient) -> Callable[..., Any]:
    """Run `manage.py nateq_webhook ... --json` and return what it writes."""

    def call(*arguments: str, command: str = "nateq_webhook") -> Any:
        out, err = StringIO(), StringIO()
        call_command(command, *arguments, "--json", stdout=out, stderr=err)
        assert KEY not in out.getvalue() + err.getvalue()
        for secret in Webhook.objects.values_list("secret", flat=True):
            assert secret not in out.getvalue() + err.getvalue()
        return json.loads(out.getvalue()) if out.getvalue() else None

    return call


def both_sides_agree(sandbox: Sandbox, name: str = "shop") -> None:
    """Assert that there is exactly one webhook on each side, with one id, URL and secret."""
    here, there = Webhook.objects.get(), sandbox.webhooks.all()
    assert [each.id for each in there] == [here.nateq_id]
    assert here.name == name
    assert here.registration == Webhook.Registration.REGISTERED
    assert there[0].secret == here.secret
    assert there[0].is_active
    assert here.is_active
    assert there[0].url.endswith(here.get_absolute_url())
    assert here.claim == ""


def text(*arguments: str, command: str = "nateq_webhook") -> str:
    """Run a command and return what it writes for a person, which has no secret in it."""
    out = StringIO()
    call_command(command, *arguments, stdout=out, stderr=out)
    for secret in Webhook.objects.values_list("secret", flat=True):
        assert secret not in out.getvalue()
    assert KEY not in out.getvalue()
    return out.getvalue()
