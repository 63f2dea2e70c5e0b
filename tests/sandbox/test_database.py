"""The store: whose file it takes, and what a transaction is worth."""

import sqlite3
from pathlib import Path

import pytest

from nateq_webhooks.sandbox import Sandbox, SandboxError
from nateq_webhooks.sandbox.database import Database
from nateq_webhooks.sandbox.sandbox_errors import StoreClosedError
from tests.sandbox.conftest import KEY


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
        Database(file)

    assert file.read_bytes() == before


def test_the_file_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "nateq.sqlite3"
    Database(file).close()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(SandboxError, match="99, not 2"):
        Database(file)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database " * 100)

    with pytest.raises(SandboxError, match="not an SQLite file"):
        Database(text)
    with pytest.raises(SandboxError, match="can't be opened"):
        Database(tmp_path)


def test_a_file_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    first = Database(tmp_path / "nateq.sqlite3")

    with pytest.raises(SandboxError, match="Another sandbox"):
        Database(tmp_path / "nateq.sqlite3")
    first.close()


def test_a_transaction_that_fails_leaves_nothing_behind() -> None:
    database = Database()

    def insert_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO webhook VALUES (1, 'wh_1', '', '', '', 1, 0, 'org_1')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        insert_and_fail()
    assert database.rows("SELECT * FROM webhook") == []
    database.close()


def test_a_closed_store_says_so() -> None:
    database = Database()
    database.close()

    with pytest.raises(StoreClosedError):
        database.rows("SELECT 1")
    with pytest.raises(StoreClosedError), database.transaction():
        pass


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
