"""Jobs for operators: from the ledger where there is one, else by a walk through the folders."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covaria.errors import CovariaError, InvalidInput
from covaria.job.notice import notices
from covaria.operations.jobs_on_disk import JobView, find_jobs, view_job
from covaria.operations.ledger.keeper import Keeper
from covaria.operations.ledger.rows import MOVING, plain
from covaria.operations.ledger.store import Ledger
from covaria.plain import explain, one_line
from covaria.settings import Settings

log = logging.getLogger(__name__)


def places(settings: Settings, folders: Sequence[Path] | None) -> list[Path]:
    """Where jobs are looked for. Raises InvalidInput where nothing says."""
    found = list(folders or settings.roots)
    if not found:
        raise InvalidInput("no folder to look in", hint="name one, or set COVARIA_ROOTS")
    return found


def jobs(
    settings: Settings, folders: Sequence[Path] | None, status: str | None = None, *, walk: bool = False
) -> Iterator[dict[str, Any]]:
    """Every job beneath the folders, as programs read it; what moves is read from its folder now."""
    where = places(settings, folders)
    rows = None if walk else _from_ledger(settings)
    if rows is None:
        found: Iterator[dict[str, Any]] = (plain(view) for view in views(find_jobs(where, settings.scan_depth)))
    else:
        found = _freshened(rows, where)
    return (job for job in found if status is None or job["status"] == status)


def moving(settings: Settings, folders: Sequence[Path] | None, *, walk: bool = False) -> list[JobView]:
    """Jobs that have not ended, from their folders."""
    where = places(settings, folders)
    outs: list[Path] | None = None
    if not walk:
        with _opened(settings) as ledger:
            outs = None if ledger is None else _beneath([*ledger.moving(), *_told(settings)], where)
    if outs is None:
        outs = list(find_jobs(where, settings.scan_depth))
    return list(views(outs))


def views(outs: Sequence[Path] | Iterator[Path]) -> Iterator[JobView]:
    """The jobs in these folders; one that cannot be read is passed over with a word."""
    for out in outs:
        try:
            yield view_job(out)
        except Exception as error:  # whatever a folder holds must not hide the others
            log.warning("%s", one_line(f"{out}: skipped: {explain(error).message}"))


def rebuild(settings: Settings, folders: Sequence[Path] | None) -> int | None:
    """Walk through the folders and bring the ledger to what they say; None where none is set. Raises sqlite3.Error."""
    if settings.ledger is None:
        return None
    ledger = Ledger.of(settings)
    try:
        return Keeper(ledger, places(settings, folders), settings.scan_depth).walk()
    finally:
        ledger.close()


def account(
    settings: Settings, folders: Sequence[Path] | None, by: str, since: str
) -> list[tuple[str, int, float, float, int]]:
    """(owner, jobs, GPU seconds, CPU seconds, bytes) from the ledger; without one, of the folders that are there."""
    with _opened(settings) as ledger:
        if ledger is not None:
            return ledger.account(by, since)
    own = Ledger()
    Keeper(own, places(settings, folders), settings.scan_depth).walk()
    return own.account(by, since)


@contextmanager
def _opened(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger to read; None where there is none, or it cannot be read now."""
    ledger = None
    if settings.ledger is not None:
        try:
            ledger = Ledger.of(settings, read_only=True)
        except (sqlite3.Error, OSError, CovariaError) as error:
            log.warning("the ledger in %s cannot be read, the folders are looked through: %s", settings.ledger, error)
    try:
        yield ledger
    finally:
        if ledger is not None:
            ledger.close()


def _from_ledger(settings: Settings) -> list[dict[str, Any]] | None:
    with _opened(settings) as ledger:
        if ledger is None:
            return None
        known = list(ledger.jobs())
    outs = {job["out"] for job in known}
    new = [out for out in _told(settings) if str(out) not in outs]
    return known + [plain(view) for view in views(new)]


def _told(settings: Settings) -> list[Path]:
    return [] if settings.ledger is None else [out for _, out in notices(settings.ledger)]


def _freshened(rows: list[dict[str, Any]], where: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for job in rows:
        out = Path(job["out"])
        if not _beneath([out], where):
            continue
        if job["status"] in MOVING:
            try:
                yield plain(view_job(out))
            except (CovariaError, OSError) as error:
                log.warning("%s", one_line(f"{out}: skipped: {explain(error).message}"))
            continue
        yield job


def _beneath(outs: Sequence[Path], where: Sequence[Path]) -> list[Path]:
    folders = [folder.absolute() for folder in where]
    return [out for out in dict.fromkeys(outs) if any(out.is_relative_to(folder) for folder in folders)]
