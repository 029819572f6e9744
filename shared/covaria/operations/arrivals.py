"""Jobs that start when data arrive: poll a folder, take each particle set once, send it when the broker can.

Network filesystems report no events of other machines, so this looks again and again. A set is a metadata file that
matches a pattern, with every file of its folder; it is taken when none of them has changed size or time for a while, by
our own clock, or as soon as a done-marker lies there. What was taken, and what could not be sent yet, is kept in the
spool folder across restarts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from covaria.bus.model import Bus, BusError
from covaria.bus.topology import build_topology
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.job.books import note_submission, write_request
from covaria.messages.envelope import MAX_BYTES, Message, message_id, seal, unseal
from covaria.messages.ticket import new_ticket
from covaria.opening import Roots
from covaria.plain import printable
from covaria.tree import Tree, atomic, record
from covaria.worker.dispatch import Dispatch

log = logging.getLogger(__name__)

MAX_NAME = 200
"""Bytes of an output folder's name; a filesystem takes 255, and names are made from it."""

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
        """Send what waits, oldest first; returns how many are safe now. What is no message is set aside.

        Raises BrokerAway, Refused and their kin.
        """
        dispatch = Dispatch(bus, build_topology(retry_delays_s))
        sent = 0
        for path in self.waiting():
            try:
                message = unseal(self._read(path))
            except (CovariaError, OSError) as error:
                self._set_aside(path, error)
                continue
            dispatch.begin(message, new_ticket())
            path.unlink(missing_ok=True)
            sent += 1
        return sent

    def waiting(self) -> list[Path]:
        """The files that wait, oldest first."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in self.folder.glob("*.json"):
            try:
                found.append((path.lstat().st_mtime_ns, path.name, path))
            except FileNotFoundError:  # another watcher has just sent it
                continue
        return [path for _, _, path in sorted(found)]

    def _read(self, path: Path) -> bytes:
        with Roots().open(path, most_bytes=MAX_BYTES) as file:
            return file.read()

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = self.folder / "refused"
        log.error("%s is no message and goes to %s: %s", path, aside, error)
        try:
            aside.mkdir(exist_ok=True)
            path.rename(aside / path.name)
        except OSError as problem:
            log.error("%s cannot be moved: %s", path, problem)


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
    _refused: dict[Path, _Stamp] = field(default_factory=dict)
    """Sets that cannot be jobs as they are: looked at again once they change."""

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InvalidInput("is not a folder", file=self.folder, hint="give the folder into which data arrive")
        mark = _hash(f"{self.folder.resolve()}\n{self.pattern}\n{self.into.resolve()}")[:16]
        self._taken = self.spool / f"taken-{mark}"
        self._names = self.spool / f"names-{_hash(str(self.into.resolve()))[:16]}"
        self.outbox = Outbox(self.spool / "outbox")

    def look(self) -> list[Message]:
        """Take every complete set that was not taken before: into the outbox, then onto the list of taken ones.

        Each set is on its own: one that cannot be taken is said once, and the others are.
        """
        taken = []
        for path in self._candidates():
            try:
                if not self._is_new(path) or not self._complete(path):
                    continue
                message = self._take(path)
            except Exception as error:  # whatever a set holds or is called, the next one is looked at
                self._refuse(path, error)
                continue
            self._seen.pop(path, None)
            log.info("took %s as job %s", path, message.job_id)
            taken.append(message)
        return taken

    def _candidates(self) -> list[Path]:
        try:
            return sorted(self.folder.glob(self.pattern))
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be looked through now: %s", self.folder, error)
            return []

    def _is_new(self, path: Path) -> bool:
        if not path.is_file() or self._is_result(path) or self._mark(path).exists():
            return False
        return path not in self._refused or self._refused[path] != _stamp(path.parent)

    def _is_result(self, path: Path) -> bool:
        """Whether a job made it: our own downsampled sets must not become jobs, for ever."""
        above = [folder for folder in path.parents if folder.is_relative_to(self.folder)]
        return self.into in path.parents or any(os.path.lexists(folder / ".covaria") for folder in above)

    def _take(self, path: Path) -> Message:
        name = str(path.relative_to(self.folder))
        if printable(name) != name or "\n" in name or "\t" in name:
            raise InvalidInput("its name is not UTF-8 or holds control characters", file=path, hint="rename it")
        message = self.make_message(path, self.output_of(path))
        self.outbox.put(message)
        atomic.write_json(self._mark(path), {"path": str(path), "job_id": message.job_id, "at": record.now()})
        return message

    def _refuse(self, path: Path, error: Exception) -> None:
        """What the system or a late file is to blame for is tried again; the rest waits for the set to change."""
        self._seen.pop(path, None)
        if isinstance(error, OSError | MissingFile):
            log.warning("%s is not taken yet: %s", path, error)
            return
        self._refused[path] = _stamp(path.parent)
        log.error("%s is not taken: %s", path, error, exc_info=None if isinstance(error, CovariaError) else error)

    def send(self, bus: Bus, retry_delays_s: tuple[float, ...]) -> int:
        """Send what waits in the outbox; a broker that is away, full or not set up is for later."""
        try:
            if not self.outbox.waiting():
                return 0
            if not bus.is_open:
                bus.open()
            return self.outbox.send(bus, retry_delays_s)
        except (BusError, OSError) as error:
            log.warning("jobs wait in %s: %s", self.outbox.folder, error)
            return 0

    def is_quiet(self) -> bool:
        """Whether nothing is settling and nothing waits to be sent."""
        return not self._seen and not self.outbox.waiting()

    def output_of(self, path: Path) -> Path:
        """Where a set's output goes: its path relative to the watched folder, flattened, beneath `into`.

        A name that another set has already, or that is too long for a filesystem, gets a hash behind it.
        """
        relative = path.relative_to(self.folder)
        whole = "__".join([*relative.parts[:-1], relative.stem]).lstrip(".")
        tail = f"-{_hash(str(path.absolute()))[:12]}"
        short = whole if len(os.fsencode(whole)) <= MAX_NAME else _cut(whole, MAX_NAME - len(tail)) + tail
        for name in (short, _cut(whole, MAX_NAME - len(tail)) + tail):
            if name and self._claims(name, path):
                return self.into / name
        raise InvalidInput("no name is left for its output", file=path, hint="rename it")

    def _claims(self, name: str, path: Path) -> bool:
        """Whether `name` beneath `into` is this set's, now and after a restart."""
        book, whose = self._names / f"{_hash(name)[:32]}.json", str(path.absolute())
        if not book.exists():
            atomic.write_json(book, {"name": name, "path": whose})
        return bool(json.loads(book.read_bytes())["path"] == whose)

    def _mark(self, path: Path) -> Path:
        return self._taken / f"{_hash(str(path.relative_to(self.folder)))[:32]}.json"

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
    try:
        if record.read_request(tree) is not None:
            return
        tree.state.mkdir(parents=True, exist_ok=True)
        write_request(tree, message)
        note_submission(tree, message)
    except Exception as error:  # a courtesy: the message is what counts, and a worker says what is wrong there
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


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _cut(text: str, most_bytes: int) -> str:
    return os.fsencode(text)[:most_bytes].decode("utf-8", "ignore")
