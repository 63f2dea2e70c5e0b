"""What a sender or a person with few permissions writes forges no line of the log and steers no terminal."""

import ast
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.core.management.base import OutputWrapper
from django.test import Client

from nateq_webhooks import dispatch, signals
from nateq_webhooks.management.terminal import TerminalCommand
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.protocol.invisible_chars import one_line
from nateq_webhooks.protocol.log_records import LOGGERS, OneLine
from tests.conftest import Connect, Sender, envelope

EVIL = "a\nERROR forged\r\n\x1b[31mred\x1b]0;title\x07\x9b31m\u202ereversed\u2028next\x85line\x00\tend"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What must not come out; the line break that ends each line is looked at by itself."""


def lines_of(text: str) -> list[str]:
    assert not RAW.search(text), repr(text)
    lines = text.split("\n")
    assert not [line for line in lines if line.startswith(("ERROR forged", "red", "next", "line"))]
    return lines


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log as a site's own handler writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


# The log


def test_every_logger_of_the_package_is_filtered() -> None:
    package = Path(dispatch.__file__).parent.parent
    named = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logging.getLogger", "getLogger"):
                module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
                argument = node.args[0]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    named.add(argument.value)
                elif ast.unparse(argument) == "__name__":
                    named.add(module)
    named -= {"httpx", "django"}  # the levels of others'

    assert named <= set(LOGGERS)
    for name in named:
        assert any(isinstance(each, OneLine) for each in logging.getLogger(name).filters), name


@pytest.mark.parametrize("name", LOGGERS)
@pytest.mark.parametrize("arguments", [("%s", EVIL), ("it is %s of %r", EVIL, EVIL), (EVIL.replace("%", ""),)])
def test_a_line_of_the_log_is_one_line(log: io.StringIO, name: str, arguments: tuple[str, ...]) -> None:
    logging.getLogger(name).error(*arguments)

    assert len(lines_of(log.getvalue())) == 2


def test_a_traceback_is_indented_so_that_no_line_of_it_looks_like_another_record(log: io.StringIO) -> None:
    try:
        raise LookupError(EVIL)
    except LookupError:
        logging.getLogger("nateq_webhooks").exception("It failed.")

    first, *more = lines_of(log.getvalue().rstrip("\n"))
    assert first == "ERROR It failed."
    assert all(line.startswith("    ") for line in more)
    assert any("LookupError" in line for line in more)


def test_an_exception_whose_text_raises_is_logged_all_the_same(log: io.StringIO) -> None:
    class Broken(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    logging.getLogger("nateq_webhooks").error("It failed.", exc_info=Broken())

    assert "Broken" in log.getvalue()


def test_what_is_harmless_is_left_as_it_is() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s of %s", ("سارة 😀", 7), None)
    OneLine().filter(record)

    assert (record.msg, record.args) == ("%s of %s", ("سارة 😀", 7))


def test_a_message_that_can_not_be_put_together_is_left_to_logging() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("seven",), None)

    assert OneLine().filter(record)


@pytest.mark.django_db
def test_a_sender_forges_no_line(sender: Sender, connect: Connect, log: io.StringIO) -> None:
    def fail(event: Any, **_: Any) -> None:
        raise LookupError(f"no {event.name}")

    connect(signals.event_received, fail, "test.fails")
    Webhook.objects.filter(pk=sender.webhook.pk).update(name=EVIL.replace("\x00", ""))
    sender.post(envelope(EVIL, delivery_id=EVIL, organization_id=EVIL, attempt=2))
    sender.post(envelope(EVIL, delivery_id=EVIL, organization_id=EVIL, attempt=2, data=EVIL))
    sender.post(envelope(EVIL), signature="0" * 64)
    sender.post(envelope(EVIL), signature=EVIL.encode("unicode_escape").decode())
    Client().get(sender.webhook.get_absolute_url() + "x\nERROR forged", HTTP_X_ODD=EVIL)

    text = log.getvalue()
    assert "refused" in text
    assert "test.fails" in text
    lines_of(text)


# The terminal

CHECK = "check --database default"


def test_every_command_writes_through_the_safe_terminal() -> None:
    ours = [name for name, app in get_commands().items() if app == "nateq_webhooks"]

    assert len(ours) >= 10
    for name in ours:
        assert isinstance(load_command_class("nateq_webhooks", name), TerminalCommand), name


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("force_color", [False, True])
def test_a_pauses_reason_and_the_names_of_webhooks_and_receivers_reach_no_terminal_raw(
    webhook: Webhook, connect: Connect, force_color: bool
) -> None:
    name = EVIL.replace("\x00", "")
    Webhook.objects.filter(pk=webhook.pk).update(name=name)
    webhook.refresh_from_db()
    connect(signals.ticket_created, lambda **_: None, "test.one")
    Sender(webhook).post(envelope(name))
    delivery = Delivery.objects.get()
    Run.objects.create(
        delivery=delivery, receiver="a\nERROR forged\x1b[31m", status="waiting", next_try_at=PARKED_UNTIL
    )
    dispatch.pause(webhook=webhook, reason=name, by=name)
    dispatch.pause(reason=name, by=name)

    commands = ("nateq_status", "nateq_orphans", "nateq_resume", "nateq_pause", "nateq_replay --delivery none", CHECK)
    for line in commands:
        command, *arguments = line.split()
        out, err = Tty(), Tty()
        try:
            call_command(command, *arguments, stdout=out, stderr=err, force_color=force_color)
        except CommandError as error:
            err.write(one_line(str(error)))  # as the command's own stream does when it is run from a shell
        except SystemExit:
            pass
        text = (out.getvalue() + err.getvalue()).replace("\tHINT:", "HINT:")  # Django's own
        assert text
        lines_of(re.sub("\x1b\\[[0-9;]*m", "", text) if force_color else text)
        assert "ERROR forged" in text or line not in ("nateq_status", "nateq_orphans", CHECK)
        assert "\x1b[31mred" not in text


class Tty(io.StringIO):
    """A stream that is no terminal."""


def test_an_error_of_a_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command_class("nateq_webhooks", "nateq_status")
    command.stderr.write(f"CommandError: There is no webhook {EVIL}")

    assert len(lines_of(capsys.readouterr().err)) == 2


def test_the_hint_of_a_system_check_is_a_line_of_its_own_and_the_rest_forges_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(**kwargs: Any) -> list[checks.CheckMessage]:
        return [checks.Warning("Look at\nthis.", hint="Do\nthat.", id="shop.W001")]

    monkeypatch.setattr(checks.registry.registry, "registered_checks", {found})
    found.tags = ("shop",)  # type: ignore[attr-defined]
    command = load_command_class("nateq_webhooks", "nateq_webhook")
    command.stderr = OutputWrapper(err := io.StringIO())

    command.check()

    assert r"?: (shop.W001) Look at\nthis." + "\n\tHINT: " + r"Do\nthat." in err.getvalue()

    command.stderr.write(command.style.WARNING("Not a check's.\n\tHINT: forged"))
    assert r"Not a check's.\n\tHINT: forged" in err.getvalue()
