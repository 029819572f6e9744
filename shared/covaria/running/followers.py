"""Several processes for one stage, each with a device and a share of the images.

The first leads: it is the process that was started, holds OUT with its books and speaks to the terminal. The others are
`python -m covaria.running.followers`, told what to run; they run the same stage in step with it, read its checkpoints
and write nothing. Some may be on other machines (`covaria.running.nodes`). Where one is lost the attempt fails; the
next one goes on from the checkpoints.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter

from covaria.errors import CovariaError
from covaria.opening import ANYWHERE, Roots
from covaria.request.model import Request
from covaria.running.checkpoints import NpzCheckpoints
from covaria.running.context import StageContext
from covaria.running.devices import cores
from covaria.running.ranks import TorchRanks
from covaria.stage import Checkpoints, Job, Ranks, load_stage
from covaria.tree import FREE, Pen, Tree

HOST = "127.0.0.1"
JOINING_S = 300.0
ENDING_S = 60.0
REPORTING_S = 3.0
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
    host: str
    port: int
    beside: int
    """Processes of this run on its machine."""
    roots: Roots = ANYWHERE
    """Where the leader may open files."""


@dataclass(frozen=True)
class Place:
    """Where a rank runs."""

    device: str
    memory_bytes: int
    beside: int
    node: int = 0


class Follower(Protocol):
    """What of `subprocess.Popen` is used."""

    @property
    def pid(self) -> object:
        """What to call it."""

    def poll(self) -> int | None:
        """How it ended; None: not yet."""

    def wait(self, timeout: float = ...) -> int:
        """Raises subprocess.TimeoutExpired."""

    def kill(self) -> None:
        """End it."""


class Elsewhere(Protocol):
    """Other machines that take part."""

    @property
    def host(self) -> str:
        """By which name they reach this one."""

    def places(self) -> list[Place]:
        """Where they run followers."""

    def start(self, node: int, orders: Orders) -> Follower:
        """Start one there."""


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
def led(
    context: StageContext, job: Job, devices: Sequence[str], others: Elsewhere | None = None
) -> Iterator[StageContext]:
    """The context of a stage on several devices: followers run it on all but the first. Its memory is shared out.

    Raises LostRank where a follower ends before its time.
    """
    memory_bytes = context.memory_bytes // len(devices)
    places = [Place(device, memory_bytes, len(devices)) for device in devices]
    places += others.places() if others else []
    size, host = len(places), others.host if others else HOST
    if size == 1:
        yield context
        return
    import torch.distributed

    group: Any = torch.distributed
    store = group.TCPStore(host, 0, size, is_master=True, wait_for_workers=False)
    followers: list[Follower] = []
    try:
        for rank, place in enumerate(places[1:], 1):
            orders = Orders(
                context.stage, job.job_id, job.request, context.fingerprint, place.device, place.memory_bytes, rank,
                size, host, store.port, place.beside, context.roots,
            )  # fmt: skip
            followers.append(others.start(place.node, orders) if others and place.node else start(orders))
        for rank, follower in enumerate(followers, 1):
            _wait_for(store, rank, follower)
        _join(store, devices[0], 0, size)
        try:
            yield replace(context, ranks=TorchRanks.joined(), memory_bytes=memory_bytes)
        except RuntimeError as error:
            if _ended_early(followers):
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
        for follower in followers:
            with suppress(subprocess.TimeoutExpired):
                follower.wait(ENDING_S)
        if group.is_initialized():
            group.destroy_process_group()


def start(orders: Orders) -> subprocess.Popen[bytes]:
    """A follower on this machine."""
    threads = str(max(1, cores() // orders.beside))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    told = TypeAdapter(Orders).dump_json(orders).decode()
    command = [sys.executable, "-m", __name__, told]  # no shell; the orders are our own
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)  # nosec B603


def _ended_early(followers: Sequence[Follower]) -> bool:
    """Whether one has ended with an error; the word of another machine takes a moment."""
    until = time.monotonic() + REPORTING_S
    while not any(follower.poll() for follower in followers):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True


def _wait_for(store: Any, rank: int, follower: Follower) -> None:
    """Until a follower has come to the group's door. Raises LostRank."""
    until = time.monotonic() + JOINING_S
    while not store.check([f"here-{rank}"]):
        if follower.poll() is not None or time.monotonic() > until:
            raise _lost([follower])
        time.sleep(POLL_S)


def _lost(followers: Sequence[Follower]) -> LostRank:
    """Which of them ended, and how."""
    ended = [f"process {follower.pid} ended with {code}" for follower in followers if (code := follower.poll())]
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
    store = group.TCPStore(orders.host, orders.port, orders.size, is_master=False, timeout=timedelta(seconds=JOINING_S))
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
        orders.roots,
    )
    load_stage(orders.stage)(Job(orders.job_id, orders.request), context)
    group.destroy_process_group()


if __name__ == "__main__":
    try:
        follow(TypeAdapter(Orders).validate_json(sys.argv[1]))
    except CovariaError:
        sys.exit(1)  # the leader met the same, and says it
