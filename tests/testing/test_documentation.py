"""The tests that the documentation shows, run by pytest as they are written, in a project with a receiver."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent.parent

PROJECT: Final = {
    "project_settings.py": """
        SECRET_KEY = "tests only"
        USE_TZ = True
        STATIC_URL = "static/"
        ROOT_URLCONF = "project_urls"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        INSTALLED_APPS = ["django.contrib.contenttypes", "nateq_webhooks", "shop"]
    """,
    "project_urls.py": """
        from django.urls import include, path

        urlpatterns = [path("nateq/", include("nateq_webhooks.urls"))]
    """,
    "shop/__init__.py": "",
    "shop/models.py": """
        from django.db import models


        class Ticket(models.Model):
            number = models.CharField(max_length=50)
    """,
    "shop/apps.py": """
        from django.apps import AppConfig


        class ShopConfig(AppConfig):
            name = "shop"

            def ready(self):
                from nateq_webhooks import signals
                from shop.models import Ticket

                def open_ticket(*, event, **kwargs):
                    if event.data["requester"] is None:
                        raise LookupError("no such customer")
                    Ticket.objects.create(number=event.data["id"])

                signals.ticket_created.connect(open_ticket, dispatch_uid="shop.open_ticket", weak=False)
    """,
}


def blocks(page: str) -> list[str]:
    """Return the Python that a page shows."""
    found = re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [dedent(block) for block in found]


def run(folder: Path, tests: list[str], *, settings: str = "") -> str:
    """Run tests in the project, whose settings may have more at their end; return what pytest says."""
    (folder / "shop").mkdir()
    for name, content in PROJECT.items():
        (folder / name).write_text(dedent(content))
    with (folder / "project_settings.py").open("a") as file:
        file.write(settings)
    for number, test in enumerate(tests):
        (folder / f"test_{number}.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", os.devnull]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("page", "count"), [("docs/how-to/testing.md", 6), ("README.md", 1)])
def test_the_documented_tests_pass(tmp_path: Path, page: str, count: int) -> None:
    output = run(tmp_path, [block for block in blocks(page) if "def test_" in block])

    assert f"{count} passed" in output


@pytest.mark.slow
def test_the_documented_test_with_the_sandbox_loses_no_ticket_on_sqlite(tmp_path: Path) -> None:
    test, databases = blocks("docs/how-to/sandbox.md")[:2]
    counts = "    from shop.models import Ticket\n\n    assert Ticket.objects.count() == 500\n"

    assert "1 passed" in run(tmp_path, [test + counts], settings=databases)
