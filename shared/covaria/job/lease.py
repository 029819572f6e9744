"""Who may write in an output folder: a lease file, taken by exclusive link(), whose counter the holder raises.

`.covaria/lease.<n>`: the highest n is the valid one. It is dead when its counter stands still for long enough on the
observer's own monotonic clock; no clock of another machine and no file time is believed (network filesystems cache
both). A new holder links n + 1, so a holder that slept through that finds itself outnumbered and may publish nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covaria.errors import CovariaError
from covaria.tree import Tree, atomic

_NAME = re.compile(r"^lease\.(\d+)$")


class LeaseLost(CovariaError):
    """Another worker took over; this one must not write any more."""


@dataclass(frozen=True)
class LeaseState:
    """A lease file as read."""

    number: int
    counter: int
    owner: str
    released: bool


def latest(tree: Tree) -> LeaseState | None:
    """The valid lease file of an output folder, or None where nobody ever held one."""
    while True:
        number = _highest(tree.state)
        if number is None:
            return None
        try:
            content = json.loads(_path(tree, number).read_text())
        except FileNotFoundError:
            continue  # a newer holder has just removed it
        return LeaseState(number, int(content["counter"]), str(content["owner"]), bool(content["released"]))


def take(tree: Tree, owner: str, over: LeaseState | None) -> Lease | None:
    """Take the lease after `over` (None: the first). None when another was faster."""
    number = 1 if over is None else over.number + 1
    tree.state.mkdir(parents=True, exist_ok=True)
    draft = tree.state / f".lease.{secrets.token_hex(8)}.tmp"
    draft.write_text(_content(owner, 0, released=False))
    target = _path(tree, number)
    try:
        os.link(draft, target)
    except FileExistsError:
        if draft.stat().st_nlink != 2:  # on NFS a link may succeed and its answer be lost
            return None
    finally:
        draft.unlink(missing_ok=True)
    atomic.fsync_directory(tree.state)
    for path in tree.state.iterdir():
        match = _NAME.match(path.name)
        if match and int(match.group(1)) < number:
            path.unlink(missing_ok=True)
    return Lease(tree, number, owner)


def require(tree: Tree, number: int) -> None:
    """Raise LeaseLost unless lease `number` is the valid one: the check before every publishing rename."""
    highest = _highest(tree.state)
    if highest != number:
        raise LeaseLost(f"lease {number} of {tree.out} was taken over (now {highest})")


def is_valid(tree: Tree, number: int) -> bool:
    """Whether lease `number` is still the valid one."""
    return _highest(tree.state) == number


def watch(
    tree: Tree,
    seen: LeaseState,
    dead_after_s: float,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Literal["live", "released", "dead", "unknown"]:
    """Observe a foreign lease until its counter moves or has stood still for `dead_after_s`.

    `wait(seconds)` passes time and returns False to give up early ("unknown").
    """
    began = clock()
    while True:
        now = latest(tree)
        if now is None or now.number != seen.number:
            return "live"
        if now.released:
            return "released"
        if now.counter != seen.counter:
            return "live"
        left = began + dead_after_s - clock()
        if left <= 0:
            return "dead"
        if not wait(min(left, dead_after_s / 20, 1.0)):
            return "unknown"


class Lease:
    """A lease that we hold."""

    def __init__(self, tree: Tree, number: int, owner: str) -> None:
        self.tree, self.number, self.owner = tree, number, owner
        self._counter = 0

    def renew(self) -> None:
        """Raise the counter. Raises LeaseLost."""
        require(self.tree, self.number)
        self._counter += 1
        atomic.write_text(_path(self.tree, self.number), _content(self.owner, self._counter, released=False))

    def release(self) -> None:
        """Free the folder at once for the next worker."""
        if _highest(self.tree.state) == self.number:
            atomic.write_text(_path(self.tree, self.number), _content(self.owner, self._counter, released=True))


class LeaseKeeper:
    """Renews a lease from a thread of its own, so that a slow broker or disk read never looks like death."""

    def __init__(self, lease: Lease, every_s: float) -> None:
        self.lease = lease
        self.lost = False
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.lease.renew()
            except LeaseLost:
                self.lost = True
                return
            except OSError:
                continue  # the filesystem hiccups; observers decide whether we are dead

    def release(self) -> None:
        """Stop renewing and free the folder."""
        self.stop()
        if not self.lost:
            self.lease.release()

    def stop(self) -> None:
        """Stop renewing; the lease will look dead after a while."""
        self._stop.set()
        self._thread.join()


def _path(tree: Tree, number: int) -> Path:
    return tree.lease(number)


def _highest(folder: Path) -> int | None:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    numbers = [int(match.group(1)) for name in names if (match := _NAME.match(name))]
    return max(numbers, default=None)


def _content(owner: str, counter: int, *, released: bool) -> str:
    return json.dumps({"owner": owner, "counter": counter, "released": released}) + "\n"
