"""Keeping the ledger up: notices and jobs that move at each look, a walk through all folders now and then.

The folder of a job is the truth. What a look costs goes with the jobs that move, not with those that are there.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.job.notice import notices
from covaria.opening import Roots
from covaria.operations.jobs_on_disk import find_jobs
from covaria.operations.ledger.rows import MOVING, Row, row_of, stamp_of
from covaria.operations.ledger.store import Ledger
from covaria.plain import explain, one_line
from covaria.tree import record
from covaria.tree.book import DamagedBook
from covaria.worker.service_metrics import ENDED_STATES

log = logging.getLogger(__name__)

AT_A_LOOK = 2000
"""Jobs that move and are looked at in one look; the others have their turn at the next."""
BATCH = 200
NEW_JOB_S = 2 * 86400.0
"""A job that is found ended and was submitted longer ago comes from an archive, or from before the ledger."""
NEW_S = 3600.0
"""For so long a notice of a folder that is not there yet is kept."""


@dataclass(frozen=True)
class Ending:
    """A job that has ended since it was looked at before."""

    job_class: str
    status: str
    seconds: float
    """From its submission."""


@dataclass
class Keeper:
    """Keeps a ledger of the jobs beneath some folders."""

    ledger: Ledger
    folders: Sequence[Path]
    depth: int
    endings: deque[Ending] = field(default_factory=deque)
    """Jobs that were seen to end, for whoever counts them and takes them out."""
    _walked: bool = False
    _complained: set[str] = field(default_factory=set)

    def look(self) -> None:
        """Notices first, then the jobs that move. Raises sqlite3.Error."""
        folder, allowed = self.ledger.folder, Roots.of(self.folders)
        told = [] if folder is None else list(notices(folder))
        outs = dict.fromkeys(out for _, out in told if allowed.allows(out))
        outs |= dict.fromkeys(self.ledger.moving(AT_A_LOOK))
        known = self._read(list(outs), told=True)
        for path, out in told:
            if out in known or not allowed.allows(out) or _age_s(path) > NEW_S:
                path.unlink(missing_ok=True)

    def walk(self) -> int:
        """Every job beneath the folders, those that have ended only where they have changed; returns how many there
        are. Raises sqlite3.Error."""
        began, stamps, count = time.time(), self.ledger.stamps(), 0
        batch: list[Path] = []
        same: list[str] = []
        for out in find_jobs(self.folders, self.depth):
            count += 1
            if _is_same(out, stamps.get(str(out))):
                same.append(str(out))
            else:
                batch.append(out)
            if len(batch) + len(same) >= BATCH:
                self._read(batch)
                self.ledger.touch(same)
                batch, same = [], []
        self._read(batch)
        self.ledger.touch(same)
        self._walked = True
        gone = [out for out in self.ledger.not_seen_since(began) if not (Path(out) / ".covaria").is_dir()]
        self.ledger.leave(gone)
        return count

    def _read(self, outs: Sequence[Path], *, told: bool = False) -> set[Path]:
        """Read these folders into the ledger; returns those that hold a job. `told`: somebody said that they move."""
        rows: list[Row] = []
        found: set[Path] = set()
        gone: list[str] = []
        for out in outs:
            try:
                row = row_of(out)
                self._see_ending(row, told=told)
                rows.append(row)
            except Exception as error:  # whatever a folder holds must not hide the others
                if isinstance(error, InvalidInput) and not isinstance(error, DamagedBook):
                    gone.append(str(out))  # nothing is there, or not yet
                else:
                    self._complain(out, error)
                continue
            found.add(out)
            if len(rows) >= BATCH:
                self.ledger.put(rows)
                rows = []
        self.ledger.put(rows)
        self.ledger.leave(gone)
        return found

    def _see_ending(self, row: Row, *, told: bool) -> None:
        """An end counts once. Of a job that was not known before it counts if it is new here, not if the ledger is."""
        if row.status not in ENDED_STATES:
            return
        before = self.ledger.status(row.out, row.job_id)
        took = _seconds(row.submitted_at, row.since)
        new = before is None and (told or self._walked) and _seconds(row.submitted_at, record.now()) < NEW_JOB_S
        if new or (before is not None and before not in ENDED_STATES):
            self.endings.append(Ending(row.job_class, row.status, took))

    def _complain(self, out: Path, error: Exception) -> None:
        text = one_line(f"{out}: skipped: {explain(error).message}")
        if text not in self._complained:
            self._complained.add(text)
            log.warning("%s", text)


def _is_same(out: Path, known: tuple[str, str] | None) -> bool:
    if known is None or known[1] in MOVING:
        return False
    try:
        return stamp_of(out) == known[0]
    except OSError:
        return False


def _seconds(begin: str, end: str) -> float:
    return max((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds(), 0.0)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
