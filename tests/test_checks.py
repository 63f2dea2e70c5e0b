"""The system checks: each id appears for its cause, with what to do, and not otherwise."""

import ast
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.checks import site
from nateq_webhooks.models import Delivery, Run, Secret, Webhook
from tests.conftest import Connect, Sender, envelope

PROJECT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _a_receiver(connect: Connect) -> None:
    """Connect a receiver: a site without one gets the warning W050."""
    connect(signals.user_created, lambda **kwargs: None, "test.a_receiver")


def found(
    *, databases: list[str] | None = None, deploy: bool = False, level: int = checks.WARNING
) -> list[CheckMessage]:
    """Return the messages of our checks from this level: those of a plain check, or all of them with these databases.

    By default without suggestions, which depend on the database that the tests run on.
    """
    # With a tag and no databases, Django 5.2 gives the checks none and Django 6.1 all of them.
    tags = None if databases is None else ["nateq_webhooks"]
    messages = run_checks(tags=tags, databases=databases, include_deployment_checks=deploy)
    ours = [each for each in messages if str(each.id).startswith("nateq_webhooks.") and each.level >= level]
    return [each for each in ours if each.id != "nateq_webhooks.W065"]  # depends on the extras of this environment


def warnings_of(check: str) -> list[CheckMessage]:
    return [message for message in found(databases=["default"]) if message.id == f"nateq_webhooks.{check}"]


def run_python(*arguments: str, database: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the settings of the tests and a database of its own."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database,
        "PYTHONPATH": str(PROJECT),
    }
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def ids(*, databases: list[str] | None = None, deploy: bool = False) -> list[str]:
    return [str(message.id).removeprefix("nateq_webhooks.") for message in found(databases=databases, deploy=deploy)]


def test_a_correct_site_has_no_messages() -> None:
    assert ids(deploy=True) == []


@pytest.mark.django_db
def test_a_correct_site_has_no_messages_about_its_database(webhook: Webhook, connect: Connect) -> None:
    Secret.objects.create(webhook=webhook, secret="whsec_old_0123456789abcdef")
    connect(signals.ticket_created, lambda **kwargs: None)

    assert ids(databases=["default"], deploy=True) == []


def test_the_checks_run_with_a_plain_check_without_asking_the_database() -> None:
    # No database is allowed in this test: a query would raise.
    call_command("check")


# Settings


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([], ["E001"]),
        ({"DISPACH": "inline"}, ["E002"]),
        ({"RUN_LEASE": 300}, ["E003"]),
        ({"MAX_BODY_BYTES": True}, ["E003"]),
        ({"RUN_LEASE": timedelta()}, ["E004"]),
        ({"PUBLIC_URL": "shop.example"}, ["E004"]),
        ({"DISPACH": 1, "MAX_TRIES": 0, "PUBLIC_URL": None}, ["E002", "E004", "E003"]),
        ({}, []),
        ({"MAX_TRIES": 3}, []),
    ],
)
@pytest.mark.parametrize("deploy", [True, False])
def test_wrong_settings_are_errors_and_every_one_is_reported(raw: Any, expected: list[str], deploy: bool) -> None:
    with override_settings(NATEQ_WEBHOOKS=raw):
        assert [each for each in ids(deploy=deploy) if each.startswith("E")] == expected


def test_the_command_fails_and_proposes_the_right_name() -> None:
    with (
        override_settings(NATEQ_WEBHOOKS={"DISPACH": "inline"}),
        pytest.raises(SystemCheckError, match=r"(?s)nateq_webhooks\.E002.*has no setting 'DISPACH'.*'DISPATCH'\?"),
    ):
        call_command("check")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("NATEQ_WEBHOOK", {"PUBLIC_URL": "https://shop.example"}, "NATEQ_WEBHOOKS?"),
        ("NATEQWEBHOOKS", {}, "NATEQ_WEBHOOKS?"),
        ("NATEQ_WEBHOCKS", {}, "NATEQ_WEBHOOKS?"),
        ("NATEQ_WEBHOOKS_DISPATCH", "worker", 'NATEQ_WEBHOOKS["DISPATCH"]?'),
        ("RETENTION", {"payload": 90}, 'NATEQ_WEBHOOKS["RETENTION"]?'),
        ("REDACT", ["data.requester.email"], 'NATEQ_WEBHOOKS["REDACT"]?'),
        ("BREAKER_AFTER", 20, 'NATEQ_WEBHOOKS["BREAKER_AFTER"]?'),
        ("NATEQ_MAX_TRIES", 3, 'NATEQ_WEBHOOKS["MAX_TRIES"]?'),
        ("NATEQ_API_KEY", "tg_live_abc", 'NATEQ_WEBHOOKS["API_KEY"]?'),
    ],
)
def test_a_setting_beside_the_dict_that_nothing_reads(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, meant: str
) -> None:
    monkeypatch.delenv("NATEQ_API_KEY", raising=False)
    with override_settings(**{name: value}):
        [found] = site.check_misnamed_settings()

    assert (found.id, found.msg) == (
        "nateq_webhooks.W085",
        f"The setting {name} is not read by nateq_webhooks. Did you mean {meant}",
    )


def test_settings_of_other_code_are_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATEQ_API_KEY", "tg_live_abc")
    others: dict[str, Any] = {
        "NATEQ_API_KEY": "tg_live_abc",
        "NATEQ_PUBLIC_URL": "x",
        "NATEQ_WEBHOOK_URL": "x",
        "NATEQ_TEAM": {},
    }
    others |= {"BASE_URL": "https://shop.example", "DISPATCH": "by car", "RETENTION": timedelta(days=3)}

    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": "https://shop.example"}, **others):
        assert site.check_misnamed_settings() == []


@pytest.mark.parametrize(
    ("without_effect", "switch"),
    [
        ({"ACK_TIMEOUT": timedelta(seconds=5)}, {"ACK": "processed"}),
        ({"BREAKER_PAUSE": timedelta(minutes=5)}, {"BREAKER_AFTER": 20}),
        ({"ORDER_ON_DEAD": "block"}, {"ORDERED_BY": "data.conversation_id"}),
        ({"REMOVED_KEPT_FOR": timedelta(days=60)}, {"RETENTION": {"delivery": 90}}),
        ({"TASK_BACKEND": "default"}, {"DISPATCH": "tasks"}),
        ({"TASK_QUEUE": "webhooks"}, {"DISPATCH": "celery"}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_setting_without_the_one_that_switches_it_on(without_effect: Any, switch: Any) -> None:
    with override_settings(NATEQ_WEBHOOKS=without_effect):
        [found] = site.check_without_effect()
    with override_settings(NATEQ_WEBHOOKS=without_effect | switch):
        assert site.check_without_effect() == []

    assert found.id == "nateq_webhooks.W086"
    assert next(iter(switch)) in (found.hint or "")


def test_a_site_without_time_zones_is_an_error() -> None:
    with override_settings(USE_TZ=False):
        (message,) = found()

    assert message.id == "nateq_webhooks.E005"
    assert message.is_serious()
    assert message.hint == "Set USE_TZ = True."


def test_every_message_has_a_hint() -> None:
    with override_settings(NATEQ_WEBHOOKS={"DISPACH": 1, "MAX_TRIES": 0}, USE_TZ=False):
        messages = found()
    with override_settings(ROOT_URLCONF="django.contrib.auth.urls", NATEQ_WEBHOOKS={}):
        messages += found(deploy=True)

    assert {str(message.id) for message in messages} >= {f"nateq_webhooks.{id}" for id in ("E002", "E006", "W001")}
    for message in messages:
        assert message.hint


# Dispatch


class NoRunner:
    """A class without the attributes of a runner."""

    hold = 5


class BrokenRunner:
    """A class that cannot be instantiated."""

    def __init__(self) -> None:
        raise LookupError("no queue called shop")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("tests.test_checks.NoRunner", "hold is a int, not a timedelta"),
        ("tests.test_checks.BrokenRunner", "LookupError: no queue called shop"),
        ("tests.test_checks.PROJECT", "TypeError"),
    ],
)
def test_a_class_that_is_no_runner_is_an_error_with_its_reason(way: str, said: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": way}):
        (message,) = found()

    assert message.id == "nateq_webhooks.E007"
    assert repr(way) in message.msg
    assert said in message.msg


@pytest.mark.parametrize("way", ["inline", "worker", "tests.runners.test_runner.Notebook"])
def test_a_valid_runner_has_no_messages(way: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": way}):
        assert ids() == []


@pytest.mark.parametrize("extra", ["celery", "tasks"])
def test_a_runner_that_is_not_installed_is_an_error_that_names_the_extra(extra: str) -> None:
    if extra == "tasks" and django.VERSION >= (6,):
        pytest.skip("Django 6 brings django.tasks")
    code = (
        "import sys; sys.modules.update(celery=None, django_tasks=None); import django;"
        f"import tests.settings; tests.settings.NATEQ_WEBHOOKS['DISPATCH'] = {extra!r}; django.setup();"
        "from django.core.management import call_command; call_command('check')"
    )
    # Django 6.1's own checks of columns ask MariaDB for its version; the site's database is not there in tests.
    done = run_python("-c", code, database="sqlite://:memory:")

    assert done.returncode == 1
    assert "nateq_webhooks.E007" in done.stderr
    assert f'pip install "nateq-webhooks[{extra}]"' in done.stderr


# URLs


def test_a_site_without_the_include_is_an_error_that_says_what_to_add() -> None:
    with override_settings(ROOT_URLCONF="django.contrib.auth.urls"):
        (message,) = found()

    assert message.id == "nateq_webhooks.E006"
    assert message.is_serious()
    assert 'include("nateq_webhooks.urls")' in str(message.hint)


def test_a_site_without_any_urls_is_the_same_error() -> None:
    with override_settings():
        del django_settings.ROOT_URLCONF
        assert ids() == ["E006"]


# Deployment


@pytest.mark.parametrize("url", ["", "http://shop.example", "http://localhost:8000"])
def test_a_deployment_without_an_https_address_is_warned(url: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": url}):
        assert ids() == []
        (message,) = found(deploy=True)

    assert message.id == "nateq_webhooks.W001"
    assert not message.is_serious()
    assert repr(url) in message.msg


@pytest.mark.parametrize("url", ["https://shop.example", "HTTPS://shop.example/app"])
def test_a_deployment_with_an_https_address_is_not_warned(url: str) -> None:
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": url}):
        assert ids(deploy=True) == []


# Databases


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's OPTIONS")
@pytest.mark.parametrize("options", [{}, {"timeout": 20}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_with_options_that_lock_is_warned_with_those_that_do_not(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    (message,) = found()

    assert message.id == "nateq_webhooks.W002"
    for part in ('"transaction_mode": "IMMEDIATE"', '"timeout": 20', "journal_mode=WAL", "synchronous=NORMAL"):
        assert part in str(message.hint)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's OPTIONS")
def test_the_options_that_the_warning_proposes_silence_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "OPTIONS", {})
        (message,) = found()
    proposed = str(message.hint).removeprefix("Use OPTIONS = ").removesuffix(".")

    monkeypatch.setitem(connection.settings_dict, "OPTIONS", ast.literal_eval(proposed))

    assert ids() == []


@pytest.mark.parametrize(
    ("vendor", "size", "expected"),
    [
        ("mysql", 4 * 1024 * 1024 + 1, ["W003"]),
        ("mysql", 4 * 1024 * 1024, []),
        ("mysql", 1024 * 1024, []),
        ("postgresql", 64 * 1024 * 1024, []),
    ],
)
def test_bodies_larger_than_a_packet_of_mysql_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, vendor: str, size: int, expected: list[str]
) -> None:
    # The check looks at nothing but the vendor's name, so each machine can look at each vendor.
    monkeypatch.setattr(type(connections["default"]), "vendor", vendor)

    with override_settings(NATEQ_WEBHOOKS={"MAX_BODY_BYTES": size}):
        assert ids() == expected


# Secrets


@pytest.mark.django_db
def test_an_empty_secret_is_a_warning_with_the_name_of_its_webhook() -> None:
    shop = Webhook.objects.create(name="shop", secret="")
    Secret.objects.create(webhook=shop, secret="whsec_private_0123456789abcdef")
    Webhook.objects.create(name="support")

    (message,) = found(databases=["default"])

    assert message.id == "nateq_webhooks.W004"
    assert "whsec_private_0123456789abcdef" not in repr(message)
    assert '"shop"' in message.msg
    assert "Webhooks > shop" in str(message.hint)


@pytest.mark.django_db
def test_an_empty_older_secret_is_one_warning_for_each_webhook() -> None:
    shop = Webhook.objects.create(name="shop", secret="")
    support = Webhook.objects.create(name="support")
    for webhook in (shop, shop, support, support):
        Secret.objects.create(webhook=webhook, secret="")

    messages = found(databases=["default"])

    assert [message.id for message in messages] == ["nateq_webhooks.W004"] * 2
    assert ['"shop"' in message.msg for message in messages] == [True, False]


@pytest.mark.django_db
def test_a_stored_secret_that_is_too_short_is_a_warning_that_does_not_show_it() -> None:
    shop, support = Webhook.objects.create(name="shop"), Webhook.objects.create(name="support")
    Secret.objects.create(webhook=support, secret="whsec_older_0123456789abcdef")
    with connection.cursor() as cursor:  # behind Django's back, as an older version may have
        cursor.execute("UPDATE nateq_webhooks_webhook SET secret = 'whsec_hunter2' WHERE name = 'shop'")
        cursor.execute("UPDATE nateq_webhooks_secret SET secret = 'whsec_'")

    first, second = warnings_of("W004")

    assert first.msg == (
        f'A signing secret of webhook "{shop}" is too short: 7 visible characters after its prefix, at least 16 are '
        "needed; it verifies nothing."
    )
    assert f'"{support}" is too short: 0 visible' in second.msg
    assert "hunter2" not in repr((first, second))


@pytest.mark.django_db
@override_settings(NATEQ_WEBHOOKS={"SECRET_ENCODING": "base64"})
def test_a_stored_base64_secret_of_too_few_bytes_is_a_warning() -> None:
    with override_settings(NATEQ_WEBHOOKS={}):
        Webhook.objects.create(name="shop", secret="whsec_0123456789abcdef")

    (message,) = warnings_of("W004")

    assert "is not at least 16 bytes in base64" in message.msg


# Overdue work


def fails(**kwargs: Any) -> None:
    raise ValueError("broken")


@pytest.fixture
def failed_run(sender: Sender, connect: Connect) -> Run:
    """A run that failed in the request; its next try is for a worker."""
    connect(signals.ticket_created, fails)
    sender.post(envelope())
    return Run.objects.get(status=Run.Status.FAILED)


def test_a_try_that_is_long_overdue_is_a_warning_that_names_the_command(failed_run: Run) -> None:
    assert ids(databases=["default"]) == []
    Run.objects.update(next_try_at=timezone.now() - timedelta(minutes=10))
    assert ids(databases=["default"]) == []
    Run.objects.update(next_try_at=timezone.now() - timedelta(minutes=20))

    (message,) = found(databases=["default"])

    assert message.id == "nateq_webhooks.W005"
    assert not message.is_serious(checks.ERROR)
    assert "(deliveries: 0, runs: 1)" in message.msg
    assert "nateq_worker --once" in str(message.hint)


def test_a_run_that_waits_for_its_receiver_is_no_warning(failed_run: Run) -> None:
    Run.objects.update(next_try_at=timezone.now() - timedelta(days=1), receiver="gone")

    call_command("nateq_worker", "--once", verbosity=0)

    assert failed_run.pk in Run.objects.filter(status=Run.Status.WAITING).values_list("pk", flat=True)
    assert ids(databases=["default"]) == []


def test_a_delivery_that_is_not_dispatched_is_a_warning(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, fails)
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": "worker"}):
        sender.post(envelope())
        Delivery.objects.update(dispatch_at=timezone.now() - timedelta(hours=1))

        (message,) = found(databases=["default"])

    assert "(deliveries: 1, runs: 0)" in message.msg


def test_a_run_within_a_long_lease_is_no_warning(failed_run: Run) -> None:
    Run.objects.update(next_try_at=timezone.now() - timedelta(minutes=20))

    with override_settings(NATEQ_WEBHOOKS={"RUN_LEASE": timedelta(minutes=30)}):
        assert ids(databases=["default"]) == []


@pytest.mark.django_db
@pytest.mark.parametrize("databases", [None, [], ["replica"]])
def test_a_database_that_is_not_checked_gets_no_query(failed_run: Run, databases: list[str] | None) -> None:
    Run.objects.update(next_try_at=timezone.now() - timedelta(days=1))
    Webhook.objects.create(name="support", secret="")

    with CaptureQueriesContext(connection) as captured:
        assert ids(databases=databases) == []

    # Django's own checks may ask the database what it can do.
    assert [query["sql"] for query in captured if "nateq_webhooks" in query["sql"]] == []


def test_a_database_without_tables_has_no_messages(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'empty.sqlite3'}"

    done = run_python("-m", "django", "check", "--database", "default", database=database)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "no issues" in done.stdout


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's connections and statements")
@pytest.mark.parametrize(
    ("max_age", "options", "expected"),
    [
        (0, {}, "I001"),
        (0, {"prepare_threshold": 2}, "I001"),
        (None, {}, "I002"),
        (600, {"prepare_threshold": None}, "I002"),
        (0, {"pool": True}, "I002"),
        (None, {"prepare_threshold": 2}, None),
        (0, {"pool": True, "prepare_threshold": 0}, None),
    ],
)
def test_connections_for_each_request_and_unprepared_statements_are_suggestions_before_a_deployment(
    monkeypatch: pytest.MonkeyPatch, max_age: int | None, options: dict[str, Any], expected: str | None
) -> None:
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", max_age)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    informed = [each for each in found(deploy=True, level=checks.INFO) if each.level == checks.INFO]
    suggested = [each for each in informed if each.id != "nateq_webhooks.I003"]  # of every database

    assert [str(each.id) for each in suggested] == ([f"nateq_webhooks.{expected}"] if expected else [])
    assert all(each.hint for each in suggested)
    assert not [each for each in found(level=checks.INFO) if each.level == checks.INFO]


@pytest.mark.skipif(connection.vendor == "postgresql", reason="what other databases are spared")
def test_other_databases_are_not_suggested_what_only_postgresql_has() -> None:
    suggestions = {each.id for each in found(deploy=True, level=checks.INFO) if each.level == checks.INFO}
    assert suggestions <= {"nateq_webhooks.I003"}
