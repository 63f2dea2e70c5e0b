"""The test that docs/how-to/sandbox.md shows, run as it is written there, on the SQLite file that it asks for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
SECRET_KEY = "tests only"
USE_TZ = True
STATIC_URL = "static/"
ROOT_URLCONF = "project_urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "nateq_webhooks", "shop"]
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("nateq/", include("nateq_webhooks.urls"))]
"""
APP = """
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from nateq_webhooks import signals
        from shop.models import Ticket

        def open_ticket(*, event, **kwargs):
            Ticket.objects.create(number=event.data["id"])

        signals.ticket_created.connect(open_ticket, dispatch_uid="shop.open_ticket", weak=False)
"""
MODELS = """
from django.db import models


class Ticket(models.Model):
    number = models.CharField(max_length=50)
"""


@pytest.mark.slow
def test_the_documented_sandbox_test_loses_no_ticket_on_sqlite(tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/sandbox.md").read_text()
    test, databases = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    (tmp_path / "shop").mkdir()
    files = {
        "project_settings.py": SETTINGS + databases,
        "project_urls.py": URLS,
        "shop/__init__.py": "",
        "shop/apps.py": APP,
        "shop/models.py": MODELS,
        "test_tickets.py": test + "    from shop.models import Ticket\n\n    assert Ticket.objects.count() == 500\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "-c",
        os.devnull,
    ]
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
