"""The ledger of jobs, over SQLite or PostgreSQL (`database`): its keeper writes it, whoever lists or counts reads it.

Rows are (output folder, job): a job that another has replaced, or whose folder is gone, keeps what it cost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covaria.operations.ledger.database import NAME, Database, Postgres, Sqlite
from covaria.operations.ledger.rows import MOVING, STUCK, WHOSE, Row
from covaria.operations.ledger.schema import COLUMNS
from covaria.settings import Settings

__all__ = ["NAME", "Ledger"]

ALL = 2**62
NAMES = (*COLUMNS, "seen", "current")
PUT = "INSERT INTO jobs (NAMES) VALUES (MARKS) ON CONFLICT (out, job_id) DO UPDATE SET CHANGES"
PUT = PUT.replace("NAMES", ", ".join(NAMES)).replace("MARKS", ", ".join("?" for _ in NAMES))
PUT = PUT.replace("CHANGES", ", ".join(f"{name} = excluded.{name}" for name in NAMES))
ACCOUNT = (
    "SELECT WHOSE, count(*), sum(gpu_s), sum(cpu_s), sum(bytes * current) FROM jobs "
    "WHERE submitted_at >= ? AND submitted_at < ? GROUP BY WHOSE ORDER BY sum(gpu_s) DESC, sum(cpu_s) DESC"
)
USED = (
    "SELECT coalesce(sum(CASE WHEN status IN ('queued', 'running', 'retrying') THEN current END), 0), "
    "coalesce(sum(CASE WHEN submitted_at >= ? THEN gpu_s END), 0), "
    "coalesce(sum(CASE WHEN submitted_at >= ? THEN bytes * current END), 0) FROM jobs WHERE (WHOSE) = ?"
)
"""WHOSE stands for a column of that name, or for an expression."""


class Ledger:
    """Jobs by state, by age, by owner. Notices of them lie in its folder; without one it lives in memory.

    Raises sqlite3.Error, OSError.
    """

    def __init__(self, folder: Path | None = None, *, read_only: bool = False, address: str = "") -> None:
        self.folder = folder
        self._base: Database = (
            Postgres(address, read_only=read_only) if address else Sqlite(folder, read_only=read_only)
        )

    @classmethod
    def of(cls, settings: Settings, *, read_only: bool = False) -> Ledger:
        """The one that the settings name; in memory where they name none."""
        address = settings.ledger_url
        return cls(settings.ledger, read_only=read_only, address=address.get_secret_value() if address else "")

    def close(self) -> None:
        """Let go of it."""
        self._base.close()

    # ---- writing
    def put(self, rows: Iterable[Row]) -> None:
        """Add or replace rows; the latest job of a folder is its current one."""
        with self._base.transaction():
            for row in rows:
                before = "UPDATE jobs SET current = 0 WHERE out = ? AND job_id != ? AND current = 1"
                self._base.change(before, [(row.out, row.job_id)])
                self._base.change(PUT, [(*asdict(row).values(), time.time(), 1)])

    def touch(self, outs: Sequence[str]) -> None:
        """They were looked at and are as they were."""
        now = time.time()
        with self._base.transaction():
            self._base.change("UPDATE jobs SET seen = ? WHERE out = ? AND current = 1", [(now, out) for out in outs])

    def leave(self, outs: Sequence[str]) -> None:
        """Their folders are gone; what they cost stays."""
        with self._base.transaction():
            self._base.change("UPDATE jobs SET current = 0 WHERE out = ?", [(out,) for out in outs])

    # ---- asking
    def status(self, out: str, job_id: str) -> str | None:
        """The state that a job is known in; None where it is not known."""
        found = self._base.ask("SELECT status FROM jobs WHERE out = ? AND job_id = ?", (out, job_id))
        return str(found[0][0]) if found else None

    def counts(self) -> dict[tuple[str, str], int]:
        """(stage, state) -> how many jobs."""
        found = self._base.ask("SELECT stage, status, count FROM tally WHERE count != 0")
        return {(stage, status): count for stage, status, count in found}

    def oldest(self) -> dict[tuple[str, str], str]:
        """(stage, class) -> since when its oldest waiting job waits."""
        found = self._base.ask(
            "SELECT stage, job_class, min(since) FROM jobs WHERE current = 1 AND status IN ('queued', 'retrying') "
            "GROUP BY stage, job_class"
        )
        return {(stage, job_class): since for stage, job_class, since in found}

    def stuck(self, before: str, most: int) -> list[dict[str, str]]:
        """Jobs that have been in one state since before then, and may leave it, the longest first, as labels.

        By job, out, stage, state, class, instrument, visit and since.
        """
        found = self._base.ask(
            "SELECT job_id, out, stage, status, job_class, instrument, visit, since FROM jobs "
            "WHERE current = 1 AND status IN (?, ?, ?, ?) AND since < ? ORDER BY since LIMIT ?",
            (*MOVING, before, most),
        )
        return [dict(zip((*STUCK, "since"), row, strict=True)) for row in found]

    def moving(self, most: int = ALL) -> list[Path]:
        """Output folders whose state may change, those first that nobody has looked at for longest."""
        found = self._base.ask(
            "SELECT out FROM jobs WHERE current = 1 AND status IN (?, ?, ?, ?) ORDER BY seen LIMIT ?", (*MOVING, most)
        )
        return [Path(out) for (out,) in found]

    def stamps(self) -> dict[str, tuple[str, str]]:
        """Output folder -> (its stamp, its state)."""
        return {
            out: (stamp, s) for out, stamp, s in self._base.ask("SELECT out, stamp, status FROM jobs WHERE current = 1")
        }

    def not_seen_since(self, moment: float) -> list[str]:
        """Output folders of current rows that no look has met since then."""
        return [out for (out,) in self._base.ask("SELECT out FROM jobs WHERE current = 1 AND seen < ?", (moment,))]

    def jobs(self, status: str | None = None) -> Iterator[dict[str, Any]]:
        """What `covaria list` tells, in the order of the folders."""
        if status is None:
            found = self._base.ask("SELECT view FROM jobs WHERE current = 1 ORDER BY out")
        else:
            found = self._base.ask("SELECT view FROM jobs WHERE current = 1 AND status = ? ORDER BY out", (status,))
        return (json.loads(view) for (view,) in found)

    def account(self, by: str, since: str = "", until: str = "9999") -> list[tuple[str, int, float, float, int]]:
        """(owner, jobs, GPU seconds, CPU seconds, bytes on disk) by a word of WHOSE, the largest first."""
        if by not in WHOSE:
            raise ValueError(f"by {by!r}")
        found = self._base.ask(
            ACCOUNT.replace("WHOSE", by),
            (since, until),
        )
        return [(owner, jobs, float(gpu), float(cpu), int(size)) for owner, jobs, gpu, cpu, size in found]

    def used(self, by: str, owner: str, since: str) -> tuple[int, float, int]:
        """(jobs that have not ended, GPU seconds and bytes on disk of jobs submitted since) of one owner.

        By a word of WHOSE, or any other label of a job's metadata.
        """
        column = by if by in WHOSE else self._base.label
        label = () if by in WHOSE else (by,)
        ((jobs, gpu_s, size),) = self._base.ask(
            USED.replace("WHOSE", column),
            (since, since, *label, owner),
        )
        return int(jobs), float(gpu_s), int(size)
