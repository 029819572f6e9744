"""How much an owner may have queued and running, and may use: asked before a job is sent, answered by the ledger.

quotas:
  - {by: proposal, jobs: 20, gpu_hours: 200, days: 30}     # of each proposal that no later line names
  - {by: proposal, of: cm12345, jobs: 100}
  - {by: submitter, jobs: 5}                               # origin.metadata.submitter
"""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from covaria.errors import CovariaError, InvalidInput
from covaria.job.books import Books
from covaria.messages.envelope import Message
from covaria.operations.ledger.store import Ledger
from covaria.operations.yaml_files import read_yaml
from covaria.request.origin import Origin
from covaria.settings import Settings
from covaria.tree import Tree

log = logging.getLogger(__name__)

EVERYONE = "*"
SUBMITTER = "submitter"
Whose = Literal["proposal", "visit", "instrument", "sample", "submitter"]
Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class OverQuota(CovariaError):
    """The owner has, or has used, as much as is allowed; later, or after a cleaning, the job may be sent."""

    exit_code = 75


class Quota(BaseModel):
    """One line of the file: what each owner of a kind, or the one that is named, may have.

    jobs       queued, running or waiting for a retry
    gpu_hours  of jobs submitted in the last `days`
    tb         on the disk now, of jobs submitted in the last `days`, 10^12 bytes
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Whose
    of: Annotated[str, Field(min_length=1, max_length=128)] = EVERYONE
    jobs: Annotated[int, Field(ge=0)] | None = None
    gpu_hours: Limit | None = None
    tb: Limit | None = None
    days: Annotated[float, Field(gt=0, le=36500)] = 30.0

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.jobs is None and self.gpu_hours is None and self.tb is None:
            raise ValueError("a quota limits jobs, gpu_hours or tb")
        return self


class _Quotas(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quotas: Annotated[tuple[Quota, ...], Field(max_length=1000)]


def read_quotas(path: Path) -> tuple[Quota, ...]:
    """The quotas of a file. Raises MissingFile, InvalidInput that names what is wrong."""
    return read_yaml(path, _Quotas, of="quotas", chapter="Quotas").quotas


def admit(message: Message, settings: Settings) -> None:
    """Raise OverQuota where the job's owner has as much as is allowed; a job that the ledger knows is no new one.

    Raises InvalidInput for a file that is wrong, or where quotas are set and no ledger is; CovariaError where the
    ledger cannot be read: nobody is let past because nobody can count.
    """
    if settings.quotas is None:
        return
    hint = "COVARIA_LEDGER names its folder; `covaria exporter` keeps it"
    if settings.ledger is None:
        raise InvalidInput("COVARIA_QUOTAS needs the ledger, which counts", hint=hint)
    origin = message.work.origin
    quotas = [quota for quota in read_quotas(settings.quotas) if owner_of(quota, origin)]
    if not quotas:
        return
    try:
        ledger = Ledger.of(settings, read_only=True)
        try:
            if ledger.status(str(message.work.request.out), message.job_id) is None:
                for quota in quotas:
                    _ask(ledger, quota, quotas, owner_of(quota, origin))
        finally:
            ledger.close()
    except sqlite3.Error as error:
        raise CovariaError(f"quotas cannot be asked, for the ledger cannot be read: {error}", hint=hint) from error


def hold_back(message: Message, settings: Settings) -> None:
    """`admit` for who asks again: whatever keeps a job from being let in is an OverQuota."""
    try:
        admit(message, settings)
    except (CovariaError, OSError) as error:
        raise OverQuota(str(error)) from error


def why_held(message: Message, settings: Settings) -> str:
    """Why a job that a worker has met must wait; "" for one that has begun, or whose owner may have one more."""
    books = Books(Tree(message.work.request.out), message.job_id)
    try:
        if books.is_ours():
            return ""
    except (CovariaError, OSError) as error:  # the worker meets it too, and says so
        log.info("whether job %s has begun is not known: %s", message.job_id, error)
        return ""
    try:
        hold_back(message, settings)
    except OverQuota as error:
        return str(error)
    return ""


def owner_of(quota: Quota, origin: Origin) -> str:
    """Whom a quota means of this job; "" where it does not apply: the job names no such owner, or another."""
    owner = origin.metadata.get(SUBMITTER, "") if quota.by == SUBMITTER else str(getattr(origin, quota.by))
    return owner if quota.of in (EVERYONE, owner) else ""


def _ask(ledger: Ledger, quota: Quota, all_of_them: list[Quota], owner: str) -> None:
    if quota.of == EVERYONE and any(other.by == quota.by and other.of == owner for other in all_of_them):
        return  # it has a line of its own
    since = (datetime.now(UTC) - timedelta(days=quota.days)).isoformat()
    jobs, gpu_s, size = ledger.used(quota.by, owner, since)
    found = (
        ("jobs queued or running", float(jobs), quota.jobs, "wait until one has ended, or cancel one"),
        (f"GPU hours in {quota.days:g} days", gpu_s / 3600, quota.gpu_hours, "wait, or ask the facility for more"),
        (f"TB of the last {quota.days:g} days", size / 1e12, quota.tb, "delete results, or ask for `covaria clean`"),
    )
    for what, has, limit, cure in found:
        if limit is not None and has >= limit:
            raise OverQuota(f"{quota.by} {owner!r} has {has:.4g} {what}, of {limit:g} allowed", hint=cure)
