"""The sandbox as a process of its own: its options, a kill and a restart, and a missing extra."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command

from nateq_webhooks.sandbox import Sandbox
from tests.conftest import wait_until
from tests.sandbox.conftest import KEY, TLS
from tests.sandbox.receiver import Receiver

ROOT = Path(__file__).parents[2]


class Process:
    """`python -m nateq_webhooks.sandbox`, started and listening."""

    def __init__(self, *options: str, program: tuple[str, ...] = ("-m", "nateq_webhooks.sandbox")) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *program, "--port", "0", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        found = re.search(r"http://\S+?:\d+", first)
        assert found, first
        self.url = found[0]
        self.api = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=120,
            verify=TLS,
        )

    def kill(self) -> None:
        self._process.kill()
        self._end()

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._end()

    def rest_of_output(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def _end(self) -> int:
        code = self._process.wait(60)
        self.api.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start_one(*options: str, **more: tuple[str, ...]) -> Process:
        started.append(Process(*options, **more))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


def run(*options: str, code: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "nateq_webhooks.sandbox"]
    return subprocess.run(
        [sys.executable, *program, *options], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def create(process: Process, url: str) -> str:
    answer = process.api.post("/webhooks", json={"url": url, "events": ["ticket.created"]})
    return str(answer.json()["data"]["id"])


def test_it_runs_as_a_program_and_ends_when_it_is_told_to(start: Callable[..., Process], receiver: Receiver) -> None:
    process = start("--key", KEY, "--retry-base", "0.05", "--fault", "duplicate:count=1")
    create(process, receiver.url)

    process.api.post("/sandbox/events", json={"event": "ticket.created", "count": 2})

    receiver.wait_for(3)
    assert "Webhooks" in httpx.get(process.url, trust_env=False, verify=TLS).text
    assert process.terminate() == 0


def test_the_management_command_runs_the_same(start: Callable[..., Process], receiver: Receiver) -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'nateq_sandbox', *sys.argv[1:]])"
    )
    process = start("--key", KEY, program=("-c", code))

    create(process, receiver.url)
    process.api.post("/sandbox/events", json={"event": "ticket.created"})

    receiver.wait_for(1)
    assert process.terminate() == 0


def test_the_management_command_reports_a_wrong_option() -> None:
    with pytest.raises(CommandError, match="tg_test_"):
        call_command("nateq_sandbox", "--key", "tg_live_1")


def test_after_a_kill_every_accepted_event_is_delivered_by_the_next_process(
    start: Callable[..., Process], receiver: Receiver, tmp_path: Path
) -> None:
    options = ("--key", KEY, "--retry-base", "0.05", "--database", str(tmp_path / "nateq.sqlite3"))
    receiver.gate.clear()  # the receiver hangs: attempts are under way when the kill comes
    first = start(*options)
    webhook_id = create(first, receiver.url)
    accepted: list[str] = []
    for _ in range(20):
        answer = first.api.post("/sandbox/events", json={"event": "ticket.created", "count": 5})
        accepted += answer.json()["data"]["delivery_ids"]
    receiver.wait_for(8)
    first.kill()
    before = len(receiver.arrivals)
    receiver.gate.set()

    second = start(*options)

    receiver.wait_for(before + 100, seconds=120)
    assert set(receiver.ids[before:]) == set(accepted)
    interrupted = {arrival.delivery_id for arrival in receiver.arrivals[:before]}
    assert {arrival.attempt for arrival in receiver.arrivals[before:] if arrival.delivery_id in interrupted} == {2}
    log = second.api.get(f"/webhooks/{webhook_id}/logs", params={"limit": 100}).json()
    assert log["meta"]["total"] >= 100


def test_a_delivery_that_waits_for_its_retry_is_retried_after_a_restart(
    start: Callable[..., Process], receiver: Receiver, tmp_path: Path
) -> None:
    options = ("--key", KEY, "--retry-base", "1", "--database", str(tmp_path / "nateq.sqlite3"))
    receiver.answer = lambda arrival: 503 if arrival.attempt == 1 else 200
    first = start(*options)
    create(first, receiver.url)
    first.api.post("/sandbox/events", json={"event": "ticket.created"})
    receiver.wait_for(1)
    first.terminate()

    start(*options)

    receiver.wait_for(2)
    assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2]
    assert len(set(receiver.ids)) == 1


def test_without_a_key_one_is_made_up_and_shown(start: Callable[..., Process]) -> None:
    process = start()
    os.kill(process._process.pid, signal.SIGTERM)

    assert re.search(r"API key: tg_test_[0-9a-f]{48}\n", process.rest_of_output())


def test_listening_beyond_this_machine_is_warned_of() -> None:
    code = (
        "import sys, threading; threading.Event.wait = lambda *_: True\n"
        "from nateq_webhooks.sandbox.command_line import main; sys.exit(main(sys.argv[1:]))"
    )
    process = run("--key", KEY, "--port", "0", "--host", "0.0.0.0", code=code)  # noqa: S104

    assert "Warning: the sandbox listens on 0.0.0.0" in process.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--key", "tg_live_1"], "tg_test_"),
        (["--fault", "dorp"], "drop"),
        (["--fault", "drop:count=x"], "drop:count=3"),
        (["--event", "X"], "ticket.merged"),
        (["--port", "99999"], "99999"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(options: list[str], told: str) -> None:
    process = run(*options)

    assert process.returncode == 2
    assert told in process.stderr
    assert process.stderr.count("\n") == 1


def test_a_missing_extra_is_told_with_the_command_that_installs_it() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "from nateq_webhooks.sandbox.command_line import main; sys.exit(main(['--port', '0']))"
    )

    process = run(code=code)

    assert process.returncode == 1
    assert process.stderr == (
        'The sandbox needs httpx, which is not installed: pip install "nateq-webhooks[sandbox]"\n'
    )


def test_the_sandbox_imports_no_django() -> None:
    code = (
        "import sys, json; from nateq_webhooks.sandbox import Sandbox\n"
        "with Sandbox(key='tg_test_a') as sandbox: sandbox.send('ticket.created')\n"
        "print(json.dumps([name for name in sys.modules if name.partition('.')[0] in ('django', 'celery')]))"
    )

    process = run(code=code)

    assert json.loads(process.stdout) == [], process.stderr


START = """
import sys
from nateq_webhooks.sandbox import Sandbox
sandbox = Sandbox(key="tg_test_0123456789abcdef")
sandbox.start()
print(sandbox._process.pid, sandbox.url, flush=True)
sys.stdin.read()
"""


def is_running(process: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in ("", "Z")


def test_a_sandbox_ends_when_the_process_that_started_it_is_killed_and_leaves_no_file(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", START],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        number, url = parent.stdout.readline().split()
        assert httpx.get(url, trust_env=False, verify=TLS).status_code == 200
        assert [path.name[:14] for path in tmp_path.iterdir()] == ["nateq_sandbox_"]
        parent.kill()

    wait_until(lambda: not is_running(int(number)), seconds=120)
    assert list(tmp_path.iterdir()) == []


def test_no_key_and_no_token_is_among_the_arguments_of_the_process() -> None:
    with Sandbox(key="tg_test_0123456789abcdef") as sandbox:
        process = str(sandbox._process.pid)
        shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", process], capture_output=True, text=True, check=True)

    assert shown.stdout.strip().endswith("-m nateq_webhooks.sandbox --controlled")


def test_the_sandboxs_own_site_passes_djangos_checks() -> None:
    code = (
        "from nateq_webhooks.sandbox.options import Options\n"
        "from nateq_webhooks.sandbox.site import settings\n"
        "with settings.configured(Options.checked('tg_test_a')):\n"
        "    from django.core.management import call_command\n"
        "    call_command('check', '--fail-level', 'WARNING')"
    )

    process = run(code=code)

    assert process.returncode == 0, process.stderr
