"""Open the database: SQLite in the data directory, or PostgreSQL by `NUCLEUS_DATABASE_URL`.

Opening it applies the missing migrations; any number of processes may do so at once. Every failure is a `NucleusError`:
a disk that is full or refuses, a server that cannot be reached, a damaged file, a database that a newer program has
written. Every wait is bounded. SQLite runs in WAL mode and every commit reaches the disk, so a program that is killed
at any moment leaves what was saved, whole.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from llm_core.errors import NucleusError, make_disk_full_error, make_storage_error
from llm_core.paths import data_directory

FILE_NAME = "nucleus.sqlite3"
TIMEOUT_SECONDS = 15
"""Seconds to wait for another writer, and for an answer from the server."""
CONNECT_TIMEOUT_SECONDS = 5

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATION_LOCK = 0x6E75636C657573
"""Key of PostgreSQL's advisory lock for migrations: "nucleus"."""
_migration_mutex = threading.Lock()
"""Lock around migrations, since Alembic's context belongs to the process."""


def hash_owner_secret(secret: str) -> str:
    """Return the name under which the holder of a secret owns things: its SHA-256, so that the database gives no secret
    away."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Database:
    """Database of one installation. Any thread may use it."""

    def __init__(self, url: str | None = None) -> None:
        """Open and migrate the database at `url`, else at the environment's, else in the data directory. Raises
        `NucleusError`."""
        self.url = _parse_url(
            url or os.environ.get("NUCLEUS_DATABASE_URL") or f"sqlite:///{data_directory() / FILE_NAME}"
        )
        self._engine = _make_sqlite_engine(self.url) if self.is_sqlite else _make_postgresql_engine(self.url)
        try:
            with self._translate_errors():
                self._migrate()
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read_transaction(self) -> Iterator[Connection]:
        """Open a transaction that only reads, all of it at one moment. Raises `NucleusError`."""
        with self._translate_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Open a transaction that is committed as a whole or not at all. Raises `NucleusError`."""
        with self._translate_errors(), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        if not self.is_sqlite:
            with _migration_mutex, self._engine.begin() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                _upgrade(connection)
            return
        file = Path(self.url.database or "")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(f"{file}.lock", timeout=TIMEOUT_SECONDS)
            with _migration_mutex, lock, self._engine.connect() as connection:
                connection.exec_driver_sql("COMMIT")  # the mode cannot change inside a transaction
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                _upgrade(connection)
                connection.commit()
        except Timeout as error:
            raise NucleusError("database_busy", seconds=TIMEOUT_SECONDS) from error
        except OSError as error:
            raise make_storage_error(error, file) from error

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise self._make_error(error) from error
        except CommandError as error:  # its revision is none of ours
            raise NucleusError("database_newer") from error

    def _make_error(self, error: SQLAlchemyError) -> NucleusError:
        cause = error.orig if isinstance(error, DBAPIError) else None
        detail = str(cause or error).strip().partition("\n")[0]
        if not isinstance(cause, sqlite3.Error):
            if isinstance(error, OperationalError) and not getattr(cause, "sqlstate", None):
                return NucleusError("database_unreachable", host=self.url.host or "localhost")
            if getattr(cause, "sqlstate", None) in ("55P03", "57014", "40P01"):  # locked, too slow, deadlock
                return NucleusError("database_busy", seconds=TIMEOUT_SECONDS)
            return NucleusError("database_refused", detail=detail)
        file, name = Path(self.url.database or ""), getattr(cause, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return make_disk_full_error(file.parent, 1)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return NucleusError("database_busy", seconds=TIMEOUT_SECONDS)
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return NucleusError("database_damaged", path=file)
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM")):
            return NucleusError("disk_refused", path=file, detail=detail)
        return NucleusError("database_refused", detail=detail)


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            return parsed
        if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
            return parsed.set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        pass
    raise NucleusError("database_url_invalid")  # unquoted: it may hold a password


def _make_sqlite_engine(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def settle(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions begin below, where it is known what they are for
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that read first and wants to write afterwards would not wait for others, but fail.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_postgresql_engine(url: URL) -> Engine:
    milliseconds = 1000 * TIMEOUT_SECONDS
    options = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c client_encoding=UTF8"
    return create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,  # a server that was restarted is found again
        pool_timeout=TIMEOUT_SECONDS,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "options": options},
    )


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
