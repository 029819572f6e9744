"""Jobs on their way in: what could not be sent yet is kept in the spool folder, what was sent shows in its folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from covaria.bus.model import Bus
from covaria.bus.topology import build_topology
from covaria.errors import CovariaError
from covaria.messages.envelope import MAX_BYTES, Message, message_id, seal, unseal
from covaria.messages.ticket import new_ticket
from covaria.opening import Roots
from covaria.tree import atomic
from covaria.worker.dispatch import Dispatch

log = logging.getLogger(__name__)


@dataclass
class Outbox:
    """Messages on disk that are not yet safe at the broker."""

    folder: Path

    def put(self, message: Message) -> None:
        """Keep a message; the same job again changes nothing."""
        body = seal(message, message_id(message, 1, 0))
        atomic.write_bytes(self.folder / f"{message.job_id}.json", body)

    def drop(self, job_id: str) -> None:
        """Let go of a job that is not sent yet. Raises OSError."""
        (self.folder / f"{job_id}.json").unlink(missing_ok=True)

    def send(self, bus: Bus, retry_delays_s: tuple[float, ...], pools: tuple[str, ...] = ()) -> int:
        """Send what waits, oldest first; returns how many are safe now. What is no message is set aside.

        Raises BrokerAway, Refused and their kin.
        """
        dispatch = Dispatch(bus, build_topology(retry_delays_s, pools=pools))
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
