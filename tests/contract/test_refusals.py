"""Every refusal, and the error that the client makes of it: the sandbox's, and where marked `BOTH` this site's, too.

Faults and withheld operations are the sandbox's only; `test_site` has the other refusals of this site.
"""

from functools import partial
from typing import Any

import pytest

from nateq_webhooks.client import CreatedWebhook, NateqClient
from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqConnectionError,
    NateqNotFoundError,
    NateqNotOfferedError,
    NateqPermissionError,
    NateqRateLimitError,
    NateqServerError,
    NateqValidationError,
)
from nateq_webhooks.sandbox import Fault, Sandbox
from tests.client.scripted import FakeTime
from tests.conftest import SharedSandbox
from tests.contract.calls import ABOUT_ONE, CALLS, READS, WRITES
from tests.contract.conftest import EVENTS, KEY, URL, Connect, SandboxTime
from tests.contract.servers import BOTH, Server


def refused(error_class: type[ApiError], client: NateqClient, name: str, id: str = "wh_0") -> ApiError:
    """Make a call that must be refused; return the error, in which the key must not be."""
    with pytest.raises(error_class) as raised:
        CALLS[name](client, id)
    assert type(raised.value) is error_class
    assert "0123456789" not in f"{raised.value!r} {raised.value} {vars(raised.value)}"
    return raised.value


def shown(error: ApiError) -> tuple[int | None, str | None]:
    return error.status, error.code


@BOTH
@pytest.mark.parametrize("key", ["tg_test_another0123456789", "tg_live_0123456789"])
def test_a_key_that_the_server_does_not_know_is_401(server: Server, connect: Connect, key: str) -> None:
    error = refused(NateqAuthenticationError, connect(server, key), "list")

    assert shown(error) == (401, "INVALID_API_KEY")
    assert "Settings -> Developers -> API Keys" in str(error)
    assert error.request_id


@pytest.mark.parametrize("name", CALLS)
def test_a_key_that_can_t_be_checked_is_401_whatever_is_called(
    sandbox: Sandbox, client: NateqClient, created: CreatedWebhook, name: str
) -> None:
    sandbox.faults.set(Fault.API_401, count=1)

    assert shown(refused(NateqAuthenticationError, client, name, created.id)) == (401, "AUTHENTICATION_FAILED")
    assert [webhook.is_active for webhook in sandbox.webhooks.all()] == [True]


@pytest.mark.parametrize("name", CALLS)
def test_a_key_without_the_scope_is_403_and_the_message_names_the_scope(
    shared_sandbox: SharedSandbox, connect: Connect, name: str
) -> None:
    sandbox = shared_sandbox(key=f"{KEY}:tickets:read")

    error = refused(NateqPermissionError, connect(sandbox), name)

    assert shown(error) == (403, "INSUFFICIENT_SCOPE")
    assert "lacks the scope webhooks:manage; grant it under Settings -> Developers -> API Keys" in str(error)
    assert error.details == {"required": ["webhooks:manage"], "granted": ["tickets:read"]}


def test_an_owner_who_may_not_do_it_is_403(sandbox: Sandbox, client: NateqClient) -> None:
    sandbox.faults.set(Fault.API_403, count=1)

    assert shown(refused(NateqPermissionError, client, "create")) == (403, "INSUFFICIENT_PERMISSION")
    assert sandbox.webhooks.all() == []


def test_an_address_outside_the_allow_list_is_403(connect: Connect) -> None:
    with Sandbox(key=KEY, allow_ips=["10.0.0.0/8"]) as sandbox:
        error = refused(NateqPermissionError, connect(sandbox), "list")

    assert shown(error) == (403, "IP_NOT_ALLOWED")
    assert "allow-list" in str(error)


@pytest.mark.parametrize("name", CALLS)
def test_a_withheld_operation_is_not_offered_and_the_message_leads_to_the_dashboard(
    shared_sandbox: SharedSandbox, connect: Connect, name: str
) -> None:
    sandbox = shared_sandbox(key=KEY, withhold=list(CALLS))
    webhook = sandbox.webhooks.create(URL, EVENTS)

    error = refused(NateqNotOfferedError, connect(sandbox), name, webhook.id)

    assert shown(error) == (403, "ENDPOINT_NOT_PUBLIC")
    assert "in the dashboard, " in str(error)


@BOTH
@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_webhook_that_is_not_there_is_404(client: NateqClient, name: str) -> None:
    assert shown(refused(NateqNotFoundError, client, name)) == (404, "NOT_FOUND")


@BOTH
def test_a_server_without_such_a_path_does_not_offer_it(server: Server, connect: Connect) -> None:
    client = connect(server, server.key, path="/v2")

    assert shown(refused(NateqNotOfferedError, client, "list")) == (404, "NOT_FOUND")


@BOTH
def test_a_server_without_such_a_method_does_not_offer_it(server: Server, connect: Connect) -> None:
    error = refused(NateqNotOfferedError, connect(server, server.key, path="/webhooks"), "create")

    assert shown(error) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"url": "shop", "events": EVENTS}, {"url"}),
        ({"url": URL, "events": []}, {"events"}),
        ({"url": URL, "events": ["ticket.eaten"]}, {"events"}),
        ({"url": "", "events": ["ticket.eaten"]}, {"url", "events"}),
    ],
)
def test_fields_that_are_not_valid_are_422_and_named(
    sandbox: Sandbox, client: NateqClient, created: CreatedWebhook, fields: dict[str, Any], wrong: set[str]
) -> None:
    calls = client.webhooks
    for make in (partial(calls.create, **fields), partial(calls.update, created.id, **fields)):
        with pytest.raises(NateqValidationError) as raised:
            make()
        assert shown(raised.value) == (422, "VALIDATION_ERROR")
        assert isinstance(raised.value.details, dict)
        assert set(raised.value.details) == wrong
        assert all(field in str(raised.value) for field in wrong)
        assert not raised.value.is_ambiguous
    assert [(webhook.url, webhook.events) for webhook in sandbox.webhooks.all()] == [(URL, tuple(EVENTS))]


@pytest.mark.parametrize("name", CALLS)
def test_after_a_429_every_call_waits_as_long_as_it_is_told_and_succeeds(
    sandbox: Sandbox, client: NateqClient, created: CreatedWebhook, fake_time: FakeTime, name: str
) -> None:
    sandbox.faults.set(Fault.API_429, count=2, seconds=7)

    CALLS[name](client, created.id)

    assert fake_time.slept == [7, 7]
    assert len(sandbox.webhooks.all()) == {"create": 2, "delete": 0}.get(name, 1)


def test_a_429_that_does_not_end_is_told_with_its_seconds(sandbox: Sandbox, client: NateqClient) -> None:
    sandbox.faults.set(Fault.API_429, rate=1, seconds=9)

    error = refused(NateqRateLimitError, client, "create")

    assert shown(error) == (429, "RATE_LIMIT_EXCEEDED")
    assert error.retry_after == 9
    assert not error.is_ambiguous
    assert sandbox.webhooks.all() == []


@pytest.mark.parametrize("name", READS)
def test_a_read_is_tried_again_after_a_500(
    sandbox: Sandbox, client: NateqClient, created: CreatedWebhook, fake_time: FakeTime, name: str
) -> None:
    sandbox.faults.set(Fault.API_500, count=2)
    CALLS[name](client, created.id)
    assert len(fake_time.slept) == 2

    sandbox.faults.set(Fault.API_500, rate=1)
    error = refused(NateqServerError, client, name, created.id)
    assert shown(error) == (500, "INTERNAL_ERROR")
    assert not error.is_ambiguous


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_not_tried_again_after_a_500_for_it_may_have_happened(
    sandbox: Sandbox, client: NateqClient, created: CreatedWebhook, fake_time: FakeTime, name: str
) -> None:
    sandbox.faults.set(Fault.API_500, count=1)

    error = refused(NateqServerError, client, name, created.id)

    assert error.is_ambiguous
    assert "check before you try again" in str(error)
    assert fake_time.slept == []
    assert [webhook.is_active for webhook in sandbox.webhooks.all()] == [True]


def test_a_lost_answer_to_create_is_ambiguous_and_a_look_shows_that_it_happened(
    sandbox: Sandbox, client: NateqClient, fake_time: FakeTime
) -> None:
    sandbox.faults.set(Fault.LOSE_CREATE_ANSWER, count=1)

    error = refused(NateqConnectionError, client, "create")

    assert error.is_ambiguous
    assert fake_time.slept == []
    assert len(client.webhooks.list()) == 1


def test_a_server_that_is_not_there_has_changed_nothing(connect: Connect) -> None:
    with Sandbox(key=KEY) as sandbox:
        client = connect(sandbox)

    assert not refused(NateqConnectionError, client, "create").is_ambiguous


def test_the_client_slows_down_by_itself_and_is_never_refused(connect: Connect, fake_time: SandboxTime) -> None:
    with Sandbox(key=KEY, rate_limit=5) as sandbox:
        fake_time.lead(sandbox)
        client = connect(sandbox)
        for _ in range(12):
            client.webhooks.events()

    assert fake_time.slept == [60, 60]


def test_a_client_that_shares_its_key_runs_into_the_limit_and_waits_for_the_next_minute(
    connect: Connect, fake_time: SandboxTime
) -> None:
    with Sandbox(key=KEY, rate_limit=3) as sandbox:
        fake_time.lead(sandbox)
        one, other = connect(sandbox), connect(sandbox)
        one.webhooks.events()
        fake_time.move(20)
        for _ in range(2):
            other.webhooks.events()
        one.webhooks.events()

    assert fake_time.slept == [40]
