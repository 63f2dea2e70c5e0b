"""The project itself: docs and packaging agree with the code."""

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from nateq_webhooks import __version__, signals
from nateq_webhooks.conf import Settings
from nateq_webhooks.protocol.envelope import Note
from nateq_webhooks.protocol.events import EVENTS
from tests.commands import output

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("event", EVENTS)
def test_every_published_event_has_a_signal_of_its_name(event: str) -> None:
    assert getattr(signals, event.replace(".", "_")) is signals.signal_for(event)


def test_every_setting_is_in_the_docs_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text("docs/reference/settings.md"), re.MULTILINE))

    assert documented == {field.name.upper() for field in fields(Settings)}


def test_every_check_is_in_the_docs_and_no_other() -> None:
    code = "".join(text(f"nateq_webhooks/checks/{path.name}") for path in (ROOT / "nateq_webhooks/checks").glob("*.py"))
    code += text("nateq_webhooks/conf/__init__.py")
    code += "".join(re.findall(r'"[EWI]\d{3}"', text("nateq_webhooks/runners/celery.py")))
    code += "".join(re.findall(r'"[EWI]\d{3}"', text("nateq_webhooks/runners/tasks.py")))
    used = set(re.findall(r'"(?:E\d{3})"|\{_PREFIX\}\.([EWI]\d{3})', code)) | set(re.findall(r'"([EWI]\d{3})"', code))

    assert set(re.findall(r"`nateq_webhooks\.([EWI]\d{3})`", text("docs/reference/checks.md"))) == used - {""}


@pytest.mark.parametrize("note", Note)
def test_every_note_is_in_the_docs(note: Note) -> None:
    assert f"`{note}`" in text("docs/reference/protocol.md")


def test_readmes_commands_are_unbroken_lines_and_the_test_one_ends_in_pytest() -> None:
    commands = re.findall(r"^```sh\n(python3 -m venv .*)\n```$", text("README.md"), re.MULTILINE)

    assert len(commands) == 2
    assert commands[0].endswith("manage.py demo")
    assert commands[1].endswith("pytest -n auto")


def test_the_classifiers_name_the_tested_versions() -> None:
    classifiers = " ".join(PROJECT["classifiers"])

    assert set(re.findall(r"Python :: (3\.\d+)", classifiers)) == {"3.11", "3.12", "3.13"}
    assert set(re.findall(r"Django :: (\d\.\d)", classifiers)) == {"5.2", "6.0", "6.1"}
    assert "django>=5.2,<6.2" in PROJECT["dependencies"]


def test_the_version_is_one_that_the_changelog_can_name() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert "## Unreleased" in text("CHANGELOG.md")


@pytest.mark.django_db
def test_the_models_have_their_migrations() -> None:
    assert "No changes" in output("makemigrations", "--check", "--dry-run")


def test_the_rooms_import_only_what_they_may() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_event_and_the_published_names_can_be_imported_from_the_protocol_itself() -> None:
    from nateq_webhooks import protocol

    assert protocol.Event(
        name="ticket.created", timestamp=None, organization_id="", data=None, delivery_id="", attempt=1, version="1.0"
    ).resource in {name.partition(".")[0] for name in protocol.EVENTS}


def test_importing_the_package_loads_no_django() -> None:
    code = "import sys, nateq_webhooks; sys.exit('django' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_djangorestframework_celery_and_httpx_are_not_loaded_by_a_site_that_uses_none_of_them() -> None:
    code = (
        "import os, sys, uuid, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup(); "
        "from django.urls import reverse; reverse('nateq_webhooks:receive', args=[uuid.uuid4()]); "
        "sys.exit(' '.join({'rest_framework', 'celery', 'httpx'} & set(sys.modules)) or 0)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
