"""The ledger's file: SQLite, in a folder that its keeper and its readers see. A broken one is put aside and made anew.

Rows are (output folder, job): a job that another has replaced, or whose folder is gone, keeps what it cost.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from covaria.operations.ledger.rows import MOVING, STUCK, WHOSE, Row

log = logging.getLogger(__name__)

NAME = "jobs.sqlite"
PATIENCE_S = 10.0
COLUMNS = tuple(field.name for field in fields(Row))
KINDS = {"gpu_s": "REAL", "cpu_s": "REAL", "bytes": "INTEGER"}
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    {", ".join(f"{name} {KINDS.get(name, 'TEXT')} NOT NULL" for name in COLUMNS)},
    seen REAL NOT NULL, current INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (out, job_id)
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (current, status, stage, job_class, since);
CREATE INDEX IF NOT EXISTS by_time ON jobs (submitted_at);
CREATE TABLE IF NOT EXISTS tally (
    stage TEXT NOT NULL, status TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (stage, status)
);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON jobs BEGIN
    INSERT INTO tally VALUES (NEW.stage, NEW.status, NEW.current)
        ON CONFLICT (stage, status) DO UPDATE SET count = count + NEW.current;
END;
CREATE TRIGGER IF NOT EXISTS changed AFTER UPDATE OF stage, status, current ON jobs BEGIN
    UPDATE tally SET count = count - OLD.current WHERE stage = OLD.stage AND status = OLD.status;
    INSERT INTO tally VALUES (NEW.stage, NEW.status, NEW.current)
        ON CONFLICT (stage, status) DO UPDATE SET count = count + NEW.current;
END;
PRAGMA user_version = 1;
"""  # nosec B608
"""Of names in this file alone."""


class Ledger:
    """Jobs by state, by age, by owner. Without a folder it lives in memory. Raises sqlite3.Error, OSError."""

    def __init__(self, folder: Path | None = None, *, read_only: bool = False) -> None:
        self.folder = folder
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
                self._connection.executescript(SCHEMA)
            self._connection.execute("SELECT count(*) FROM tally").fetchone()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _put_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{NAME}.broken-{time.time_ns()}")
        log.error("the ledger is broken and goes to %s; it is made again from the folders: %s", aside, error)
        path.rename(aside)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    # ---- writing
    def put(self, rows: Iterable[Row]) -> None:
        """Add or replace rows; the latest job of a folder is its current one."""
        names = ", ".join(COLUMNS)
        marks = ", ".join(f":{name}" for name in COLUMNS)
        changes = ", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "seen", "current"))
        with self._transaction() as change:
            for row in rows:
                change.execute("UPDATE jobs SET current = 0 WHERE out = ? AND job_id != ?", (row.out, row.job_id))
                change.execute(
                    f"INSERT INTO jobs ({names}, seen, current) VALUES ({marks}, :seen, 1) "  # nosec B608
                    f"ON CONFLICT (out, job_id) DO UPDATE SET {changes}",
                    {**asdict(row), "seen": time.time()},
                )

    def touch(self, outs: Sequence[str]) -> None:
        """They were looked at and are as they were."""
        with self._transaction() as change:
            change.executemany("UPDATE jobs SET seen = ? WHERE out = ? AND current", [(time.time(), o) for o in outs])

    def leave(self, outs: Sequence[str]) -> None:
        """Their folders are gone; what they cost stays."""
        with self._transaction() as change:
            change.executemany("UPDATE jobs SET current = 0 WHERE out = ?", [(out,) for out in outs])

    # ---- asking
    def status(self, out: str, job_id: str) -> str | None:
        """The state that a job is known in; None where it is not known."""
        found = self._ask("SELECT status FROM jobs WHERE out = ? AND job_id = ?", (out, job_id))
        return str(found[0][0]) if found else None

    def counts(self) -> dict[tuple[str, str], int]:
        """(stage, state) -> how many jobs."""
        found = self._ask("SELECT stage, status, count FROM tally WHERE count != 0")
        return {(stage, status): count for stage, status, count in found}

    def oldest(self) -> dict[tuple[str, str], str]:
        """(stage, class) -> since when its oldest waiting job waits."""
        found = self._ask(
            "SELECT stage, job_class, min(since) FROM jobs WHERE current = 1 AND status IN ('queued', 'retrying') "
            "GROUP BY stage, job_class"
        )
        return {(stage, job_class): since for stage, job_class, since in found}

    def stuck(self, before: str, most: int) -> list[dict[str, str]]:
        """Jobs that have been in one state since before then, and may leave it, the longest first, as labels.

        By job, out, stage, state, class, instrument, visit and since.
        """
        marks = ", ".join("?" for _ in MOVING)
        found = self._ask(
            "SELECT job_id, out, stage, status, job_class, instrument, visit, since FROM jobs "
            f"WHERE current = 1 AND status IN ({marks}) AND since < ? ORDER BY since LIMIT ?",  # nosec B608
            (*MOVING, before, most),
        )
        return [dict(zip((*STUCK, "since"), row, strict=True)) for row in found]

    def moving(self, most: int = -1) -> list[Path]:
        """Output folders whose state may change, those first that nobody has looked at for longest."""
        marks = ", ".join("?" for _ in MOVING)
        found = self._ask(
            f"SELECT out FROM jobs WHERE current = 1 AND status IN ({marks}) ORDER BY seen LIMIT ?",  # nosec B608
            (*MOVING, most),
        )
        return [Path(out) for (out,) in found]

    def stamps(self) -> dict[str, tuple[str, str]]:
        """Output folder -> (its stamp, its state)."""
        return {out: (stamp, s) for out, stamp, s in self._ask("SELECT out, stamp, status FROM jobs WHERE current = 1")}

    def not_seen_since(self, moment: float) -> list[str]:
        """Output folders of current rows that no look has met since then."""
        return [out for (out,) in self._ask("SELECT out FROM jobs WHERE current = 1 AND seen < ?", (moment,))]

    def jobs(self, status: str | None = None) -> Iterator[dict[str, Any]]:
        """What `covaria list` tells, in the order of the folders."""
        which = "" if status is None else " AND status = ?"
        values = () if status is None else (status,)
        found = self._ask(f"SELECT view FROM jobs WHERE current = 1{which} ORDER BY out", values)  # nosec B608
        return (json.loads(view) for (view,) in found)

    def account(self, by: str, since: str = "", until: str = "9999") -> list[tuple[str, int, float, float, int]]:
        """(owner, jobs, GPU seconds, CPU seconds, bytes on disk) by a word of WHOSE, the largest first."""
        if by not in WHOSE:
            raise ValueError(f"by {by!r}")
        return self._ask(
            f"SELECT {by}, count(*), sum(gpu_s), sum(cpu_s), sum(bytes * current) FROM jobs "  # nosec B608
            f"WHERE submitted_at >= ? AND submitted_at < ? GROUP BY {by} ORDER BY sum(gpu_s) DESC, sum(cpu_s) DESC",
            (since, until),
        )

    def used(self, by: str, owner: str, since: str) -> tuple[int, float, int]:
        """(jobs that have not ended, GPU seconds and bytes on disk of jobs submitted since) of one owner.

        By a word of WHOSE, or any other label of a job's metadata.
        """
        column = by if by in WHOSE else "json_extract(view, '$.origin.metadata.' || ?)"
        label = () if by in WHOSE else (json.dumps(by),)
        ((jobs, gpu_s, size),) = self._ask(
            "SELECT coalesce(sum(current AND status IN ('queued', 'running', 'retrying')), 0), "
            "coalesce(sum(CASE WHEN submitted_at >= ? THEN gpu_s END), 0), "
            f"coalesce(sum(CASE WHEN submitted_at >= ? THEN bytes * current END), 0) FROM jobs WHERE {column} = ?",  # nosec B608
            (since, since, *label, owner),
        )
        return int(jobs), float(gpu_s), int(size)

    def _ask(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
