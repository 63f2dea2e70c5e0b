"""`manage.py demo` as a person runs it: a process of its own, a database file of its own, real HTTP."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from example_project.board.audit import Attempt, Observed, problems
from example_project.board.expectations import Receiver
from nateq_webhooks.protocol.events import EVENTS

ROOT = Path(__file__).resolve().parent.parent
SECONDS_PER_RUN = 120


def demo_command(*options: str) -> list[str]:
    return [sys.executable, "manage.py", "demo", *options]


def environment(database: Path) -> dict[str, str]:
    """Nothing that configures the project but the database; what the operating system needs stays."""
    configuring = {"DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "NATEQ_PUBLIC_URL", "DJANGO_SETTINGS_MODULE"}
    kept = {name: value for name, value in os.environ.items() if name not in configuring}
    return kept | {"DATABASE_URL": f"sqlite:///{database}", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def run_once(database: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        demo_command("--once", "--port", "0", "--nateq-port", "0", *options),
        cwd=ROOT,
        env=environment(database),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_PER_RUN,
        check=False,
    )


def row(output: str, title: str) -> dict[str, int]:
    """The numbers of one line of the summary, by the heading of their column."""
    lines = [line.split() for line in output.splitlines()]
    heading = next(line for line in lines if line[:2] == ["event", "sent"])
    found = next(line for line in lines if line[:1] == [title])
    return dict(zip(heading[1:], map(int, found[1:]), strict=True))


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A database that was not there before, and the run that made it."""
    database = tmp_path_factory.mktemp("demo") / "demo.sqlite3"
    return database, run_once(database, "--password", "a-password-of-the-test")


@pytest.fixture
def used_database(first_run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A copy of a database on which the demo has run."""
    copy = tmp_path / "copy.sqlite3"
    with closing(sqlite3.connect(first_run[0])) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def alter(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(statement)


def count(database: Path, query: str) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (number,) = connection.execute(query).fetchone()
    return int(number)


def attempt(event: str, *, status: int | None = 200, is_genuine: bool = True) -> Attempt:
    return Attempt(
        event=event,
        delivery_id="dlv_1",
        number=1,
        status=status,
        is_genuine=is_genuine,
        ended_at=datetime(2026, 6, 30, tzinfo=UTC),
    )


def observed(*effects: Receiver, stored: int = 1, status: str = "processed") -> Observed:
    return Observed(
        stored=Counter({"dlv_1": stored}),
        status={"dlv_1": status} if stored else {},
        effects=Counter(("dlv_1", receiver.value) for receiver in effects),
    )


JOURNAL, BOARD, CRM = Receiver.JOURNAL, Receiver.BOARD, Receiver.CRM


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([attempt("user.created")], observed(JOURNAL)),
        ([attempt("user.created"), attempt("user.created")], observed(JOURNAL)),
        ([attempt("user.created", status=503), attempt("user.created")], observed(JOURNAL)),
        ([attempt("user.created", status=401, is_genuine=False), attempt("user.created")], observed(JOURNAL)),
        ([attempt("ticket.closed")], observed(JOURNAL, BOARD)),
        ([attempt("lead.created")], observed(JOURNAL, CRM)),
        ([attempt("broadcast.failed")], observed(JOURNAL, status="failed")),
        ([attempt("broadcast.failed")], observed(JOURNAL, status="dead")),
        ([attempt("user.created", status=401, is_genuine=False)], observed(stored=0)),
    ],
)
def test_the_audit_finds_nothing_when_all_is_well(given: list[Attempt], found: Observed) -> None:
    assert problems(["dlv_1"], given, found) == []


@pytest.mark.parametrize(
    ("given", "found", "problem"),
    [
        ([], observed(stored=0), "lost: dlv_1 was never sent"),
        ([attempt("user.created")], observed(stored=0), "lost: user.created dlv_1 is not stored"),
        ([attempt("user.created", status=503)], observed(stored=0), "lost: user.created dlv_1 is not stored"),
        (
            [attempt("user.created")],
            observed(JOURNAL, stored=2),
            "doubled: user.created dlv_1 is stored 2 times",
        ),
        (
            [attempt("ticket.closed")],
            observed(JOURNAL),
            "lost: receiver board did not run for ticket.closed dlv_1",
        ),
        (
            [attempt("ticket.closed")],
            observed(JOURNAL, BOARD, BOARD),
            "doubled: receiver board ran 2 times, not 1, for ticket.closed dlv_1",
        ),
        (
            [attempt("broadcast.failed")],
            observed(JOURNAL, CRM, status="failed"),
            "doubled: receiver crm ran 1 times, not 0, for broadcast.failed dlv_1",
        ),
        (
            [attempt("user.created")],
            observed(JOURNAL, status="received"),
            'wrong status: user.created dlv_1 has "received"',
        ),
        (
            [attempt("broadcast.failed")],
            observed(JOURNAL),
            'wrong status: broadcast.failed dlv_1 has "processed"',
        ),
        (
            [attempt("user.created", status=500)],
            observed(JOURNAL),
            "answered 500 instead of 200: user.created dlv_1, attempt 1",
        ),
        (
            [attempt("user.created", status=None)],
            observed(JOURNAL),
            "answered nothing instead of 200: user.created dlv_1, attempt 1",
        ),
        (
            [attempt("user.created", is_genuine=False)],
            observed(stored=0),
            "answered 200 instead of 401: user.created dlv_1, attempt 1",
        ),
        (
            [attempt("user.created", status=401, is_genuine=False)],
            observed(),
            "let in: user.created dlv_1 has no valid signature, but was stored",
        ),
        (
            [attempt("user.created", status=401, is_genuine=False)],
            observed(JOURNAL, stored=0),
            "let in: user.created dlv_1 has no valid signature, but was stored",
        ),
    ],
)
def test_the_audit_names_the_one_thing_that_is_wrong(given: list[Attempt], found: Observed, problem: str) -> None:
    assert problems(["dlv_1"], given, found) == [problem]


def test_one_round_on_a_fresh_database_loses_and_doubles_nothing(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    database, run = first_run

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert "Nothing lost, nothing doubled" in run.stdout
    total = row(run.stdout, "total")
    assert total["sent"] == total["accepted"] + total["repeated"] + total["refused"] + total["put_off"]
    assert total["stored"] == total["accepted"] == count(database, "SELECT count(*) FROM nateq_webhooks_delivery")
    assert total["effects"] == count(database, "SELECT count(*) FROM board_effect")
    assert total["repeated"] > 2
    assert total["refused"] > 2
    assert total["put_off"] >= 2


def test_one_round_sends_every_published_event(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    for event in EVENTS:
        assert row(first_run[1].stdout, event)["accepted"] >= 1


def test_the_local_webhook_knows_itself_registered_at_the_local_nateq(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    with closing(sqlite3.connect(first_run[0])) as connection:
        query = "SELECT registration, nateq_id, secret FROM nateq_webhooks_webhook WHERE name = 'demo'"
        [(registration, nateq_id, secret)] = connection.execute(query)

    assert registration == "registered"
    assert nateq_id.startswith("wh_")
    assert secret.startswith("fernet:")  # encrypted, as the extra is installed


def test_a_failing_receiver_stops_no_other_receiver(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    failed = row(first_run[1].stdout, "broadcast.failed")

    assert failed["failed"] == failed["stored"] == 1
    assert failed["effects"] == 1
    assert row(first_run[1].stdout, "total")["failed"] == 1


def test_the_columns_of_the_summary_are_aligned(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    lines = first_run[1].stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("event "))
    table = lines[start : start + len(EVENTS) + 4]

    assert {len(line) for line in table} == {len(table[0])}


def test_the_first_run_tells_the_password_of_the_admin_login(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert "Admin login demo, password a-password-of-the-test" in first_run[1].stdout


def test_a_second_round_on_the_same_database_counts_only_itself(used_database: Path) -> None:
    stored_before = count(used_database, "SELECT count(*) FROM nateq_webhooks_delivery")

    run = run_once(used_database)

    assert run.returncode == 0, run.stdout + run.stderr
    assert row(run.stdout, "total")["stored"] == stored_before
    assert count(used_database, "SELECT count(*) FROM nateq_webhooks_delivery") == 2 * stored_before
    assert "a-password-of-the-test" not in run.stdout


def test_an_effect_that_is_lost_fails_the_round_and_is_named(used_database: Path) -> None:
    alter(
        used_database,
        """
        CREATE TRIGGER lose AFTER INSERT ON board_effect WHEN NEW.receiver = 'board'
        BEGIN DELETE FROM board_effect WHERE id = NEW.id; END;
        """,
    )

    run = run_once(used_database)

    assert run.returncode == 1
    assert re.search(r"lost: receiver board did not run for ticket\.closed dlv_\w+", run.stderr)
    assert "doubled" not in run.stderr
    assert "Nothing lost" not in run.stdout


def test_an_effect_that_is_doubled_fails_the_round_and_is_named(used_database: Path) -> None:
    alter(
        used_database,
        """
        CREATE TRIGGER double AFTER INSERT ON board_effect WHEN NEW.receiver = 'crm'
        BEGIN INSERT INTO board_effect (delivery_id, receiver, created_at)
        VALUES (NEW.delivery_id, NEW.receiver, NEW.created_at); END;
        """,
    )

    run = run_once(used_database)

    assert run.returncode == 1
    assert re.search(r"doubled: receiver crm ran 2 times, not 1, for lead\.created dlv_\w+", run.stderr)
    assert "lost" not in run.stderr
    assert "Nothing lost" not in run.stdout


def test_a_webhook_that_takes_nothing_fails_the_round_with_its_answers(used_database: Path) -> None:
    alter(used_database, "UPDATE nateq_webhooks_webhook SET is_active = 0")

    run = run_once(used_database)

    assert run.returncode == 1
    assert re.search(r"answered 404 instead of 200: user\.created dlv_\w+, attempt 1", run.stderr)
    assert re.search(r"lost: user\.created dlv_\w+ is not stored", run.stderr)


def test_a_taken_port_is_said_and_another_one_found(used_database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = run_once(used_database, "--port", str(port))

    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Port {port} is taken; serving on " in run.stdout


def test_a_taken_port_of_the_local_nateq_is_said_and_another_one_found(used_database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = run_once(used_database, "--nateq-port", str(port))

    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Port {port} is taken; serving on " in run.stdout


def test_without_the_extra_the_demo_says_what_to_install(used_database: Path) -> None:
    program = (
        "import sys; sys.modules['httpx'] = None; sys.argv = ['manage.py', 'demo', '--once', '--port', '0']; "
        "import runpy; runpy.run_path('manage.py', run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(used_database),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_PER_RUN,
        check=False,
    )

    assert run.returncode == 1
    assert 'The sandbox needs httpx, which is not installed: pip install "nateq-webhooks[sandbox]"' in run.stderr
    assert "Traceback" not in run.stderr


@contextmanager
def running_demo(database: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo as it goes on and on; killed in the end if nothing else has stopped it."""
    with subprocess.Popen(
        demo_command("--port", "0", "--nateq-port", "0", "--every", "0.01", "--password", "a-password-of-the-test"),
        cwd=ROOT,
        env=environment(database),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # A shell has the jobs that it runs in the background ignore Ctrl-C, and so would the demo.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read the output up to the first line that matches; the pipe ends when the process does."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"No line matches {pattern!r} in:\n{''.join(seen)}")


def page(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def browser(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, follow_redirects=True, trust_env=False, timeout=SECONDS_PER_RUN)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not a signal to send there")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_goes_on_until_it_is_stopped_and_then_ends_cleanly(used_database: Path, stop: signal.Signals) -> None:
    with running_demo(used_database) as process:
        read_until(process, r"Continuing with")
        read_until(process, r" +401  bad signature, refused$")
        read_until(process, r"Nothing lost, nothing doubled")
        process.send_signal(stop)
        read_until(process, r"^Stopped\.")

        assert process.wait(SECONDS_PER_RUN) == 0


def test_the_demo_serves_the_board_its_style_and_the_admin(used_database: Path) -> None:
    with running_demo(used_database) as process:
        address = read_until(process, r"^Board +(http://[\d.:]+)/")[1]
        read_until(process, r"^Admin +http://[\d.:]+/admin/$")
        read_until(process, r"^Deliveries +http://[\d.:]+/admin/nateq_webhooks/delivery/$")

        with browser(address) as client:
            board = page(client, "/")
            assert "Charged twice for order #4821" in board
            assert '<h3 dir="auto">المنتج وصل مكسورًا</h3>' in board
            assert "James O&#x27;Connor" in board
            assert "http-equiv" not in board
            assert 'http-equiv="refresh"' in page(client, "/?live=1")
            stylesheet = re.search(r'href="(/static/board/[^"]+)"', board)
            assert stylesheet is not None
            assert page(client, stylesheet[1])
            assert page(client, "/admin/login/")
            assert page(client, "/static/admin/css/base.css")


def test_the_demo_leads_to_its_webhook_on_the_local_nateq_with_the_history_of_what_was_sent(
    used_database: Path,
) -> None:
    with running_demo(used_database) as process:
        found = read_until(process, r"^Nateq +(http://[\d.:]+)(/webhooks/wh_\w+)$")
        with browser(found[1]) as client:
            webhook = page(client, found[2])
            pages = [page(client, f"{found[2]}?page={number}") for number in range(1, 6)]

        assert "broadcast.failed" in webhook
        assert f"{found[2]}/send" in webhook
        assert any("503" in each for each in pages)  # the first attempts, as many as there were meanwhile


def test_the_admin_shows_the_address_that_the_local_nateq_posts_to(used_database: Path) -> None:
    with running_demo(used_database) as process:
        address = read_until(process, r"^Board +(http://[\d.:]+)/")[1]
        nateq = read_until(process, r"^Nateq +(http\S+)$")[1]
        with browser(address) as client:
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page(client, "/admin/login/"))
            assert token is not None
            login = {"username": "demo", "password": "a-password-of-the-test", "csrfmiddlewaretoken": token[1]}
            client.post("/admin/login/", data=login)
            link = re.search(
                r"/admin/nateq_webhooks/webhook/[0-9a-f-]{36}/change/", page(client, "/admin/nateq_webhooks/webhook/")
            )
            assert link is not None
            shown = re.search(re.escape(address) + r"/nateq/[0-9a-f-]{36}/", page(client, link[0]))
            assert shown is not None
            assert shown[0] in page(client, nateq)
            assert re.search(r"\d workers? (?:is|are) running", page(client, "/admin/nateq_webhooks/"))


def test_two_demos_on_one_database_do_not_disturb_each_other(used_database: Path) -> None:
    with running_demo(used_database) as process:
        read_until(process, r"Continuing with")
        run = run_once(used_database)
        read_until(process, r"Nothing lost, nothing doubled")
        read_until(process, r"Nothing lost, nothing doubled")

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_example_project_passes_its_own_tests(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "manage.py", "test", "example_project"],
        cwd=ROOT,
        env=environment(tmp_path / "not-used.sqlite3"),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS_PER_RUN,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert re.search(r"Ran [1-9]\d* tests", run.stderr)
