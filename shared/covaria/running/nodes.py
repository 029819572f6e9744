"""One run over several machines: the same command is started on each, the first leads, the others do as they are told.

Who starts them (a batch script, `covaria.operations.slurm`; an Indexed Job of the chart) names the meeting place in
COVARIA_RENDEZVOUS, a host and port of the first; COVARIA_NODE and COVARIA_NODES, or Slurm's SLURM_PROCID and
SLURM_NTASKS, say which of how many a process is. They meet in torch's TCPStore. A
follower on another machine is started by that machine's process, and ended by it when the leader is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from platform import node as host_name
from typing import Any

from pydantic import TypeAdapter

from covaria.errors import CovariaError, InvalidInput
from covaria.job.ownership import is_done
from covaria.running.context import StageContext
from covaria.running.devices import default_memory_bytes, resolve_device, resolve_devices
from covaria.running.followers import ENDING_S, JOINING_S, POLL_S, REPORTING_S, LostRank, Orders, Place, start
from covaria.tree import Tree

RENDEZVOUS = "COVARIA_RENDEZVOUS"
SLURMS = ("SLURM_PROCID", "SLURM_NTASKS")
SHARED = ("reconstruction",)
"""Stages that several processes share."""


class NobodyLeads(CovariaError):
    """The first machine did not come, or had nothing to do."""


@dataclass(frozen=True)
class Meeting:
    """Where the machines of a run meet, and which of them this is."""

    host: str
    port: int
    node: int
    nodes: int

    @classmethod
    def told(cls, environment: Mapping[str, str] = os.environ) -> Meeting | None:
        """None where a run has one machine. Raises InvalidInput."""
        place = environment.get(RENDEZVOUS)
        if not place:
            return None
        host, _, port = place.rpartition(":")
        try:
            which, of = ("COVARIA_NODE", "COVARIA_NODES") if "COVARIA_NODE" in environment else SLURMS
            return cls(host, int(port), int(environment[which]), int(environment[of]))
        except (KeyError, ValueError):
            raise InvalidInput(
                f"{RENDEZVOUS}={place!r} needs HOST:PORT, and which of how many this is: COVARIA_NODE, COVARIA_NODES"
                f" or {' and '.join(SLURMS)}",
                hint="`covaria sbatch --nodes N` and the chart set them; unset it for a run on one machine",
            ) from None

    def store(self) -> Any:
        """The leader's, which it serves; the others wait for it."""
        import torch.distributed

        group: Any = torch.distributed
        if self.node:
            self._wait_for_the_name()
        patience = timedelta(seconds=JOINING_S)
        try:
            return group.TCPStore(self.host, self.port, self.nodes, self.node == 0, patience, wait_for_workers=False)
        except RuntimeError:
            if not self.node:
                raise
            raise NobodyLeads(
                f"nobody answered at {self.host}:{self.port} within {JOINING_S:.0f} s",
                hint="see the words of the first machine; the machines of a job must reach one another",
            ) from None

    def _wait_for_the_name(self) -> None:
        """A pod has its name once it runs. One that never comes is for the store to say."""
        until = time.monotonic() + JOINING_S
        while time.monotonic() < until:
            with suppress(OSError):
                socket.getaddrinfo(self.host, self.port)
                return
            time.sleep(POLL_S)


@dataclass(frozen=True)
class Offer:
    """What a machine brings."""

    host: str
    devices: tuple[str, ...]
    memory_bytes: int


@dataclass
class Away:
    """A follower on another machine, as `subprocess.Popen` is one on this."""

    store: Any
    key: str
    pid: str
    returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None: not yet."""
        if self.returncode is None and self.store.check([f"ended-{self.key}"]):
            self.returncode = int(self.store.get(f"ended-{self.key}"))
        return self.returncode

    def wait(self, timeout: float = ENDING_S) -> int:
        """Raises subprocess.TimeoutExpired."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self.pid, timeout)
            time.sleep(POLL_S)
        return code

    def kill(self) -> None:
        """Ask its machine to."""
        self.store.set(f"kill-{self.key}", "")


@dataclass
class Team:
    """The other machines, as the leader sees them."""

    host: str
    store: Any
    offers: Sequence[Offer]
    _told: dict[int, int] = field(default_factory=dict)

    @classmethod
    def gathered(cls, meeting: Meeting, devices: Sequence[str]) -> Team:
        """All that were started, once they have come. Raises LostRank, and InvalidInput where one lacks a GPU."""
        store, offers = meeting.store(), []
        for node in range(1, meeting.nodes):
            until = time.monotonic() + JOINING_S
            while not store.check([f"offer-{node}"]):
                if time.monotonic() > until:
                    raise LostRank(
                        f"machine {node + 1} of {meeting.nodes} did not come to {meeting.host}:{meeting.port}",
                        hint="see its words in the job's log; the machines of a job must reach one another",
                    )
                time.sleep(POLL_S)
            offers.append(TypeAdapter(Offer).validate_json(store.get(f"offer-{node}")))
            if offers[-1].devices[0].split(":")[0] != devices[0].split(":")[0]:
                raise InvalidInput(
                    f"{offers[-1].host} brings {offers[-1].devices[0]}, {host_name()} {devices[0]}",
                    hint="give all of them GPUs (--gpus), or --device cpu",
                )
        return cls(meeting.host, store, offers)

    def places(self) -> list[Place]:
        """Where followers of theirs run."""
        return [
            Place(device, offer.memory_bytes // len(offer.devices), len(offer.devices), node)
            for node, offer in enumerate(self.offers, 1)
            for device in offer.devices
        ]

    def start(self, node: int, orders: Orders) -> Away:
        """Tell a machine to start a follower."""
        number = self._told[node] = self._told.get(node, -1) + 1
        self.store.set(f"orders-{node}-{number}", TypeAdapter(Orders).dump_json(orders).decode())
        return Away(self.store, f"{node}-{number}", f"{orders.rank} on {self.offers[node - 1].host}")

    def dismiss(self) -> None:
        """Let the others end, before the meeting place goes."""
        self.store.set("over", "")
        until = time.monotonic() + REPORTING_S
        while not self.store.check([f"gone-{node}" for node in range(1, len(self.offers) + 1)]):
            if time.monotonic() > until:
                return
            time.sleep(POLL_S)


@contextmanager
def team_of(devices: Sequence[str]) -> Iterator[Team | None]:
    """For the leader: the other machines of its run, or None. Raises what `Meeting.told` and `Team.gathered` raise."""
    meeting = Meeting.told()
    if meeting is None:
        yield None
        return
    team = Team.gathered(meeting, devices)
    try:
        yield team
    finally:
        team.dismiss()


def sharers(
    tree: Tree, context: StageContext, devices: tuple[str, ...], team: Team | None
) -> tuple[tuple[str, ...], Team | None]:
    """The devices here and the machines elsewhere that take part in a stage."""
    alone = context.stage not in SHARED or is_done(tree, context.stage, context.fingerprint)
    return (devices[:1], None) if alone else (devices, team)


def devices_of_a_node(device: str) -> tuple[str, ...]:
    """Of a machine that is a run's alone: each of its GPUs, else the CPU. Raises InvalidInput."""
    one = resolve_device(device)
    return resolve_devices(device, "all") if one.startswith("cuda") and device in ("auto", "cuda") else (one,)


def serve(meeting: Meeting, devices: tuple[str, ...], memory_bytes: int | None) -> None:
    """Start, watch and end followers as the leader says, until it is gone. SIGTERM is for the leader alone.

    Raises NobodyLeads.
    """
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.SIG_IGN)
    running: list[subprocess.Popen[bytes] | None] = []
    store = meeting.store()
    offer = Offer(host_name(), devices, memory_bytes or default_memory_bytes())
    store.set(f"offer-{meeting.node}", TypeAdapter(Offer).dump_json(offer).decode())
    try:
        while not store.check(["over"]):
            if store.check([f"orders-{meeting.node}-{len(running)}"]):
                told = store.get(f"orders-{meeting.node}-{len(running)}")
                running.append(start(TypeAdapter(Orders).validate_json(told)))
            for number, follower in enumerate(running):
                if follower is not None:
                    if store.check([f"kill-{meeting.node}-{number}"]):
                        follower.kill()
                    if follower.poll() is not None:
                        store.set(f"ended-{meeting.node}-{number}", str(follower.returncode))
                        running[number] = None
            time.sleep(POLL_S)
        store.set(f"gone-{meeting.node}", "")
    except RuntimeError:  # torch's word for a store that is no longer served: the leader has ended
        return
    finally:
        for follower in running:
            if follower is not None:
                follower.kill()
                follower.wait()
