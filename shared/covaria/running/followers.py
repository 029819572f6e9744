"""Several processes for one stage, each with a device and a share of the images.

The first leads: it is the process that was started, holds OUT with its books and speaks to the terminal. The others are
`python -m covaria.running.followers`, told what to run; they run the same stage in step with it, read its checkpoints
and write nothing. Where one is lost the attempt fails; the next one goes on from the checkpoints.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from covaria.errors import CovariaError
from covaria.opening import ANYWHERE, Roots
from covaria.request.model import Request
from covaria.running.checkpoints import NpzCheckpoints
from covaria.running.context import StageContext
from covaria.running.ranks import TorchRanks
from covaria.stage import Checkpoints, Job, Ranks, load_stage
from covaria.tree import FREE, Pen, Tree

HOST = "127.0.0.1"
JOINING_S = 300.0
ENDING_S = 60.0
POLL_S = 0.1


class LostRank(CovariaError):
    """A process that took a share of the images is gone."""


@dataclass(frozen=True)
class Orders:
    """What a follower is told."""

    stage: str
    job_id: str
    request: Request
    fingerprint: str
    device: str
    memory_bytes: int
    rank: int
    size: int
    port: int


class _Read(NpzCheckpoints):
    """The leader's checkpoints, which are only read."""

    def save(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """The leader keeps them."""

    def forget_parts(self, name: str) -> None:
        """The leader does."""


@dataclass(frozen=True)
class FollowerContext:
    """`covaria.stage.Context` of a follower: it says nothing and writes nothing."""

    device: str
    memory_bytes: int
    checkpoints: Checkpoints
    ranks: Ranks
    log: logging.Logger
    roots: Roots = ANYWHERE
    pen: Pen = FREE

    def progress(self, step: str, done: int, total: int, unit: str = "images") -> None:
        """The leader tells."""


@contextmanager
def led(context: StageContext, job: Job, devices: Sequence[str]) -> Iterator[StageContext]:
    """The context of a stage on several devices: followers run it on all but the first. Its memory is shared out.

    Raises LostRank where a follower ends before its time.
    """
    if len(devices) == 1:
        yield context
        return
    import torch.distributed

    group: Any = torch.distributed
    size, memory_bytes = len(devices), context.memory_bytes // len(devices)
    store = group.TCPStore(HOST, 0, size, is_master=True, wait_for_workers=False)
    followers = [
        _start(Orders(context.stage, job.job_id, job.request, context.fingerprint, device, memory_bytes, rank, size,
                      store.port))
        for rank, device in enumerate(devices)
        if rank
    ]  # fmt: skip
    try:
        for rank, follower in enumerate(followers, 1):
            _wait_for(store, rank, follower)
        _join(store, devices[0], 0, size)
        try:
            yield replace(context, ranks=TorchRanks.joined(), memory_bytes=memory_bytes)
        except RuntimeError as error:
            if any(follower.poll() for follower in followers):
                raise _lost(followers) from error
            raise
        try:
            codes = [follower.wait(ENDING_S) for follower in followers]
        except subprocess.TimeoutExpired as error:
            raise _lost(followers) from error
        if any(codes):
            raise _lost(followers)
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()
        if group.is_initialized():
            group.destroy_process_group()


def _start(orders: Orders) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // orders.size))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    told = TypeAdapter(Orders).dump_json(orders).decode()
    command = [sys.executable, "-m", __name__, told]  # no shell; the orders are our own
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)  # nosec B603


def _wait_for(store: Any, rank: int, follower: subprocess.Popen[bytes]) -> None:
    """Until a follower has come to the group's door. Raises LostRank."""
    until = time.monotonic() + JOINING_S
    while not store.check([f"here-{rank}"]):
        if follower.poll() is not None or time.monotonic() > until:
            raise _lost([follower])
        time.sleep(POLL_S)


def _lost(followers: Sequence[subprocess.Popen[bytes]]) -> LostRank:
    """Which of them ended, and how."""
    ended = [f"process {follower.pid} ended with {follower.returncode}" for follower in followers if follower.poll()]
    return LostRank(
        f"a process that took a share of the images is gone ({', '.join(ended) or 'it did not answer'})",
        hint="give the same command again: it resumes; see what ended it (memory, a GPU's error) above",
    )


def _join(store: Any, device: str, rank: int, size: int) -> None:
    import torch

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(minutes=30)
    )


def follow(orders: Orders) -> None:
    """Run the stage in step with the leader."""
    import torch.distributed

    group: Any = torch.distributed
    store = group.TCPStore(HOST, orders.port, orders.size, is_master=False, timeout=timedelta(seconds=JOINING_S))
    store.set(f"here-{orders.rank}", "")
    _join(store, orders.device, orders.rank, orders.size)
    tree = Tree(Path(orders.request.out))
    log = logging.getLogger("covaria.running.followers")
    context = FollowerContext(
        orders.device,
        orders.memory_bytes,
        _Read(tree, orders.stage, orders.fingerprint),
        TorchRanks.joined(),
        log,
    )
    load_stage(orders.stage)(Job(orders.job_id, orders.request), context)
    group.destroy_process_group()


if __name__ == "__main__":
    try:
        follow(TypeAdapter(Orders).validate_json(sys.argv[1]))
    except CovariaError:
        sys.exit(1)  # the leader met the same, and says it
