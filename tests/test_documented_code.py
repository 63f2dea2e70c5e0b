"""Blocks of Python in the docs that do something on their own are run here; others run in test_tutorial and testing."""

import logging
import logging.config
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.contrib import admin
from django.test import RequestFactory

from nateq_webhooks import conf, signals
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Delivery, Rejection, Replay, Webhook
from nateq_webhooks.sandbox import Sandbox
from nateq_webhooks.testing import deliver, make_event
from tests.conftest import Connect, Sender
from tests.test_docs import BLOCKS

pytestmark = pytest.mark.django_db

CODE: Final = dict(BLOCKS)


def run(page: str, number: int, **names: Any) -> dict[str, Any]:
    """Run a block of a page, the first is 0; return the names that it leaves."""
    code = compile(CODE[f"docs/{page}.md-{number}"], page, "exec")
    names["__name__"] = "shop.receivers"
    exec(code, names)  # noqa: S102 - the documentation's own code
    return names


@pytest.fixture
def crm(connect: Connect) -> list[str]:
    """Connect the receiver that the guide to control names; return the events it gets."""
    events: list[str] = []

    def receive(*, event: Any, **_kwargs: object) -> None:
        events.append(event.name)

    connect(signals.ticket_created, receive, "shop.receivers.crm")
    return events


def test_control_replays_what_the_guide_selects(webhook: Webhook, crm: list[str]) -> None:
    deliver("ticket.created", webhook=webhook)

    run("how-to/control", 0)

    replay = Replay.objects.get()
    assert (replay.runs, replay.reason, replay.by) == (1, "CRM was down", "sara")


def test_control_pauses_and_resumes_the_receiver(webhook: Webhook, crm: list[str]) -> None:
    names = run("how-to/control", 0)
    pause, resume = CODE["docs/how-to/control.md-1"].splitlines()

    exec(pause, names)  # noqa: S102 - as above
    assert deliver("ticket.created", webhook=webhook).status == "received"
    exec(resume, names)  # noqa: S102 - as above
    assert deliver("ticket.created", webhook=webhook).status == "processed"
    assert crm == ["ticket.created"]


def test_the_guide_to_receivers_connects_one_that_runs(webhook: Webhook) -> None:
    created: list[dict[str, str]] = []

    class Ticket:
        class objects:  # noqa: N801 - as a model has it
            create: Callable[..., None] = staticmethod(lambda **fields: created.append(fields))

    names = run("how-to/receivers", 0, Ticket=Ticket)
    try:
        assert deliver(make_event("ticket.created", id="tkt_1", subject="Help"), webhook=webhook).status == "processed"
    finally:
        signals.ticket_created.disconnect(names["open_ticket"])
    assert created == [{"number": "tkt_1", "subject": "Help"}]


def test_the_client_lists_webhooks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with Sandbox(key="tg_test_local") as sandbox:
        monkeypatch.setenv("NATEQ_API_KEY", sandbox.key)
        monkeypatch.setenv("NATEQ_BASE_URL", sandbox.base_url)
        with NateqClient() as client:
            created = client.webhooks.create(url="https://shop.example/nateq/", events=["ticket.created"])
        run("reference/client", 0)

    assert capsys.readouterr().out == f"{created.id} https://shop.example/nateq/\n"


def test_several_keys_are_valid_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NATEQ_API_KEY", "NATEQ_API_KEY_2", "NATEQ_API_KEY_3"):
        monkeypatch.setenv(name, "tg_test_0123456789abcdef")

    assert list(conf.problems(run("how-to/registration", 0)["NATEQ_WEBHOOKS"])) == []


def test_the_column_of_the_guide_shows_the_subject(webhook: Webhook) -> None:
    delivery = deliver(make_event("ticket.created", subject="Help"), webhook=webhook)
    column = run("how-to/customize-admin", 0)["OurDeliveries"](Delivery, admin.site)

    assert column.subject(delivery) == "Help"
    assert "subject" in column.list_display


def test_the_guide_hides_the_deliveries_of_other_organizations(webhook: Webhook, rf: RequestFactory) -> None:
    for organization in ("org_1", "org_2"):
        deliver(make_event("ticket.created") | {"organization_id": organization}, webhook=webhook)
    names = run("how-to/customize-admin", 0)
    exec(CODE["docs/how-to/customize-admin.md-1"], names)  # noqa: S102 - as above
    request: Any = rf.get("/")
    request.user = type("User", (), {"profile": type("Profile", (), {"organization": "org_2"})()})()

    shown = names["OurDeliveries"](Delivery, admin.site).get_queryset(request)

    assert [delivery.organization_id for delivery in shown] == ["org_2"]


def test_a_test_writes_what_was_refused(sender: Sender) -> None:
    sender.post(b"{}", secret="whsec_ffffffffffffffff")
    assert not Rejection.objects.exists()

    run("how-to/rejections", 0)

    assert Rejection.objects.get().reason == "no_match"


def test_the_logger_is_configured_as_the_reference_does(sender: Sender, capfd: pytest.CaptureFixture[str]) -> None:
    loggers = {name: logging.getLogger(name) for name in ("nateq_webhooks", "nateq_webhooks.client")}
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers.values()]
    names = run("reference/logging", 0)
    try:
        logging.config.dictConfig(names["LOGGING"])
        sender.post(b"{}", secret="whsec_ffffffffffffffff")
        logging.getLogger("nateq_webhooks.client.limits").info("not shown")
        logging.getLogger("nateq_webhooks.sandbox").info("shown")
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)

    first, second = capfd.readouterr().err.splitlines()
    assert ' WARNING nateq_webhooks: Delivery to webhook "shop" refused: X-Nateq-Signature (64 characters)' in first
    assert second.endswith(" INFO nateq_webhooks.sandbox: shown")
