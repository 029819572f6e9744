"""The failure table, row by row."""

from __future__ import annotations

import errno
from typing import get_args

import pytest

from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.messages.ticket import Ticket
from covaria.worker.failures import POLICIES, Breakdown, Failure, Park, Retry, classify, verdict_on

TIERS = 3


def raised(error: BaseException) -> Breakdown:
    return Breakdown.of(error)


def torch_error(name: str, message: str) -> BaseException:
    return type(name, (RuntimeError,), {})(message)


@pytest.mark.parametrize(
    ("breakdown", "failure"),
    [
        (raised(InvalidInput("bad", file="x.star")), "invalid_input"),
        (raised(RefusedOutput("not ours")), "invalid_input"),
        (raised(MissingFile("gone")), "missing_file"),
        (raised(FileNotFoundError(errno.ENOENT, "no such file")), "missing_file"),
        (raised(OSError(errno.ENOSPC, "no space")), "filesystem"),
        (raised(OSError(errno.ESTALE, "stale handle")), "filesystem"),
        (raised(OSError(errno.EIO, "I/O")), "filesystem"),
        (raised(OSError(errno.EDQUOT, "quota")), "filesystem"),
        (raised(IsADirectoryError(errno.EISDIR, "is a directory")), "invalid_input"),
        (raised(PermissionError(errno.EACCES, "denied")), "permission"),
        (raised(torch_error("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB")), "device_memory"),
        (raised(RuntimeError("CUDA error: out of memory")), "device_memory"),
        (raised(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")), "device_memory"),
        (raised(RuntimeError("CUDA error: an illegal memory access was encountered")), "device"),
        (raised(torch_error("AcceleratorError", "uncorrectable ECC error encountered")), "device"),
        (raised(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")), "device"),
        (raised(MemoryError()), "host_memory"),
        (raised(ZeroDivisionError("x")), "unknown"),
        (raised(KeyError("x")), "unknown"),
        (Breakdown(signal=9), "killed"),
        (Breakdown(signal=11), "killed"),
        (Breakdown(exit_code=9), "unknown"),
    ],
)
def test_class(breakdown: Breakdown, failure: Failure) -> None:
    assert classify(breakdown) == failure


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        ("invalid_input", []),
        ("missing_file", [0, 1, 2]),
        ("filesystem", [1, 1, 2]),
        ("device", [0, 1, 2]),
        ("device_memory", [0]),
        ("host_memory", [0]),
        ("killed", [0, 1, 2]),
        ("time_limit", []),
        ("unknown", [0]),
    ],
)
def test_waits_then_parking(failure: Failure, waits: list[int]) -> None:
    ticket = Ticket()
    for tier in waits:
        verdict = verdict_on(failure, ticket, TIERS)
        assert isinstance(verdict, Retry)
        assert verdict.tier == tier
        ticket = ticket.again("x", memory_scale=verdict.memory_scale)
    assert verdict_on(failure, ticket, TIERS) == Park()


def test_every_class_has_a_row() -> None:
    assert set(POLICIES) == set(get_args(Failure))


def test_less_memory_halves_the_budget() -> None:
    verdict = verdict_on("device_memory", Ticket(memory_scale=0.5), TIERS)
    assert verdict == Retry(0, 0.25)
    assert verdict_on("killed", Ticket(memory_scale=0.5), TIERS) == Retry(0, 0.5)


def test_one_tier_is_enough() -> None:
    assert verdict_on("filesystem", Ticket(), 1) == Retry(0, 1.0)


def test_attempts_of_all_kinds_count_together() -> None:
    assert verdict_on("unknown", Ticket(attempt=2), TIERS) == Park()
