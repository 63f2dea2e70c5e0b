"""README's steps and the tutorial, followed as they are written: files are saved, commands run in a shell."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.waiting import free_port, wait_until

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parent.parent
SERVICES: Final = ("python -m nateq_webhooks.sandbox", "python manage.py runserver", "python manage.py nateq_worker")
"""Commands that do not end by themselves."""

INSTALLING: Final = ("python3 -m venv", ". .venv/bin/activate", "pip install")
"""Commands that the environment of the tests stands for."""


class Block(NamedTuple):
    """A block of a page, and the text between it and the block before."""

    language: str
    code: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page, without the indentation of a list's item."""
    end = 0
    for match in re.finditer(r"^( *)```(sh|python)\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL):
        code = re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE)
        yield Block(match[2], code, page[end : match.start()])
        end = match.end()


class Reader:
    """Follows a page in a folder, on free ports instead of those that the page names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"8765": free_port(), "8000": free_port()}
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["PYTHONUNBUFFERED"] = "1"
        self.is_outdated = False

    def follow(self, page: str) -> str:
        """Do what the blocks of a page say, in their order. Return what the commands wrote."""
        written = ""
        for block in blocks(page):
            code = block.code
            for documented, port in self.ports.items():
                code = code.replace(documented, str(port))
            if block.language == "python":
                self._save(code, block.text)
            else:
                written += self._run(code)
        return written

    def _save(self, code: str, text: str) -> None:
        named = re.findall(r"(At the end of )?`([\w/]+\.py)`", text)
        assert named, f"No file is named before\n{code}"
        is_addition, name = named[-1]
        path = self.folder / name
        path.write_text(path.read_text() + "\n" + code if is_addition else code)
        self.is_outdated = True

    def _run(self, code: str) -> str:
        lines = [line for line in code.splitlines() if not line.startswith(INSTALLING)]
        if len(lines) == 1 and lines[0].startswith(SERVICES):
            self._start(lines[0])
            return ""
        if self.is_outdated:
            self._restart_site()
        for line in lines:
            if line.startswith("export "):
                self.environment |= dict(pair.split("=", 1) for pair in line.split()[1:])
        return self._shell("\n".join(["set -e", *lines]))

    def _shell(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, command: str) -> None:
        if "runserver" in command:
            # What reloads the site would do so at a moment of its own.
            command += f" --noreload {self.ports['8000']}"
            self.is_outdated = False
        with self.log_of(command).open("ab") as log:
            self.services[command] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        port = next((port for port in self.ports.values() if str(port) in command), None)
        if port is not None:
            wait_until(lambda: is_open(port), seconds=120)

    def _restart_site(self) -> None:
        for command in [command for command in self.services if "runserver" in command]:
            self._stop(self.services.pop(command))
            self._start(command.partition(" --noreload")[0])

    def log_of(self, command: str) -> Path:
        return self.folder / f"{command.split()[2].rpartition('.')[2]}.log"

    def stop(self) -> None:
        for process in self.services.values():
            self._stop(process)

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=120)


def is_open(port: int) -> bool:
    with socket.socket() as connecting:
        return connecting.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.stop()


def statuses(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM nateq_webhooks_delivery ORDER BY id")]


def test_readmes_steps_and_the_tutorial_do_what_they_say(reader: Reader, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text().partition("## Try it in your own project")[2].partition("\n## ")[0]

    reader.follow(readme)

    wait_until(lambda: statuses(tmp_path) == ["processed"], seconds=120)
    assert "Ticket tkt_" in (tmp_path / "runserver.log").read_text()

    written = reader.follow((ROOT / "docs/tutorial/first-receiver.md").read_text())

    assert "1 ticket" in written
    wait_until(lambda: statuses(tmp_path) == ["processed"] * 3, seconds=90)
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as connection:
        runs = dict(connection.execute("SELECT receiver, MAX(tries) FROM nateq_webhooks_run GROUP BY receiver"))
    assert runs == {"shop.receivers.open_ticket": 1, "shop.receivers.call_crm": 2}
