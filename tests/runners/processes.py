"""The site in processes of its own, on the database of the running test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.server import ROOT, database_url
from tests.waiting import free_port, is_listening, wait_until

START_SECONDS = 120
END_SECONDS = 60


@dataclass(frozen=True)
class Process:
    """A running process and what it says."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text()

    def wait_until_it_says(self, text: str) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            assert text in self.output or self.popen.poll() is None, self.output
            return text in self.output

        wait_until(said, seconds=START_SECONDS)

    def wait_until_it_ends(self) -> int:
        """Wait for its end; return its exit code."""
        return self.popen.wait(END_SECONDS)


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[Process]:
    """Run `python ...` with the settings of the site, for the length of the block."""
    variables = {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "tests.runners.site.settings"}
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            cwd=ROOT,
            env=os.environ | variables | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Process(popen, Path(folder) / "log")
        finally:
            popen.terminate()
            try:
                popen.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait(END_SECONDS)


def run(*arguments: str, **environment: str) -> str:
    """Run `python ...` to its end, which must be a good one; return what it said."""
    with process(*arguments, **environment) as started:
        assert started.popen.wait(START_SECONDS) == 0, started.output
        return started.output


@contextmanager
def worker(*options: str, **environment: str) -> Iterator[Process]:
    """Run `manage.py nateq_worker`, and wait until it works."""
    with process("-m", "django", "nateq_worker", *options, **environment) as started:
        started.wait_until_it_says("Working with")
        yield started


SERVERS = {
    "gunicorn sync": ["gunicorn", "--bind", "127.0.0.1:{port}", "tests.runners.site.wsgi"],  # in the main thread
    "gunicorn": ["gunicorn", "--threads", "4", "--bind", "127.0.0.1:{port}", "tests.runners.site.wsgi"],
    "gevent": ["gunicorn", "--worker-class", "gevent", "--bind", "127.0.0.1:{port}", "tests.runners.site.wsgi"],
    "uvicorn": ["uvicorn", "--port", "{port}", "--lifespan", "off", "tests.runners.site.asgi:application"],
    "uvicorn, in threads": [
        *("uvicorn", "--port", "{port}", "--lifespan", "off", "tests.runners.site.asgi:in_threads"),
    ],
}


@contextmanager
def site(server: str = "gunicorn", **environment: str) -> Iterator[int]:
    """Serve the site; yield its port."""
    port = free_port()
    arguments = [part.format(port=port) for part in SERVERS[server]]
    with process("-m", *arguments, **environment) as running:

        def answers() -> bool:
            assert running.popen.poll() is None, running.output
            return is_listening(port)

        wait_until(answers, seconds=START_SECONDS)
        yield port
