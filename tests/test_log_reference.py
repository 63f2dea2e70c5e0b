"""The reference of the log has every line that the package logs, at its level and under its logger, and no other."""

import ast
import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from nateq_webhooks import signals
from nateq_webhooks.protocol.log_records import LOGGERS
from tests.conftest import SECRET, Sender, envelope
from tests.test_reference import table

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "nateq_webhooks"
PAGE: Final = ROOT / "docs" / "reference" / "logging.md"
LEVELS: Final = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
"""From a method of a logger to the level of its records."""

NOT_LOGGING: Final = {"addFilter", "basicConfig", "Filter", "getLogger", "setLevel"}
"""Calls of a logger, or of the module `logging`, that log nothing."""

STABLE: Final = {
    ("error", "Receiver {} failed on delivery {} (try {}, given up): {}"),
    ("error", "Receiver {} failed {} times in a row for webhook {} and is paused there."),
    ("error", "No receiver of {} was connected within RETRY_MAX_AGE; delivery {} is given up."),
    ("error", "A signed delivery could not be stored"),
    ("error", 'The runner that NATEQ_WEBHOOKS["DISPATCH"] names could not be used.'),
    ("warning", 'Delivery to webhook "{}" refused:'),
    ("warning", "The database failed: {}."),
}
"""The beginnings that the page promises to keep. A site may alert on them: change one only in a major version."""


class UnreadableCallError(Exception):
    """A log call whose level or message can't be read from the source."""


@dataclass(frozen=True, order=True)
class Line:
    """A line that may be logged. Each placeholder of `message` is `{}`."""

    level: str
    message: str
    logger: str


def lines_of(source: str, module: str) -> Iterator[Line]:
    """Yield what a module logs. Raises `UnreadableCallError` for a call whose level or message is not a constant."""
    tree = ast.parse(source)
    constants = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name = logger_of(node.func.value, constants, module)
        if name is None or node.func.attr in NOT_LOGGING:
            continue
        if node.func.attr not in LEVELS or not node.args:
            raise UnreadableCallError(f"{module}:{node.lineno} has no known level: {ast.unparse(node)}")
        for message in messages_of(node.args[0], constants, f"{module}:{node.lineno}"):
            yield Line(LEVELS[node.func.attr], message, name)


def logger_of(node: ast.expr, constants: dict[str, ast.expr], module: str) -> str | None:
    """Return the name of the logger that an expression is, "root" for the module `logging`; None for anything else.

    Raises `UnreadableCallError` for a logger from elsewhere.
    """
    if isinstance(node, ast.Name) and node.id == "logging":
        return "root"
    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    elif ast.unparse(node).rpartition(".")[2] == "logger":
        raise UnreadableCallError(f"{module}:{node.lineno} logs by a logger that the module does not define")
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"logging.getLogger", "getLogger"}):
        return None
    (name,) = node.args
    if isinstance(name, ast.Name) and name.id == "__name__":
        return module
    return str(name.value) if isinstance(name, ast.Constant) else ast.unparse(name)


def messages_of(node: ast.expr, constants: dict[str, ast.expr], where: str) -> Iterator[str]:
    """Yield the messages that an expression may be: a literal, a constant, or a value of a constant dict."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.sub(r"%(\(\w+\))?[.\d]*[a-z]", "{}", node.value)
    elif isinstance(node, ast.Name) and node.id in constants:
        yield from messages_of(constants[node.id], constants, where)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from messages_of(value, constants, where)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        for part in (node.func.value, *node.args[1:]):
            yield from messages_of(part, constants, where)
    else:
        raise UnreadableCallError(f"{where} logs a message that is not a constant: {ast.unparse(node)}")


@functools.cache
def logged() -> frozenset[Line]:
    """Return what the package logs."""
    return frozenset(
        line
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in lines_of(path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts))
    )


@dataclass(frozen=True)
class Row:
    """A row of the page."""

    level: str
    message: str
    loggers: frozenset[str]
    "Those that the heading names."


def documented() -> list[Row]:
    """Return the rows of the page, under the headings that name a logger."""
    found = []
    for part in PAGE.read_text().split("\n## ")[1:]:
        loggers = frozenset(re.findall(r"`(nateq_webhooks[\w.]*)`", part.partition("\n")[0]))
        rows = re.findall(r"^\| (\w+) \| `(.*?)` \| \S.* \| \S.* \|$", part, re.MULTILINE) if loggers else []
        found += [Row(level, placeholders(message), loggers) for level, message in rows]
    return found


def placeholders(message: str) -> str:
    """Return a message of the page with `{}` for each placeholder."""
    return re.sub(r"\{\w+\}", "{}", message)


def differences(lines: Collection[Line], rows: Collection[Row]) -> list[str]:
    """Return what the page does not say of the code, or says and the code does not do."""
    missing = [line for line in lines if not any(describes(row, line) for row in rows)]
    extra = [row for row in rows if not any(describes(row, line) for line in lines)]
    return sorted(f"not on the page: {line}" for line in missing) + [f"not in the code: {row}" for row in extra]


def describes(row: Row, line: Line) -> bool:
    return (row.level, row.message) == (line.level, line.message) and line.logger in row.loggers


def test_the_page_has_every_line_of_the_code_and_no_other() -> None:
    assert differences(logged(), documented()) == []


def test_no_line_is_on_the_page_twice() -> None:
    assert len(documented()) == len(set(documented())) > 60


def test_every_row_of_a_message_is_read() -> None:
    tables = PAGE.read_text().partition("\n## `")[2]
    heads = tables.count("\n| level | message |")

    assert tables.count("\n| ") == len(documented()) + 2 * heads


@pytest.mark.parametrize(
    "planted",
    [
        "logger.error('The database works again.', name)",
        "logger.info('Receiver %s works again.', name)",
        "logging.getLogger('nateq_webhooks.other').info('The database works again.', name)",
    ],
    ids=["level", "message", "logger"],
)
def test_a_changed_line_would_be_found(planted: str) -> None:
    former = Line("info", "The database works again.", "nateq_webhooks")
    changed = set(lines_of(f"logger = logging.getLogger('nateq_webhooks')\n{planted}", "nateq_webhooks.shop"))

    found = differences(logged() - {former} | changed, documented())

    assert former in logged()
    assert [one.partition(":")[0] for one in found] == ["not on the page", "not in the code"]


@pytest.mark.parametrize(
    "call",
    [
        "logger.info(f'{name}')",
        "logger.info(text)",
        "logger.log(level, 'text')",
        "logger.info('a' + name)",
        "LOG.warn('')",
    ],
)
def test_a_call_that_can_not_be_read_is_an_error(call: str) -> None:
    with pytest.raises(UnreadableCallError, match=r"^shop:2 "):
        list(lines_of(f"LOG = logger = logging.getLogger('shop')\n{call}", "shop"))


def test_constants_and_their_placeholders_are_read() -> None:
    source = """
logger: Final = logging.getLogger(__name__)
ONE: Final = "%(count)s of %.1f s, %r."
TEXTS: Final = {A: "a", B: ONE}

def log():
    logger.exception(TEXTS.get(key, "other"))
"""
    assert {(line.level, line.message) for line in lines_of(source, "shop")} == {
        ("error", "a"),
        ("error", "{} of {} s, {}."),
        ("error", "other"),
    }
    assert {line.logger for line in lines_of(source, "shop")} == {"shop"}


def test_the_page_names_every_logger() -> None:
    assert set(table(PAGE.read_text(), "logger")) == {line.logger for line in logged()} == set(LOGGERS)


def test_the_lines_to_alert_on_stay_as_they_are() -> None:
    rows = table(PAGE.read_text(), "beginning")

    assert {(level, placeholders(beginning)) for beginning, level in rows.items()} == STABLE
    assert not [
        (level, beginning)
        for level, beginning in STABLE
        if not any(line.level == level and line.message.startswith(beginning) for line in logged())
    ]


@pytest.mark.django_db
class TestWhatIsLogged:
    @pytest.mark.parametrize(
        "how", [{"secret": "another secret, private"}, {"signature": "private"}, {"headers": {"X-Other": "private"}}]
    )
    def test_of_a_request_is_no_secret_no_signature_and_no_content(
        self, sender: Sender, caplog: pytest.LogCaptureFixture, how: dict[str, Any]
    ) -> None:
        caplog.set_level("DEBUG")
        answer = sender.post(envelope(data={"id": "private"}), **how)

        assert answer.status_code == (200 if "headers" in how else 401)
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("nateq_webhooks")]
        assert bool(ours) is (answer.status_code == 401)
        assert not [message for message in ours if "private" in message or SECRET in message]

    def test_by_django_is_a_refusal_and_what_monitoring_raises(
        self, sender: Sender, caplog: pytest.LogCaptureFixture
    ) -> None:
        def breaks(**kwargs: Any) -> None:
            raise ValueError("no monitoring today")

        signals.delivery_rejected.connect(breaks)
        try:
            sender.post(envelope(), secret="another secret")
        finally:
            signals.delivery_rejected.disconnect(breaks)

        theirs = {(record.name, record.levelname) for record in caplog.records if record.name.startswith("django.")}
        assert theirs >= {("django.request", "WARNING"), ("django.dispatch", "ERROR")}
