"""Notices for the ledger of jobs: "something happened in this output folder". Whoever keeps the ledger looks there.

A notice is a small file in the ledger's folder, named after the output folder, so that many are one. Nothing depends on
it: the folder of a job stays the truth, and a walk finds what nobody noticed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from covaria.opening import Roots
from covaria.request.options import MAX_PATH
from covaria.tree import atomic

log = logging.getLogger(__name__)

MOST_AT_ONCE = 20_000


def inbox(ledger: Path) -> Path:
    """The folder of notices beside the ledger."""
    return ledger / "inbox"


def notice(ledger: Path | None, out: Path) -> None:
    """Leave a notice about an output folder. Never raises: who may not write there works all the same."""
    if ledger is None:
        return
    name = hashlib.sha256(os.fsencode(out)).hexdigest()[:32]
    try:
        atomic.write_bytes(inbox(ledger) / name, os.fsencode(out))
    except OSError as error:
        log.info("no notice of %s in the ledger: %s", out, error)


def notices(ledger: Path) -> Iterator[tuple[Path, Path]]:
    """(notice, output folder) of those that lie there; what is no notice is passed over."""
    try:
        with os.scandir(inbox(ledger)) as entries:
            found = [Path(entry.path) for _, entry in zip(range(MOST_AT_ONCE), entries, strict=False)]
    except OSError:
        return
    for path in found:
        if path.name.startswith("."):
            continue  # one that is being written
        try:
            with Roots().open(path, most_bytes=4 * MAX_PATH) as file:
                out = Path(os.fsdecode(file.read()))
        except Exception as error:  # whatever lies there, the others count
            log.info("%s is no notice: %s", path, error)
            continue
        if out.is_absolute():
            yield path, out
