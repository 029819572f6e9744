"""Jobs that start when data arrive: poll a folder, take each particle set once, send it when the broker can.

Network filesystems report no events of other machines, so this looks again and again. A set is a metadata file that
matches a pattern, with every file of its folder; it is taken when none of them has changed size or time for a while, by
our own clock, or as soon as a done-marker lies there. What was taken, and what could not be sent yet, is kept in the
spool folder across restarts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from covaria.bus.model import BrokerAway, Bus, Refused
from covaria.bus.topology import build_topology
from covaria.errors import CovariaError, InvalidInput
from covaria.job.books import note_submission, write_request
from covaria.messages.envelope import Message, message_id, seal, unseal
from covaria.messages.ticket import new_ticket
from covaria.tree import Tree, atomic, record
from covaria.worker.dispatch import Dispatch

log = logging.getLogger(__name__)

_Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class Outbox:
    """Messages on disk that are not yet safe at the broker."""

    folder: Path

    def put(self, message: Message) -> None:
        """Keep a message; the same job again changes nothing."""
        body = seal(message, message_id(message, 1, 0))
        atomic.write_bytes(self.folder / f"{message.job_id}.json", body)

    def send(self, bus: Bus, retry_delays_s: tuple[float, ...]) -> int:
        """Send what waits, oldest first; returns how many are safe now. Raises BrokerAway, Refused."""
        dispatch = Dispatch(bus, build_topology(retry_delays_s))
        sent = 0
        for path in self.waiting():
            message = unseal(path.read_bytes())
            dispatch.submit(message, new_ticket())
            path.unlink()
            sent += 1
        return sent

    def waiting(self) -> list[Path]:
        """The files that wait, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(self.folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))


@dataclass
class Watcher:
    """Looks at one folder."""

    folder: Path
    pattern: str
    into: Path
    spool: Path
    make_message: Callable[[Path, Path], Message]
    """(metadata file, output folder) -> the job's message."""
    settle_s: float = 60.0
    marker: str | None = None
    """Name of a file in the set's folder that says: complete."""
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[_Stamp, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InvalidInput("is not a folder", file=self.folder, hint="give the folder into which data arrive")
        mark = hashlib.sha256(f"{self.folder.resolve()}\n{self.pattern}\n{self.into.resolve()}".encode()).hexdigest()[
            :16
        ]
        self._taken = self.spool / f"taken-{mark}"
        self.outbox = Outbox(self.spool / "outbox")

    def look(self) -> list[Message]:
        """Take every complete set that was not taken before: into the outbox, then onto the list of taken ones."""
        taken = []
        for path in sorted(self.folder.glob(self.pattern)):
            if path.is_file() and not self._mark(path).exists() and self._complete(path):
                try:
                    message = self.make_message(path, self.output_of(path))
                except CovariaError as error:
                    log.error("%s is not taken: %s", path, error)
                    continue
                self.outbox.put(message)
                atomic.write_json(self._mark(path), {"path": str(path), "job_id": message.job_id, "at": record.now()})
                self._seen.pop(path, None)
                log.info("took %s as job %s", path, message.job_id)
                taken.append(message)
        return taken

    def send(self, bus: Bus, retry_delays_s: tuple[float, ...]) -> int:
        """Send what waits in the outbox; a broker that is away or full is for later."""
        try:
            if not self.outbox.waiting():
                return 0
            if not bus.is_open:
                bus.open()
            return self.outbox.send(bus, retry_delays_s)
        except (BrokerAway, Refused) as error:
            log.warning("%d jobs wait in %s: %s", len(self.outbox.waiting()), self.outbox.folder, error)
            return 0

    def is_quiet(self) -> bool:
        """Whether nothing is settling and nothing waits to be sent."""
        return not self._seen and not self.outbox.waiting()

    def output_of(self, path: Path) -> Path:
        """Where a set's output goes: its path relative to the watched folder, flattened, beneath `into`."""
        relative = path.relative_to(self.folder)
        parts = [*relative.parts[:-1], relative.stem] if len(relative.parts) > 1 else [relative.stem]
        return self.into / "__".join(parts)

    def _mark(self, path: Path) -> Path:
        return self._taken / f"{hashlib.sha256(str(path.relative_to(self.folder)).encode()).hexdigest()[:32]}.json"

    def _complete(self, path: Path) -> bool:
        if self.marker is not None:
            return (path.parent / self.marker).exists()
        stamp, now = _stamp(path.parent), self.clock()
        before = self._seen.get(path)
        if before is None or before[0] != stamp:
            self._seen[path] = (stamp, now)
            return False
        return now - before[1] >= self.settle_s


def announce(message: Message) -> None:
    """Show a submitted job as queued in its output folder, where that can be written from here and is new."""
    tree = Tree(message.work.request.out)
    if record.read_request(tree) is not None:
        return
    try:
        tree.state.mkdir(parents=True, exist_ok=True)
        write_request(tree, message)
        note_submission(tree, message)
    except PermissionError as error:
        log.info("%s is the workers' to write: %s", tree.out, error)


def _stamp(folder: Path) -> _Stamp:
    """Name, size and time of every file beneath a folder."""
    found = []
    for directory, _, names in os.walk(folder):
        for name in names:
            path = Path(directory) / name
            try:
                status = path.stat()
            except OSError:
                continue  # a file that comes and goes: the next look sees what is left
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))
