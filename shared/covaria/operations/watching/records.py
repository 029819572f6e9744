"""What is known of each set of a rule, in the spool: what was taken of it, as which job, and what was refused."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from covaria.opening import Roots
from covaria.operations.watching.content import Version
from covaria.tree import atomic

log = logging.getLogger(__name__)

MOST_BYTES = 2**16
Stamp = tuple[int, int]
"""Size and modification time, ns."""


class Record(BaseModel):
    """One set."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str = ""
    job_id: str = ""
    """Of the job that it was taken as last; "" where it never was."""
    out: str = ""
    number: int = 0
    """How many versions were taken."""
    version: Version | None = None
    stamp: Stamp | None = None
    """Of the file that holds what was taken."""
    at: str = ""
    refused: Stamp | None = None
    """Of the file as it was refused."""
    why: str = ""


@dataclass
class Records:
    """Those of one rule. What cannot be read counts as not there: the set is looked at afresh."""

    folder: Path
    _known: dict[str, Record] = field(default_factory=dict)

    def of(self, relative: str) -> Record:
        """What is known of a set, by its path beneath the watched folder."""
        if relative not in self._known:
            self._known[relative] = self._read(relative)
        return self._known[relative]

    def put(self, relative: str, record: Record) -> None:
        """Remember it, also after a restart. Raises OSError: then only until one."""
        self._known[relative] = record
        atomic.write_bytes(self._place(relative), record.model_dump_json().encode())

    def _read(self, relative: str) -> Record:
        place = self._place(relative)
        if not os.path.lexists(place):
            return Record()
        try:
            with Roots().open(place, most_bytes=MOST_BYTES) as file:
                return Record.model_validate_json(file.read())
        except (ValidationError, ValueError) as error:
            log.warning("%s is no record of a set and is not believed: %s", place, type(error).__name__)
            return Record()

    def _place(self, relative: str) -> Path:
        return self.folder / f"{digest(relative)[:32]}.json"


def digest(text: str) -> str:
    """Of a path, whatever bytes it is made of."""
    return hashlib.sha256(os.fsencode(text)).hexdigest()
