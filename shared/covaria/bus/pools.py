"""Pools: workers of one stage that are alike (a kind of GPU, much memory), with queues of their own.

`reconstruction.large:20` takes jobs that name it, and by itself those whose images take 20 GB or more;
`reconstruction.h100` only those that name it. A stage without a pool of that name takes the job in its common queues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """One of them. `from_gb`: from which size on it takes jobs that name no pool; None: never."""

    stage: str
    name: str
    from_gb: float | None = None

    @classmethod
    def read(cls, text: str) -> Pool:
        """`<stage>.<name>` or `<stage>.<name>:<GB>`, as COVARIA_POOLS has it."""
        whole, _, size = text.partition(":")
        stage, _, name = whole.partition(".")
        return cls(stage, name, float(size) if size else None)


def read_pools(texts: Sequence[str]) -> tuple[Pool, ...]:
    """The pools of COVARIA_POOLS."""
    return tuple(map(Pool.read, texts))


def pool_for(pools: Sequence[Pool], stage: str, asked: str, images_gb: float | None) -> str:
    """Where a job waits for a stage: in the pool that it names, where the stage has that; without a name in the pool
    with the highest bound that its images reach; else "", the common queues."""
    here = [pool for pool in pools if pool.stage == stage]
    if asked:
        return asked if any(pool.name == asked for pool in here) else ""
    fits = [pool for pool in here if pool.from_gb is not None and (images_gb or 0.0) >= pool.from_gb]
    return max(fits, key=lambda pool: pool.from_gb or 0.0).name if fits else ""
