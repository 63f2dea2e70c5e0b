"""The file of a sandbox: whose file it takes, who else may use it, and what a reset leaves of it."""

import sqlite3
from pathlib import Path

import pytest

from nateq_webhooks.sandbox import Fault, Sandbox, SandboxError
from nateq_webhooks.sandbox.sandbox_errors import StoppedError
from tests.sandbox.conftest import KEY, client_of
from tests.sandbox.receiver import Receiver


def test_what_a_sandbox_kept_is_there_for_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "nateq.sqlite3"
    with Sandbox(key=KEY, database=file) as sandbox:
        webhook = sandbox.webhooks.create("https://shop.example/", ["ticket.created"])

    with Sandbox(key=KEY, database=file) as sandbox:
        assert sandbox.webhooks.all() == [webhook]


def test_the_file_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE auth_user (id INTEGER)")
    connection.close()
    before = file.read_bytes()

    with pytest.raises(SandboxError, match="the database of another program"):
        Sandbox(key=KEY, database=file)

    assert file.read_bytes() == before


def test_the_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "nateq.sqlite3"
    with Sandbox(key=KEY, database=file):
        pass
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(SandboxError, match="99, not 2"):
        Sandbox(key=KEY, database=file)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)

    with pytest.raises(SandboxError, match="not an SQLite file"):
        Sandbox(key=KEY, database=text)
    with pytest.raises(SandboxError, match="can't be opened"):
        Sandbox(key=KEY, database=tmp_path)


def test_a_file_is_used_by_one_at_a_time_and_is_free_after_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "nateq.sqlite3"
    with Sandbox(key=KEY, database=file) as first:
        with pytest.raises(SandboxError, match="Another sandbox"):
            Sandbox(key=KEY, database=file)
        first._process.kill()
        first._process.wait()
        with Sandbox(key=KEY, database=file) as second:
            assert second.webhooks.all() == []


def test_a_sandbox_that_has_stopped_says_so() -> None:
    with Sandbox(key=KEY) as sandbox:
        pass

    with pytest.raises(StoppedError, match="does not answer"):
        sandbox.webhooks.all()
    with pytest.raises(SandboxError, match="has ended"):
        sandbox.start()


def test_a_reset_restores_what_it_was_at_the_start(receiver: Receiver) -> None:
    with Sandbox(key=KEY, seed=7, rate_limit=2, faults={"drop": {"rate": 0.5}}) as sandbox, client_of(sandbox) as api:

        def outcomes() -> list[str]:
            sandbox.webhooks.create(receiver.url, ["ticket.created"])
            sandbox.send("ticket.created", count=30)
            sandbox.wait_until_delivered()
            return [attempt.status for attempt in sorted(sandbox.log, key=lambda attempt: attempt.delivery_seq)]

        first = outcomes()
        sandbox.faults.set("duplicate", count=3)
        statuses = [api.get("/webhooks").status_code for _ in range(3)]
        sandbox.reset()

        assert (sandbox.webhooks.all(), sandbox.log) == ([], [])
        assert {fault for fault, switch in sandbox.faults.current().items() if switch.is_on} == {Fault.DROP}
        assert [api.get("/webhooks").status_code for _ in range(3)] == statuses == [200, 200, 429]
        assert outcomes() == first
        assert set(first) == {"delivered", "dropped"}


def test_only_its_owner_reads_the_file_with_the_secrets(tmp_path: Path) -> None:
    new, old = tmp_path / "new.sqlite3", tmp_path / "old.sqlite3"
    old.touch(mode=0o644)
    for file in (new, old):
        with Sandbox(key=KEY, database=file) as sandbox:
            sandbox.webhooks.create("https://shop.example/", ["ticket.created"])
            assert {path.stat().st_mode & 0o777 for path in tmp_path.glob(f"{file.name}*")} == {0o600}


def test_a_file_of_the_version_without_organizations_is_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "nateq.sqlite3"
    with Sandbox(key=KEY, database=file) as sandbox:
        webhook = sandbox.webhooks.create("https://shop.example/", ["ticket.created"])
    connection = sqlite3.connect(file)
    connection.executescript("ALTER TABLE webhook DROP COLUMN organization; PRAGMA user_version = 1;")
    connection.close()

    with Sandbox(key=KEY, database=file) as sandbox:
        assert sandbox.webhooks.all() == [webhook]
        assert webhook.organization == "org_sandbox"
