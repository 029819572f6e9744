"""All that a decision about a message looks at, as one value. Looking changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from pathlib import Path

from covaria.errors import CovariaError
from covaria.job.books import Books
from covaria.job.updates import NO_UPDATE, Standing, standing
from covaria.messages.job_event import MOST_RESULTS, Result
from covaria.messages.ticket import Ticket
from covaria.tree.book import DamagedBook
from covaria.tree.inventory import kind_of, listed
from covaria.worker.failures import Breakdown
from covaria.worker.supervise import Ending


class LeaseFact(Enum):
    """What came of asking for the folder's lease."""

    NOT_ASKED = auto()
    OURS = auto()
    ANOTHERS = auto()
    """Somebody lives and works there."""
    GIVEN_UP = auto()
    """We were told to stop while watching whether its holder lives."""
    UNDECIDED = auto()
    """Other work waits, and whether its holder lives is not known yet."""
    TAKEN_OVER = auto()
    """It was ours; another has it now, and whatever is in the folder is the other's."""
    FREED = auto()
    """It was ours; the work is done."""


@dataclass(frozen=True)
class Folder:
    """What the disk says of the job and its stage."""

    out: Path
    superseded: bool = False
    """A later job replaced this one there."""
    ours: bool = False
    """It holds this very job."""
    foreign: bool = False
    """It holds files, and none of them is Covaria's."""
    done: bool = False
    """This job's stage has finished."""
    handed_over: bool = False
    """The next stage's message is known to be safe at the broker."""
    cancelled: bool = False
    standing: Standing = NO_UPDATE
    """Of an update of a growing set."""


@dataclass(frozen=True)
class Facts:
    """What is known when a decision is due."""

    ticket: Ticket
    tiers: int
    """How many retry tiers there are."""
    folder: Folder | None
    """None: it cannot be read; `breakdown` says why."""
    next_stage: str | None = None
    lease: LeaseFact = LeaseFact.NOT_ASKED
    lease_owner: str = ""
    held_back: str = ""
    """Why a job that has not begun must wait: its owner has as much as is allowed."""
    claimed: bool = False
    """The folder was made this job's, under our lease."""
    ending: Ending | None = None
    """How the stage's process ended."""
    breakdown: Breakdown | None = None
    """What went wrong on our own side."""
    next_refused: bool = False
    """The next stage's queue takes nothing now."""
    set_taken: str = ""
    """Who works on the growing set whose update is ready, and keeps it from its place."""


NO_FILES = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""What is there under a record's name, or on the way to it, is something else."""


@contextmanager
def reading(books: Books) -> Iterator[None]:
    """Whatever reading what lies in the folder raises, beside the system's own refusals, becomes DamagedBook."""
    try:
        yield
    except (MemoryError, CovariaError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in NO_FILES:
            raise
        raise DamagedBook(
            f"cannot be understood: {type(error).__name__}: {str(error)[:200]}",
            file=books.tree.state,
            hint="restore the job's records, or move the folder away and submit again",
        ) from error


def look(books: Books, stage: str, asked_at: str = "") -> Folder:
    """What the disk says now, of a job that was asked for then. Raises DamagedBook, OSError."""
    with reading(books):
        return _look(books, stage, asked_at)


def _look(books: Books, stage: str, asked_at: str) -> Folder:
    tree = books.tree
    return Folder(
        out=tree.out,
        superseded=books.was_superseded(),
        ours=books.is_ours(),
        foreign=not tree.is_empty and not tree.is_ours,
        done=books.is_done(stage),
        handed_over=books.is_handed_over(stage),
        cancelled=books.is_cancelled(),
        standing=standing(tree, books.job_id, asked_at),
    )


def results_in(out: Path) -> tuple[Result, ...]:
    """The files of a finished job, as its event names them."""
    kinds = {name: kind_of(row) for name, row in listed(out).items()}
    return tuple(Result(path=name, kind=kind) for name, kind in islice(sorted(kinds.items()), MOST_RESULTS))


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none to see."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
