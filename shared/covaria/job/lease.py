"""Who may write in an output folder: a lease file, taken by exclusive link(), whose counter the holder raises.

`.covaria/lease.<n>`: the highest n is the valid one. It is dead when its counter stands still for long enough on the
observer's own monotonic clock; no clock of another machine and no file time is believed (network filesystems cache
both). A new holder links n + 1, so a holder that slept through that finds itself outnumbered and may publish nothing.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from covaria.errors import CovariaError, RefusedOutput
from covaria.job.process import Process
from covaria.tree import Pen, Tree, atomic
from covaria.tree.book import DamagedBook, Shape, read_book, sealed
from covaria.tree.publish import put_back

_NAME = re.compile(r"lease\.(0|[1-9][0-9]{0,17})")
"""As we write it: another spelling of a number is no lease, and nobody counts beyond 18 digits."""


class LeaseShape(Shape):
    """A lease file."""

    owner: str
    counter: int
    released: bool
    process: Process | None = None


class LeaseLost(CovariaError):
    """Another worker took over; this one must not write any more."""


@dataclass(frozen=True)
class LeaseState:
    """A lease file as read. One that a power cut tore has no owner and a counter that stands still."""

    number: int
    counter: int
    owner: str
    released: bool
    process: Process | None = None
    """The process that holds it, where it may be judged by whether that lives."""


def latest(tree: Tree) -> LeaseState | None:
    """The valid lease file of an output folder, or None where nobody ever held one."""
    while True:
        number = _highest(tree.state)
        if number is None:
            return None
        try:
            content = read_book(tree, tree.lease(number), LeaseShape)
        except DamagedBook:
            return LeaseState(number, -1, "somebody whose lease file is damaged", released=False)
        if content is None:
            continue  # a newer holder has just removed it
        lease = LeaseShape.model_validate(content)
        return LeaseState(number, lease.counter, lease.owner, lease.released, lease.process)


def take(tree: Tree, owner: str, over: LeaseState | None, process: Process | None = None) -> Lease | None:
    """Take the lease after `over` (None: the first). None when another was faster.

    What the holders before were making is renamed away: from then on nothing of theirs reaches its place.
    """
    number = 1 if over is None else over.number + 1
    tree.state.mkdir(parents=True, exist_ok=True)
    if not tree.is_ours:
        raise RefusedOutput("is a link or somebody else's folder", file=tree.state, hint="give another folder")
    draft = tree.state / f".lease.{secrets.token_hex(8)}.tmp"
    target = tree.lease(number)
    try:
        atomic.write_bytes(draft, _content(owner, 0, process, released=False))
        os.link(draft, target)
    except FileExistsError:
        if draft.stat().st_nlink != 2:  # on NFS a link may succeed and its answer be lost
            return None
    finally:
        draft.unlink(missing_ok=True)
    atomic.fsync_directory(tree.state)
    _set_aside(tree, number)
    for path in tree.state.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match.group(1)) < number:
            path.unlink(missing_ok=True)
    lease = Lease(tree, number, owner, process)
    lease.tree.pen.reserve()
    return lease


def require(tree: Tree, number: int) -> None:
    """Raise LeaseLost unless lease `number` is the valid one: the check before everything that is written."""
    if not os.path.lexists(tree.state):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(tree.state))
    if not tree.is_ours:
        raise LeaseLost(f"{tree.state} is not a folder of ours any more", hint="see who replaced it")
    highest = _highest(tree.state)
    if highest != number:
        raise LeaseLost(f"lease {number} of {tree.out} was taken over (now {highest})")


def is_valid(tree: Tree, number: int) -> bool:
    """Whether lease `number` is still the valid one."""
    return _highest(tree.state) == number


def held(tree: Tree, number: int) -> Tree:
    """The tree with the pen of lease `number`, in the process that holds it or in one that it started."""
    return Tree(tree.out, Pen(tree.temporary / str(number), lambda: require(tree, number)))


def watch(
    tree: Tree,
    seen: LeaseState,
    dead_after_s: float,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
    began: float | None = None,
) -> Literal["live", "released", "dead", "unknown"]:
    """Observe a foreign lease until its counter moves or has stood still for `dead_after_s`.

    `wait(seconds)` passes time and returns False to give up early ("unknown"). `began`: when the same observer first
    saw this counter, by `clock`; now where it is new to him.
    """
    began = clock() if began is None else began
    while True:
        now = latest(tree)
        if now is None or now.number != seen.number:
            return "live"
        if now.released:
            return "released"
        if now.counter != seen.counter:
            return "live"
        if now.process is not None and now.process.is_gone:
            return "dead"
        left = began + dead_after_s - clock()
        if left <= 0:
            return "dead"
        if not wait(min(left, dead_after_s / 20, 1.0)):
            return "unknown"


class Lease:
    """A lease that we hold. `tree` has its pen."""

    def __init__(self, tree: Tree, number: int, owner: str, process: Process | None = None) -> None:
        self.tree, self.number, self.owner, self.process = held(tree, number), number, owner, process
        self._counter = 0

    def renew(self) -> None:
        """Raise the counter. Raises LeaseLost."""
        self._counter += 1
        self._write(released=False)

    def release(self) -> None:
        """Free the folder at once for the next worker."""
        if _highest(self.tree.state) != self.number:
            return
        self._write(released=True)
        if self.tree.pen.folder is not None:
            shutil.rmtree(self.tree.pen.folder, ignore_errors=True)

    def _write(self, *, released: bool) -> None:
        content = _content(self.owner, self._counter, self.process, released=released)
        self.tree.write_bytes(self.tree.lease(self.number), content)


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


def _set_aside(tree: Tree, number: int) -> None:
    """Make our folder for what we make; those of others vanish, what they had half replaced returns."""
    tree.temporary.mkdir(exist_ok=True)
    for path in tree.temporary.iterdir():
        gone = tree.temporary / f"gone-{secrets.token_hex(6)}"
        try:
            path.rename(gone)
        except FileNotFoundError:
            continue
        put_back(gone, tree.out)
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)  # a holder that still lives may be writing there
        else:
            gone.unlink(missing_ok=True)
    (tree.temporary / str(number)).mkdir()


def _highest(folder: Path) -> int | None:
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    numbers = [int(match.group(1)) for name in names if (match := _NAME.fullmatch(name))]
    return max(numbers, default=None)


def _content(owner: str, counter: int, process: Process | None, *, released: bool) -> bytes:
    value = {"owner": owner, "counter": counter, "released": released}
    return sealed(value | ({} if process is None else {"process": asdict(process)}))
