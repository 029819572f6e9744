"""Asking for an output folder's lease: whether its holder lives, and whose the folder becomes where it is new.

Whether a holder is dead takes time to see. A worker that has nothing else to do stays and looks; one whose queues hold
other work remembers what it saw, lets the message come again, and counts on from its first look, by its own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from covaria.job.books import Books
from covaria.job.lease import Lease, LeaseState, latest, take, watch
from covaria.job.promotion import finish
from covaria.settings import Settings
from covaria.tree.access import Sharing, refuse_unwritable
from covaria.worker.clock import Clock
from covaria.worker.dispatch import OWNER
from covaria.worker.facts import LeaseFact, reading

MOST_REMEMBERED = 10_000


@dataclass
class Sightings:
    """Foreign leases that this worker has seen: which counter, and since when it has stood there."""

    _since: dict[Path, tuple[int, int, float]] = field(default_factory=dict)

    def since(self, out: Path, seen: LeaseState, now: float) -> float:
        """When this worker first saw the lease with this very counter."""
        known = self._since.pop(out, None)
        if known is None or known[:2] != (seen.number, seen.counter):
            known = (seen.number, seen.counter, now)
        self._since[out] = known
        while len(self._since) > MOST_REMEMBERED:
            self._since.pop(next(iter(self._since)))
        return known[2]

    def forget(self, out: Path) -> None:
        """It is judged."""
        self._since.pop(out, None)


class OtherWork:
    """Whether other messages wait, asked now and at most every `every_s`, by the thread that serves the connection."""

    def __init__(self, ask: Callable[[], bool], clock: Clock, every_s: float) -> None:
        self._ask, self._clock, self._every_s = ask, clock, every_s
        self._waits, self._asked = ask(), clock.monotonic()

    def looked_for(self, turn: Callable[[float], None]) -> Callable[[float], None]:
        """`turn`, and the look now and then."""

        def turn_and_look(seconds: float) -> None:
            turn(seconds)
            if not self._waits and self._clock.monotonic() - self._asked >= self._every_s:
                self._asked = self._clock.monotonic()
                self._waits = self._ask()

        return turn_and_look

    def waiting_for(self, go_on: Callable[[], bool]) -> Callable[[float], bool]:
        """Passes time; False where other work waits, or `go_on` says no."""

        def wait(seconds: float) -> bool:
            if self._waits:
                return False
            self._clock.sleep(seconds)
            return go_on()

        return wait


@dataclass(frozen=True)
class Asked:
    """What came of it. `owner`: who has it else. `taken_from`: whose dead lease it was."""

    fact: LeaseFact
    owner: str = ""
    lease: Lease | None = None
    taken_from: str = ""


def ask_for_lease(
    books: Books,
    settings: Settings,
    wait: Callable[[float], bool],
    clock: Callable[[], float],
    sightings: Sightings,
) -> Asked:
    """Take the lease of the job's folder, made where it is missing. Raises NotPermitted, DamagedBook, OSError.

    `wait(seconds)` passes time and returns False when the message is to be let go before the lease is judged.
    """
    tree = books.tree
    refuse_unwritable(tree.out)
    Sharing(settings.out_group, settings.out_acl).make(tree.out)
    with reading(books):
        seen, dead = latest(tree), ""
        if seen is not None and not seen.released:
            owner = seen.owner
            began = sightings.since(tree.out, seen, clock())
            verdict = watch(tree, seen, settings.lease_dead_s, wait, clock, began=began)
            if verdict == "unknown":
                return Asked(LeaseFact.UNDECIDED, owner)
            sightings.forget(tree.out)
            if verdict == "live":
                return Asked(LeaseFact.ANOTHERS, owner)
            dead = owner if verdict == "dead" else ""
            seen = latest(tree)
        lease = take(tree, OWNER, seen)
        if lease is None:
            return Asked(LeaseFact.ANOTHERS, "a worker that was faster")
        try:
            finish(lease.tree)  # an update that was killed while it was put in place
        except BaseException:
            lease.release()
            raise
        return Asked(LeaseFact.OURS, lease=lease, taken_from=dead)
