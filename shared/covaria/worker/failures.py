"""What a failure means: the table that says which are tried again, when, and which are parked at once."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from covaria.errors import CovariaError
from covaria.messages.ticket import Ticket
from covaria.plain import printable

Failure = Literal[
    "invalid_input",
    "damaged_books",
    "missing_file",
    "permission",
    "filesystem",
    "device",
    "device_memory",
    "host_memory",
    "killed",
    "time_limit",
    "unknown",
]

SHORT, MIDDLE, LONG = 0, 1, 2
"""Retry tiers: 30 s, 5 min, 30 min as shipped."""


@dataclass(frozen=True)
class Policy:
    """How often a failure is tried again, after which waits, and what an operator should think."""

    waits: tuple[int, ...]
    """The tier before retry 1, 2, ...; none left: park."""
    meaning: str
    less_memory: bool = False
    """Try again with half the memory budget."""


POLICIES: dict[Failure, Policy] = {
    "invalid_input": Policy((), "The input or the request cannot be right; trying again will not help."),
    "damaged_books": Policy((), "The folder's own records (.covaria) cannot be read; somebody must look at them."),
    "missing_file": Policy((SHORT, MIDDLE, LONG), "A named file is not there; network filesystems can show it late."),
    "permission": Policy((), "The service's account may not read or write there; the error names uid, gid and mode."),
    "filesystem": Policy((MIDDLE, MIDDLE, LONG), "Disk full, stale handle or I/O error on the shared filesystem."),
    "device": Policy((SHORT, MIDDLE, LONG), "A CUDA error, or no such device; another host may do better."),
    "device_memory": Policy((SHORT,), "GPU memory ran out: once more with half the budget.", less_memory=True),
    "host_memory": Policy((SHORT,), "Memory ran out: once more with half the budget.", less_memory=True),
    "killed": Policy((SHORT, MIDDLE, LONG), "The stage's process was killed or crashed (out of memory, segfault)."),
    "time_limit": Policy((), "The stage ran longer than COVARIA_JOB_TIMEOUT_S."),
    "unknown": Policy((SHORT,), "An error that nobody foresaw: once more, then park."),
}

_FILESYSTEM = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.ESTALE,
        errno.EIO,
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
    }
)
_PERMISSION = frozenset({errno.EACCES, errno.EPERM})
_WRONG_KIND = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What stands there is not what it must be."""
_DEVICE_TEXT = ("cuda error", "cublas", "cudnn error", "cufft", "cusolver", "nccl error", "no cuda gpus are available")
_DEVICE_MEMORY_TEXT = ("cuda out of memory", "cuda error: out of memory", "cublas_status_alloc_failed")


MAX_TEXT = 4000


def _shown(text: str) -> str:
    return printable(text[:MAX_TEXT])


@dataclass(frozen=True)
class Breakdown:
    """What a stage's process said of its end, or what its end said."""

    types: tuple[str, ...] = ()
    """Names of the exception's class and its bases, the class first."""
    message: str = ""
    hint: str = ""
    errno: int | None = None
    signal: int | None = None
    """The signal that ended the process."""
    exit_code: int | None = None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What an exception says, fit for headers, events and terminals whatever file names it holds."""
        return cls(
            types=tuple(kind.__name__ for kind in type(error).__mro__ if kind is not object),
            message=_shown(error.message if isinstance(error, CovariaError) else str(error)),
            hint=_shown(error.hint) if isinstance(error, CovariaError) else "",
            errno=error.errno if isinstance(error, OSError) else None,
        )

    @classmethod
    def reported(cls, report: Mapping[str, Any], exit_code: int) -> Self:
        """What a stage's process reported."""
        number, types = report.get("errno"), report.get("types")
        return cls(
            types=tuple(str(name)[:80] for name in types) if isinstance(types, list) else ("Unreadable",),
            message=_shown(str(report.get("message", ""))),
            hint=_shown(str(report.get("hint", ""))),
            errno=number if isinstance(number, int) else None,
            exit_code=exit_code,
        )

    def __str__(self) -> str:
        if self.types:
            return f"{self.types[0]}: {self.message}"
        if self.signal is not None:
            return f"the stage's process was ended by signal {self.signal}"
        return self.message or f"the stage's process ended with exit code {self.exit_code} and no word"


@dataclass(frozen=True)
class Retry:
    """Try again: after which tier, with which part of the memory budget."""

    tier: int
    memory_scale: float


@dataclass(frozen=True)
class Park:
    """Set it aside for a person."""


def classify(breakdown: Breakdown) -> Failure:
    """The failure class of a breakdown."""
    types, text = set(breakdown.types), breakdown.message.lower()
    if not types:
        return "killed" if breakdown.signal is not None else "unknown"
    if "DamagedBook" in types:
        return "damaged_books"
    if "MissingFile" in types or "FileNotFoundError" in types or breakdown.errno == errno.ENOENT:
        return "missing_file"
    if "LostRank" in types:  # a process or machine that took a share of the images
        return "killed"
    if "NoDevice" in types:
        return "device"
    if "NotPermitted" in types or breakdown.errno in _PERMISSION:
        return "permission"
    if "InvalidInput" in types or "BadMessage" in types or breakdown.errno in _WRONG_KIND:
        return "invalid_input"
    if any(word in text for word in _DEVICE_MEMORY_TEXT) or (breakdown.types[0] == "OutOfMemoryError"):
        return "device_memory"
    if "MemoryError" in types:
        return "host_memory"
    if breakdown.errno in _FILESYSTEM:
        return "filesystem"
    if "AcceleratorError" in types or any(word in text for word in _DEVICE_TEXT):
        return "device"
    return "unknown"


def verdict_on(failure: Failure, ticket: Ticket, tiers: int) -> Retry | Park:
    """What to do after attempt `ticket.attempt` failed so, with that many retry tiers."""
    policy = POLICIES[failure]
    retries_done = ticket.attempt - 1
    if retries_done >= len(policy.waits):
        return Park()
    tier = min(policy.waits[retries_done], tiers - 1)
    return Retry(tier, ticket.memory_scale / 2 if policy.less_memory else ticket.memory_scale)
