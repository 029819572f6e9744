"""Is there room for what will be written?"""

from __future__ import annotations

import shutil
from pathlib import Path

from covaria.errors import NoRoom
from covaria.request.disk import disk_bytes
from covaria.request.model import Request
from covaria.request.stages import StageName

LEAST_BYTES = 4 << 20
"""Books, logs and what is renamed aside."""


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise NoRoom where the filesystem of `folder` (or of what will hold it) has less free than `what` needs."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed_bytes + LEAST_BYTES:
        raise NoRoom(place, needed_bytes + LEAST_BYTES, free, what)


def require_room_for(stage: StageName, request: Request, *, total: int, box: int, downsampled: bool = False) -> None:
    """`require_room` for the results of a stage (see covaria.request.disk)."""
    needed = disk_bytes(stage, request, total=total, box=box, downsampled=downsampled)
    require_room(request.out, needed, f"the {stage} stage")
