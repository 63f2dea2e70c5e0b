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


@pytest.mark.parametrize(("page", "tests"), [("docs/how-to/testing.md", 6), ("README.md", 1)])
def test_the_documented_tests_pass(tmp_path: Path, page: str, tests: int) -> None:
    (tmp_path / "shop").mkdir()
    for name, content in PROJECT.items():
        (tmp_path / name).write_text(dedent(content))
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    for number, block in enumerate(block for block in blocks if "def test_" in block):
        (tmp_path / f"test_{number}.py").write_text(dedent(block))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tmp_path), "-c", os.devnull]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests} passed" in done.stdout
