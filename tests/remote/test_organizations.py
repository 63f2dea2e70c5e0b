"""Webhooks of several organizations at Nateq, each with a key of its own."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from nateq_webhooks import conf, remote
from nateq_webhooks.checks.keys import check_api_keys
from nateq_webhooks.models import Webhook
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import Sender, SharedSandbox, envelope
from tests.remote.conftest import SITE

pytestmark = pytest.mark.django_db

ONE, TWO = "tg_test_organization_one", "tg_test_organization_two"


@pytest.fixture
def sandbox(shared_sandbox: SharedSandbox) -> Sandbox:
    return shared_sandbox(key=[f"{ONE}@org_1", f"{TWO}@org_2"], rate_limit=1_000_000)


def keys(sandbox: Sandbox, **more: Any) -> Any:
    return override_settings(NATEQ_WEBHOOKS={"API_KEY": ONE, "BASE_URL": sandbox.base_url, "PUBLIC_URL": SITE, **more})


def call(*arguments: str) -> str:
    out = StringIO()
    try:
        call_command("nateq_webhook", *arguments, stdout=out, stderr=out)
    except CommandError as error:
        out.write(str(error))
    for secret in (ONE, TWO, *Webhook.objects.values_list("secret", flat=True)):
        assert secret not in out.getvalue()
    return out.getvalue()


@pytest.fixture
def both(sandbox: Sandbox) -> tuple[Webhook, Webhook]:
    """One webhook of each organization, as a site had them before it knew of API_KEYS: each made with its key."""
    with keys(sandbox):
        call("create", "--name", "first", "--events", "ticket.created")
    with keys(sandbox, API_KEY=TWO):
        call("create", "--name", "second", "--events", "ticket.created")
    first, second = Webhook.objects.order_by("name")
    return first, second


def received(webhook: Webhook, organization: str) -> None:
    body = envelope(organization_id=organization, delivery_id=f"dlv_{organization}")
    assert Sender(webhook).post(body, secret=webhook.secret).status_code == 200


def state(sandbox: Sandbox) -> object:
    here = Webhook.objects.order_by("name").values_list("name", "secret", "nateq_id", "is_active", "registration")
    return list(here), [(each.id, each.url, each.secret, each.organization) for each in sandbox.webhooks.all()]


@pytest.mark.parametrize("side", ["--push", "--pull"])
@pytest.mark.parametrize("is_known", [True, False], ids=["deliveries came", "none came"])
def test_a_webhook_of_another_organization_is_neither_created_nor_deactivated(
    sandbox: Sandbox, both: tuple[Webhook, Webhook], side: str, is_known: bool
) -> None:
    if is_known:
        received(both[0], "org_1")
        received(both[1], "org_2")
    before = state(sandbox)
    with keys(sandbox):
        for arguments in (["--dry-run"], ["--yes"]):
            told = call("sync", side, *arguments)
            assert ("belongs to org_2" if is_known else "is not visible to the key in API_KEY") in told
            assert "gone at Nateq" not in told
            assert "Would do" not in told
        for arguments in (["create", "--name", "second"], ["delete", "--name", "second", "--yes"]):
            call(*arguments)
        if is_known:
            assert "belongs to org_2" in call("sync", side, "--yes", "--gone", "--name", "second")
    assert state(sandbox) == before


@pytest.mark.parametrize("entry", ["org_2", "second", "elsewhere"])
def test_each_command_uses_the_key_of_the_webhook(sandbox: Sandbox, both: tuple[Webhook, Webhook], entry: str) -> None:
    received(both[1], "org_2")
    with keys(sandbox, API_KEYS={entry: TWO}):
        assert call("list").count("the same on both sides") == 2
        assert "the same on both sides" in call("show", "--name", "second")
        assert "Nothing was changed" in call("create", "--name", "second")
        call("rotate", "--name", "second", "--yes")
        call("update", "--name", "second", "--events", "ticket.created", "ticket.closed")
        there = next(each for each in sandbox.webhooks.all() if each.organization == "org_2")
        assert there.secret == Webhook.objects.get(name="second").secret
        assert there.events == ("ticket.created", "ticket.closed")
        sandbox.webhooks.update(there.id, {"url": f"{SITE}/old/"})
        assert "Would do" in call("sync", "--push", "--dry-run")
        call("sync", "--push", "--yes")
        assert call("sync").count("the same on both sides") == 2
        call("delete", "--name", "second", "--yes")
    assert [each.organization for each in sandbox.webhooks.all()] == ["org_1"]


REVOKED = "tg_test_revoked_0123456789abcdef"


@pytest.mark.parametrize(
    "bad",
    [{"API_KEYS": {"org_2": REVOKED}}, {"API_KEY": REVOKED, "API_KEYS": {"org_1": ONE}}],
    ids=["revoked", "the default key"],
)
def test_a_refused_key_is_reported_and_the_other_webhooks_are_reconciled(
    sandbox: Sandbox, both: tuple[Webhook, Webhook], bad: dict[str, Any]
) -> None:
    received(both[0], "org_1")
    received(both[1], "org_2")
    first = next(each for each in sandbox.webhooks.all() if each.organization == "org_1")
    with keys(sandbox, **bad):
        told = call("list")
        assert "the same on both sides" in told
        assert "second: " in told
        assert REVOKED not in told

        sandbox.webhooks.update(first.id, {"events": ["ticket.closed"]})
        assert "Would do: Change events" in call("sync", "--push", "--dry-run")
        assert "second: " in call("sync", "--push", "--yes")
        with pytest.raises(CommandError) as failed:
            call_command("nateq_webhook", "list", "--json", stdout=(out := StringIO()), stderr=StringIO())

    assert next(each for each in sandbox.webhooks.all() if each.organization == "org_1").events == ("ticket.created",)
    assert failed.value.returncode == 1
    rows = {row["name"]: row for row in json.loads(out.getvalue())}
    assert (rows["first"]["state"], rows["first"]["problem"]) == ("in step", "")
    assert rows["second"]["state"] == "unknown"
    assert rows["second"]["problem"]


def test_if_no_key_works_only_the_error_is_written(sandbox: Sandbox, both: tuple[Webhook, Webhook]) -> None:
    with keys(sandbox, API_KEY=REVOKED, API_KEYS={"org_2": REVOKED + "2"}), pytest.raises(CommandError):
        call_command("nateq_webhook", "list", stdout=(out := StringIO()), stderr=StringIO())
    assert out.getvalue() == ""


def test_a_new_webhook_is_created_in_the_organization_that_is_named(sandbox: Sandbox) -> None:
    with keys(sandbox, API_KEYS={"org_2": TWO, "third": TWO}):
        assert 'API_KEYS["org_2"]' in call("create", "--name", "shop", "--organization", "org_2", "--dry-run")
        assert not Webhook.objects.exists()
        call("create", "--name", "shop", "--organization", "org_2")
        call("create", "--name", "third")
        call("create", "--name", "first")

    assert Webhook.objects.get(name="shop").organization_id == "org_2"
    names = {webhook.nateq_id: webhook.name for webhook in Webhook.objects.all()}
    there = {names[each.id]: each.organization for each in sandbox.webhooks.all()}
    assert there == {"shop": "org_2", "third": "org_2", "first": "org_1"}


def test_without_a_matching_key_nothing_is_created(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATEQ_API_KEY", raising=False)
    with keys(sandbox, API_KEY="", API_KEYS={"org_2": TWO}):
        assert 'No API key fits webhook "shop"' in call("create", "--name", "shop")
    assert not Webhook.objects.exists()
    assert sandbox.webhooks.all() == []


def test_a_webhook_set_up_by_hand_in_another_organization_is_not_created_in_this_one(
    sandbox: Sandbox, both: tuple[Webhook, Webhook]
) -> None:
    received(both[0], "org_1")
    by_hand = Webhook.objects.create(name="by hand", organization_id="org_2")
    before = state(sandbox)
    with keys(sandbox):
        assert "belongs to org_2" in call("create", "--name", "by hand", "--yes")
        with pytest.raises(remote.RemoteError, match="belongs to org_2"), remote.connect(by_hand) as client:
            remote.register_existing(client, by_hand)
    assert state(sandbox) == before


def test_one_deleted_at_nateq_is_distinguished_from_one_that_is_not_visible(
    sandbox: Sandbox, both: tuple[Webhook, Webhook]
) -> None:
    gone = Webhook.objects.create(
        name="gone", nateq_id="wh_gone", registration=Webhook.Registration.REGISTERED, organization_id="org_1"
    )
    received(both[0], "org_1")
    with keys(sandbox):
        assert "gone  wh_gone  gone at Nateq" in call("list")
        assert "second  " + both[1].nateq_id + "  not visible to this key" in call("list")
        call("sync", "--push", "--yes", "--name", "gone")
    gone.refresh_from_db()
    assert gone.nateq_id in {each.id for each in sandbox.webhooks.all() if each.organization == "org_1"}


def test_no_key_is_shown_and_an_unused_one_is_reported(sandbox: Sandbox) -> None:
    Webhook.objects.create(name="shop", organization_id="org_1")
    with keys(sandbox, API_KEYS={"shop": ONE, "org_1": ONE, "shopp": TWO}):
        (found,) = check_api_keys(databases=["default"])
        assert found.id == "nateq_webhooks.W030"
        assert "'shopp'" in found.msg
        assert "shop" in str(found.hint)
        assert TWO not in str(found)
        assert TWO not in repr(conf.settings())
    for wrong in ({"org_2": "secret text"}, {TWO: "org_2"}, {1: TWO}, {"org_2": [TWO]}, {"": TWO}):
        (problem,) = conf.problems({"API_KEYS": wrong})
        assert problem.id == "E004"
        assert TWO not in f"{problem}"
        assert "secret text" not in f"{problem}"
