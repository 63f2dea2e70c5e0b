"""`manage.py nateq_webhook` and `nateq_events`: what they do, write and answer with, and what they never show."""

import sys
from collections.abc import Callable
from io import StringIO
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError
from django.test import override_settings

from nateq_webhooks import errors, remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.client.webhooks import Webhooks
from nateq_webhooks.errors import ApiError
from nateq_webhooks.management.commands.nateq_webhook import Command
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.remote.connection import key_warnings
from nateq_webhooks.sandbox import Sandbox
from tests.commands import Terminal
from tests.conftest import Sender, envelope
from tests.remote.conftest import KEY, both_sides_agree, connected, text

pytestmark = pytest.mark.django_db

Run = Callable[..., Any]
LIVE_KEY = "tg_live_0123456789abcdef"


@pytest.mark.parametrize(
    "events", [["ticket.created,ticket.closed"], ["ticket.created", "ticket.closed"], ["ticket.created, ticket.closed"]]
)
def test_create_takes_events_separated_by_commas_or_spaces(run: Run, sandbox: Sandbox, events: list[str]) -> None:
    made = run("create", "--name", "shop", "--events", *events)

    both_sides_agree(sandbox)
    assert made["events"] == ["ticket.created", "ticket.closed"]
    assert made["how"] == "created"
    assert made["nateq_id"] == sandbox.webhooks.all()[0].id
    assert "secret" not in made


def test_create_says_whether_it_changed_anything(nateq: NateqClient) -> None:
    assert "was created at Nateq as wh_" in text("create")
    assert "Nothing was changed" in text("create")


def test_list_shows_each_webhook_beside_nateqs(run: Run, registered: Webhook) -> None:
    Webhook.objects.create(name="by hand")

    assert {each["name"]: each["state"] for each in run("list")} == {"by hand": "unregistered", "shop": "in step"}
    assert "the same on both sides" in text("list")


def test_show_names_the_secrets_by_their_id(run: Run, registered: Webhook) -> None:
    run("rotate", "--no-input", "--name", "shop")

    shown = run("show", "--name", "shop")
    assert len({secret["id"] for secret in shown["secrets"]}) == 2
    assert "when the new one is used" in text("show")


@pytest.mark.parametrize(
    ("arguments", "here", "there"),
    [
        (["--events", "ticket.closed", "--inactive", "--yes"], (["ticket.closed"], False), (("ticket.closed",), False)),
        (["--events"], ([], True), (tuple(EVENTS), True)),
    ],
    ids=["events and inactive", "all events"],
)
def test_update_changes_both_sides(
    run: Run, registered: Webhook, sandbox: Sandbox, arguments: list[str], here: object, there: object
) -> None:
    run("update", *arguments)

    ours, theirs = Webhook.objects.get(), sandbox.webhooks.all()[0]
    assert (ours.events, ours.is_active) == here
    assert (theirs.events, theirs.is_active) == there


def test_an_update_that_nateq_refuses_changes_nothing_here(run: Run, registered: Webhook) -> None:
    with pytest.raises(CommandError, match="nope"):
        run("update", "--events", "ticket.nope", "--yes")
    assert Webhook.objects.get().events == ["ticket.created"]


def test_an_update_of_nothing_is_a_wrong_command_line(run: Run, registered: Webhook) -> None:
    with pytest.raises(CommandError) as told:
        run("update")
    assert told.value.returncode == 2


@pytest.mark.parametrize("action", ["delete", "rotate"])
@pytest.mark.parametrize("typed", ["", "\n", "n\n", "nein\n"])
def test_destructive_actions_ask_at_a_terminal_first(
    run: Run, registered: Webhook, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, action: str, typed: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    with pytest.raises(CommandError, match="Nothing was changed"):
        run(action)

    both_sides_agree(sandbox)
    assert Webhook.objects.get().secret == registered.secret


@pytest.mark.parametrize(("stdin", "options"), [(Terminal("y\n"), []), (StringIO(), ["--yes"])], ids=["asked", "told"])
def test_a_yes_is_taken_from_the_terminal_or_the_command_line(
    run: Run,
    registered: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    sandbox: Sandbox,
    stdin: StringIO,
    options: list[str],
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    run("rotate", *options)
    both_sides_agree(sandbox)
    assert Webhook.objects.get().secret != registered.secret


@pytest.mark.parametrize("action", ["delete", "rotate"])
def test_a_dry_run_says_what_it_would_do(run: Run, registered: Webhook, sandbox: Sandbox, action: str) -> None:
    told = run(action, "--dry-run")["would_do"]
    assert "shop" in told
    assert text(action, "--dry-run") == f"Would do: {told}.\n"

    both_sides_agree(sandbox)
    assert Webhook.objects.get().secret == registered.secret


def test_delete_deletes_on_both_sides(run: Run, registered: Webhook, sandbox: Sandbox) -> None:
    assert run("delete", "--no-input")["removed"] == "deleted"
    assert not Webhook.objects.exists()
    assert sandbox.webhooks.all() == []


def test_delete_keeps_a_webhook_with_deliveries_and_it_can_be_created_again(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    assert Sender(registered).post(envelope(), secret=registered.secret).status_code == 200

    assert run("delete", "--no-input")["removed"] == "switched off"
    kept = Webhook.objects.get()
    assert (kept.is_active, kept.registration, kept.nateq_id) == (False, "manual", "")
    assert sandbox.webhooks.all() == []

    run("create", "--name", "shop")
    both_sides_agree(sandbox)


def test_a_webhook_that_nateq_has_deleted_already_is_deleted_here(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    sandbox.webhooks.delete(registered.nateq_id)
    with pytest.raises(CommandError, match="sees 0 webhooks"):
        run("delete", "--yes")
    assert Webhook.objects.get().is_active

    run("delete", "--name", "shop", "--gone", "--yes")
    assert not Webhook.objects.exists()


DESTRUCTIVE = [
    ["delete"],
    ["rotate"],
    ["update", "--inactive"],
    ["update", "--events", "ticket.closed"],
    ["sync", "--push"],
    ["sync", "--pull"],
]


@pytest.mark.parametrize("arguments", DESTRUCTIVE, ids=" ".join)
def test_without_a_terminal_destructive_actions_need_yes(
    run: Run, registered: Webhook, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    change = {"url": "http://127.0.0.1:1/old/"} if "--push" in arguments else {}
    sandbox.webhooks.update(registered.nateq_id, change | ({"is_active": False} if "--pull" in arguments else {}))
    monkeypatch.setattr("sys.stdin", StringIO())
    columns = ("secret", "events", "is_active", "registration", "nateq_id")
    before = (Webhook.objects.values(*columns).get(), sandbox.webhooks.all())

    with pytest.raises(CommandError, match="--yes"):
        run(*arguments)

    assert (Webhook.objects.values(*columns).get(), sandbox.webhooks.all()) == before


@pytest.mark.parametrize("arguments", [["sync", "--pull"], ["sync", "--push"], ["delete"]], ids=" ".join)
@pytest.mark.parametrize("name", [[], ["--name", "shop"]], ids=["all", "named"])
def test_an_empty_list_at_nateq_deactivates_and_creates_nothing(
    run: Run, registered: Webhook, arguments: list[str], name: list[str]
) -> None:
    with Sandbox(key=KEY) as other, connected(other), pytest.raises(CommandError, match="sees 0 webhooks"):
        run(*arguments, *name, "--yes")

    kept = Webhook.objects.get()
    assert (kept.is_active, kept.registration, kept.secret) == (True, "registered", registered.secret)
    assert other.webhooks is not None


def test_create_does_not_say_that_nothing_was_changed_while_the_url_differs(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    for url in (registered.public_url.rstrip("/"), "http://127.0.0.1:1/old/"):
        sandbox.webhooks.update(registered.nateq_id, {"url": url})
        with pytest.raises(CommandError, match=r"with another URL.*sync --name shop --push"):
            run("create", "--name", "shop")


# What goes wrong


ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ApiError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_of_the_client_is_shown_with_its_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: type[ApiError]
) -> None:
    fail = Mock(side_effect=error("what happened, and what to do"))
    monkeypatch.setattr(Webhooks, "create", fail)
    monkeypatch.setattr(Webhooks, "events", fail)
    for command, arguments in (("nateq_webhook", ["create", "--events", "ticket.created"]), ("nateq_events", [])):
        with pytest.raises(CommandError, match=r"^what happened, and what to do$") as told:
            run(*arguments, command=command)
        assert told.value.returncode == 1
        assert told.value.__suppress_context__


@pytest.mark.parametrize(
    ("fault", "advice"), [("api_401", "make a new one"), ("api_403", "key under Settings -> Developers -> API Keys")]
)
def test_a_refusal_of_the_api_is_shown_with_what_to_do(run: Run, sandbox: Sandbox, fault: str, advice: str) -> None:
    sandbox.faults.set(fault, rate=1.0)
    with pytest.raises(CommandError, match=advice):
        run("list")


def test_without_a_key_it_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATEQ_API_KEY", raising=False)
    with pytest.raises(CommandError, match="There is no API key"):
        text("list")


def test_without_the_extra_it_says_how_to_install_it(nateq: NateqClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nateq_webhooks.client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(CommandError, match=r"nateq-webhooks\[client\]"):
        text("list")


@pytest.mark.parametrize("names", [[], ["a", "b"]], ids=["none", "two"])
def test_the_webhook_must_be_named_unless_there_is_one(run: Run, names: list[str]) -> None:
    for name in names:
        Webhook.objects.create(name=name)
    with pytest.raises(CommandError, match="--name"):
        run("show")
    with pytest.raises(CommandError, match='no webhook "shop"'):
        run("show", "--name", "shop")


@pytest.mark.parametrize(
    ("key", "site", "debug", "warned"),
    [
        (KEY, "https://shop.example", False, "tg_test_ key"),
        (KEY, "", False, "tg_test_ key"),
        (KEY, "http://127.0.0.1:8000", False, ""),
        (KEY, "https://shop.example", True, ""),
        (LIVE_KEY, "https://shop.example", False, ""),
        (LIVE_KEY, "http://localhost:8000", False, "tg_live_ key"),
        (LIVE_KEY, "https://shop.example", True, "tg_live_ key"),
    ],
)
def test_a_key_of_the_wrong_environment_has_a_warning(key: str, site: str, debug: bool, warned: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"API_KEY": key, "PUBLIC_URL": site}, DEBUG=debug), remote.connect() as nateq:
        told = " ".join(key_warnings(nateq))

    assert (warned in told) if warned else told == ""
    assert key not in told


def test_options_of_django_are_taken_before_and_after_the_action() -> None:
    options = ["--no-color", "--verbosity=2", "--settings=tests.settings", "--pythonpath=."]
    options += ["--traceback", "--skip-checks"]
    for arguments in ([*options, "show"], ["show", *options]):
        parser = Command().create_parser("manage.py", "nateq_webhook")
        given = vars(parser.parse_args(arguments))
        assert (given["no_color"], given["verbosity"], given["settings"]) == (True, 2, "tests.settings")
        assert (given["traceback"], given["skip_checks"], given["pythonpath"]) == (True, True, ".")
