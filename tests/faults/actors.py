"""The processes that are killed: web workers under gunicorn, and whatever runs receivers."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.services import wait_for
from tests.waiting import free_port, is_listening

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = ["-m", "django", "nateq_worker", "--verbosity", "0", "--concurrency", "2"]
CELERY = ["-m", "celery", "-A", "tests.faults.celery", "worker", "-P", "prefork", "-c", "2", "-l", "critical"]
BEAT = ["-m", "celery", "-A", "tests.faults.celery", "beat", "-l", "critical"]
COMMANDS = {
    # Inline tries again by a worker, too; a dead web worker's deliveries wait for their lease.
    "inline": [WORKER],
    "worker": [WORKER, WORKER],
    "tasks": [["-m", "django", "db_worker", "--interval", "0.1", "-v", "0"], WORKER],
    "celery": [CELERY, BEAT],
}


def runners_of(dispatch: str) -> Sequence[list[str]]:
    """Return the commands that run receivers with this setting of `DISPATCH`."""
    return COMMANDS.get(dispatch, COMMANDS["worker"])


@dataclass
class Actors:
    """The site's processes; `kill_one` takes a random one of them, and `revive` starts what is dead."""

    environment: dict[str, str]
    runners: Sequence[list[str]]
    site: str = "tests.faults.wsgi"
    port: int = field(default_factory=free_port)
    kills: int = 0
    _site: "subprocess.Popen[bytes] | None" = None
    _runners: "list[tuple[list[str], subprocess.Popen[bytes]]]" = field(default_factory=list)

    def start(self) -> None:
        """Start everything and wait until the site answers."""
        options = [
            *("--preload", "--workers", "2", "--threads", "4"),
            *("--timeout", "60", "--backlog", "512", "--log-level", "critical"),
        ]
        self._site = self._popen(["-m", "gunicorn", *options, "--bind", f"127.0.0.1:{self.port}", self.site])
        for command in self.runners:
            self._runners.append((command, self._popen(command)))
        wait_for(lambda: is_listening(self.port), "the site's answer", 30)

    def kill_one(self) -> None:
        """Kill a web worker (gunicorn starts another) or a runner, its children included, with SIGKILL."""
        assert self._site is not None
        web = _children(self._site.pid)
        victim = random.choice(["web"] * len(web) + list(range(len(self._runners))))
        if victim == "web":
            _kill(random.choice(web))
        else:
            process = self._runners[int(victim)][1]
            for pid in [process.pid, *_children(process.pid)]:
                _kill(pid)
            process.wait()
        self.kills += 1
        self.revive()

    def revive(self) -> None:
        """Start again what was killed or has ended."""
        for number, (command, process) in enumerate(self._runners):
            if process.poll() is not None:
                self._runners[number] = (command, self._popen(command))

    def stop(self) -> None:
        """End everything."""
        for process in [self._site, *(process for _command, process in self._runners)]:
            if process is not None:
                for pid in [process.pid, *_children(process.pid)]:
                    _kill(pid)
                process.wait()

    def _popen(self, arguments: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("FAULTS_VERBOSE") else subprocess.DEVNULL,
        )


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    direct = [int(line) for line in listed.split()]
    return direct + [grandchild for child in direct for grandchild in _children(child)]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
