"""Output folders of sets: no two sets share one, now and after a restart."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.operations.watching.records import digest
from covaria.tree import atomic

MAX_NAME = 200
"""Bytes of an output folder's name; a filesystem takes 255, and names are made from it."""


@dataclass(frozen=True)
class Names:
    """Who has which folder, as the spool says."""

    folder: Path

    def give(self, wanted: Path, path: Path) -> Path:
        """The folder of the set at `path`: the wanted one; where another set has it, or its name is too long, with a
        hash behind it. Raises InvalidInput."""
        tail = f"-{digest(str(path.absolute()))[:12]}"
        whole = wanted.name
        short = whole if len(os.fsencode(whole)) <= MAX_NAME else _cut(whole, MAX_NAME - len(tail)) + tail
        for name in (short, _cut(whole, MAX_NAME - len(tail)) + tail):
            if name and self._claims(wanted.with_name(name), path):
                return wanted.with_name(name)
        raise InvalidInput("no name is left for its output", file=path, hint="rename it")

    def _claims(self, out: Path, path: Path) -> bool:
        book, whose = self.folder / f"{digest(str(out))[:32]}.json", str(path.absolute())
        if not book.exists():
            atomic.write_json(book, {"out": str(out), "path": whose})
        return bool(json.loads(book.read_bytes())["path"] == whose)


def _cut(text: str, most_bytes: int) -> str:
    return os.fsencode(text)[:most_bytes].decode("utf-8", "ignore")
