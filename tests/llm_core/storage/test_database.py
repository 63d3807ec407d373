"""Opening, migrating and failing, on both databases."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from llm_core.errors import NucleusError
from llm_core.storage import database as module
from llm_core.storage.database import Database
from llm_core.storage.schema import metadata, recipes, runs

ROW = {
    "id": "abc", "owner": "o", "listed": True, "title": "t", "author": "", "language": "", "latest": 1, "size": 2,
    "found_title": "t", "found_by": "t", "created_at": 1.0, "saved_at": 1.0,
}  # fmt: skip


def test_an_empty_database_gets_the_tables_of_the_program(database: Database):
    with database.read_transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_older_database_is_brought_up_and_keeps_what_it_has(url):
    database = Database(url)
    with database.write_transaction() as connection:
        connection.execute(insert(recipes).values(ROW))
        config = Config()
        config.set_main_option("script_location", str(Path(module.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with pytest.raises(NucleusError), database.read_transaction() as connection:
        connection.execute(select(runs))
    database.close()

    again = Database(url)
    with again.read_transaction() as connection:
        assert connection.execute(select(recipes.c.title)).scalars().all() == ["t"]
        assert connection.execute(select(runs)).all() == []
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    again.close()


def test_a_database_of_a_newer_program_is_left_alone(url):
    database = Database(url)
    with database.write_transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(NucleusError) as caught:
        Database(url)
    assert caught.value.code == "database_newer"


@pytest.mark.thorough
def test_many_threads_and_processes_open_an_empty_database_at_once(url):
    code = "import sys; from llm_core.storage.database import Database; Database(sys.argv[1]).close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Database, [url] * 4))
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    with opened[0].write_transaction() as connection:
        connection.execute(insert(recipes).values(ROW))
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0002"]
    for database in opened:
        database.close()


def write_twice(database: Database, row: dict) -> None:
    with database.write_transaction() as connection:
        connection.execute(insert(recipes).values(row))
        connection.execute(insert(recipes).values(row))


def test_a_failure_in_a_transaction_takes_all_of_it_back(database: Database):
    with pytest.raises(NucleusError):
        write_twice(database, ROW)
    with database.read_transaction() as connection:
        assert connection.execute(select(recipes)).all() == []


def test_errors_quote_neither_values_nor_passwords(database: Database):
    with pytest.raises(NucleusError) as caught:
        write_twice(database, ROW | {"title": "a planted word"})
    assert caught.value.code == "database_refused"
    assert "planted" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "sqlite://", "sqlite:///:memory:", "secret", "postgresql:"])
def test_other_addresses_are_refused_without_being_quoted(url):
    with pytest.raises(NucleusError) as caught:
        Database(url)
    assert caught.value.code == "database_url_invalid"
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("NUCLEUS_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:9/nucleus")
    with pytest.raises(NucleusError) as caught:
        Database()
    assert caught.value.code == "database_unreachable"
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_a_connection_that_broke_is_made_again(postgresql_url):
    database = Database(postgresql_url)
    with database.read_transaction() as connection:
        mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = Database(postgresql_url)
    with other.write_transaction() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
    with database.read_transaction() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != mine
    database.close()
    other.close()


def test_without_an_address_it_is_a_file_of_ones_own_in_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("NUCLEUS_DATABASE_URL", raising=False)
    monkeypatch.setenv("NUCLEUS_HOME", str(tmp_path))
    Database().close()
    assert (tmp_path / "data" / "nucleus.sqlite3").is_file()
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    monkeypatch.delenv("NUCLEUS_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        Database().close()
        assert (tmp_path / "xdg" / "nucleus" / "nucleus.sqlite3").is_file()


def sqlite_file(tmp_path: Path) -> tuple[Database, Path]:
    file = tmp_path / "nucleus.sqlite3"
    return Database(f"sqlite:///{file}"), file


def test_sqlite_keeps_a_log_that_survives_a_kill(tmp_path):
    database, _ = sqlite_file(tmp_path)
    with database.read_transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
    database.close()


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path):
    database, file = sqlite_file(tmp_path)
    with database.write_transaction() as connection:
        connection.execute(insert(recipes).values(ROW))
    with database.read_transaction() as connection:  # SQLite's own limit stops it as a full disk does
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NucleusError) as caught, database.write_transaction() as connection:
        connection.execute(insert(recipes).values(ROW | {"id": "large", "title": "x" * 100_000}))
    assert caught.value.code == "disk_full"
    assert str(file.parent) in str(caught.value)
    with database.read_transaction() as connection:
        assert connection.execute(select(recipes.c.id)).scalars().all() == ["abc"]
    database.close()


@contextmanager
def as_nobody():
    """Root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_disk_that_may_only_be_read_is_told(tmp_path):
    database, file = sqlite_file(tmp_path)
    database.close()
    for each in [*tmp_path.iterdir(), tmp_path]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    for parent in list(tmp_path.parents)[:3]:
        if os.geteuid() == 0 and parent != Path("/tmp"):
            parent.chmod(0o755)
    try:
        for url in (f"sqlite:///{file}", f"sqlite:///{tmp_path / 'new' / 'file'}"):
            with as_nobody(), pytest.raises(NucleusError) as caught:
                Database(url)
            assert caught.value.code == "disk_refused"
            assert str(tmp_path) in str(caught.value)
    finally:
        tmp_path.chmod(0o755)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path):
    file = tmp_path / "nucleus.sqlite3"
    file.write_text("Dear diary, " * 1000)
    with pytest.raises(NucleusError) as caught:
        Database(f"sqlite:///{file}")
    assert caught.value.code == "database_damaged"
    assert file.read_text().startswith("Dear diary")


def test_somebody_who_does_not_stop_writing_is_told_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    database, file = sqlite_file(tmp_path)
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(NucleusError) as caught, database.write_transaction():
        pass
    assert caught.value.code == "database_busy"
    writer.close()
    database.close()
