"""What the disk refused while a message was settled: written later, once there is room, if the folder is still free.

The message is parked by then, with its reason in its headers; only the folder does not say so yet. A worker that ends
before it could write leaves that to `covaria retry`, which goes by what is done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from covaria.job.books import Books
from covaria.job.lease import latest, take
from covaria.tree import Tree
from covaria.worker.dispatch import OWNER

log = logging.getLogger(__name__)

MOST = 100


@dataclass(frozen=True)
class Owed:
    """How a stage ended, as its folder should say."""

    tree: Tree
    job_id: str
    stage: str
    error: Mapping[str, str]
    note: Mapping[str, object]

    def pay(self) -> None:
        """Write it, unless somebody has taken the folder meanwhile. Raises OSError."""
        seen = latest(self.tree)
        if seen is not None and not seen.released and seen.owner != OWNER:
            return
        lease = take(self.tree, OWNER, seen)
        if lease is None:
            return
        try:
            books = Books(lease.tree, self.job_id)
            if books.is_ours() and not books.is_done(self.stage):
                books.settle(self.stage, "failed", self.error)
                books.note_delivery(self.stage, "parked", **self.note)
        finally:
            lease.release()


@dataclass
class Ledger:
    """What this worker owes to folders, oldest first."""

    owed: list[Owed] = field(default_factory=list)

    def add(self, owed: Owed) -> None:
        """Remember it; beyond MOST the oldest is let go."""
        self.owed = [*self.owed, owed][-MOST:]

    def pay(self) -> None:
        """Write what can be written now. Never raises."""
        left = []
        for owed in self.owed:
            try:
                owed.pay()
            except OSError as error:
                log.info("%s cannot be written yet: %s", owed.tree.out, error)
                left.append(owed)
            except Exception as error:  # whatever lies there by now is not ours to mend
                log.warning("%s is left as it is: %s", owed.tree.out, error)
        self.owed = left
