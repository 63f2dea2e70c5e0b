"""The site in processes of its own: commands that may be killed, and a receiver on a port that is known beforehand."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import wait_until
from tests.remote.conftest import KEY
from tests.server import ROOT, database_url
from tests.waiting import free_port, is_listening

TEMPLATE = """
from tests.settings_without_admin import *
from tests.settings_without_admin import INSTALLED_APPS

NATEQ_WEBHOOKS = {settings!r}
KILL_AT = {kill_at!r}
if KILL_AT:
    INSTALLED_APPS = [*INSTALLED_APPS, "tests.remote.killer.apps.KillerConfig"]
"""

KillAt = tuple[str, str, int]


@dataclass
class Site:
    """A site whose settings are a file of its own; `base_url` is the sandbox's."""

    folder: Path
    base_url: str
    port: int
    kill_at: KillAt | None = None

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `manage.py` with these arguments."""
        settings = {"API_KEY": KEY, "BASE_URL": self.base_url, "PUBLIC_URL": f"http://127.0.0.1:{self.port}"}
        name = f"site_{len(list(self.folder.iterdir()))}"
        (self.folder / f"{name}.py").write_text(TEMPLATE.format(settings=settings, kill_at=self.kill_at))
        environment = os.environ | {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": name,
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """Run `manage.py` and return its output; assert its exit code."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert KEY not in out + err
        assert code is None or process.returncode == code, f"{process.returncode}: {out}{err}"
        return out + err


@contextmanager
def receiver(port: int) -> Iterator[None]:
    """Serve the site on a port."""
    environment = os.environ | {"DATABASE_URL": database_url()}
    environment["DJANGO_SETTINGS_MODULE"] = "tests.settings_without_admin"
    command = [sys.executable, "-m", "gunicorn", "--threads", "8", "--bind", f"127.0.0.1:{port}", "tests.wsgi"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port), seconds=120)
        yield
    finally:
        server.terminate()
        server.wait(60)


def port() -> int:
    return free_port()
