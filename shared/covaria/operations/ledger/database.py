"""Where the ledger's rows lie: a file of SQLite, or PostgreSQL by its address. The one place where the two differ.

Queries are the same for both, values marked by `?`. What fails is a sqlite3.Error for both.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from covaria.errors import CovariaError, InvalidInput
from covaria.operations.ledger import schema

log = logging.getLogger(__name__)

NAME = "jobs.sqlite"
PATIENCE_S = 10


class Away(sqlite3.OperationalError):
    """PostgreSQL does not answer, or refuses: as a file that is locked."""


class Database(Protocol):
    """What the ledger asks of either. Raises sqlite3.Error."""

    label: str
    """SQL of a label of a job's metadata; its name is a value."""

    def ask(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of a query."""

    def change(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        """Carry out a change once for each row of values, in a transaction."""

    def transaction(self) -> Any:
        """A context in which all changes come about, or none; one writer at a time."""

    def close(self) -> None: ...


class Sqlite:
    """A file, or memory. A broken one is put aside and made anew. Raises sqlite3.Error, OSError."""

    label = "json_extract(view, '$.origin.metadata.' || json_quote(?))"

    def __init__(self, folder: Path | None, *, read_only: bool = False) -> None:
        self._lock = threading.RLock()
        if folder is None:
            self._open(":memory:", write=True)
        elif read_only:
            self._open(f"file:{(folder / NAME).as_posix()}?mode=ro", write=False)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._open(str(folder / NAME), write=True)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # locked, or no room: it is whole
                self._put_aside(folder / NAME, error)
                self._open(str(folder / NAME), write=True)

    def _open(self, name: str, *, write: bool) -> None:
        self._connection = sqlite3.connect(
            name, timeout=PATIENCE_S, check_same_thread=False, uri=name.startswith("file:"), isolation_level=None
        )
        try:
            if write:
                self._connection.executescript(schema.SQLITE)
            self._connection.execute("SELECT count(*) FROM tally").fetchone()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _put_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{NAME}.broken-{time.time_ns()}")
        log.error("the ledger is broken and goes to %s; it is made again from the folders: %s", aside, error)
        path.rename(aside)

    def ask(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def change(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        self._connection.executemany(query, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class Postgres:
    """A database that several machines reach. A connection that was lost is made again at the next call.

    Raises Away; InvalidInput for an address that is none, CovariaError where the extra is not installed.
    """

    label = "covaria_label(view, ?)"

    def __init__(self, address: str, *, read_only: bool = False) -> None:
        try:
            import psycopg
        except ModuleNotFoundError as error:
            hint = "pip install 'covaria[postgres]'"
            raise CovariaError(f"a ledger in PostgreSQL needs {error.name}", hint=hint) from None
        try:
            known = psycopg.conninfo.conninfo_to_dict(address)
        except psycopg.ProgrammingError:  # its words may hold the password
            known = {"port": "?"}
        if not str(known.get("port", "5432")).isdigit():
            hint = "postgresql://user:password@host/database, special letters in user and password as %XX"
            raise InvalidInput("COVARIA_LEDGER_URL is no address of a PostgreSQL", hint=hint)
        self._driver, self._address, self._read_only = psycopg, address, read_only
        self._lock = threading.RLock()
        self._held: psycopg.Connection[Any] | None = None
        with self._talking():
            pass

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        """The connection; whatever goes wrong with it becomes Away."""
        with self._lock:
            try:
                if self._held is None or self._held.closed:
                    self._held = self._connect()
                yield self._held
            except self._driver.Error as error:
                if isinstance(error, self._driver.OperationalError):
                    self.close()
                raise Away(f"PostgreSQL: {str(error).strip() or type(error).__name__}") from None

    def _connect(self) -> Any:
        held = self._driver.connect(
            self._address, autocommit=True, connect_timeout=PATIENCE_S, application_name="covaria",
            options=f"-c statement_timeout={30 * PATIENCE_S * 1000} -c lock_timeout={PATIENCE_S * 1000}",
        )  # fmt: skip
        try:
            if self._read_only:
                held.read_only = True
            else:
                with held.transaction():
                    held.execute("SELECT pg_advisory_xact_lock(%s)", (schema.LOCK,))
                    held.execute(schema.POSTGRES)
        except BaseException:
            held.close()
            raise
        return held

    def ask(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._talking() as held:
            return list(held.execute(query.replace("?", "%s"), values).fetchall())

    def change(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        with self._talking() as held, held.cursor() as cursor:
            cursor.executemany(query.replace("?", "%s"), [[_storable(value) for value in row] for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._talking() as held, held.transaction():
            held.execute("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
            yield

    def close(self) -> None:
        with self._lock, suppress(Exception):
            if self._held is not None:
                self._held.close()


def _storable(value: object) -> object:
    """A text without what PostgreSQL's texts cannot hold, whatever a job's documents say."""
    return value.replace("\0", "\ufffd").encode(errors="replace").decode() if isinstance(value, str) else value
