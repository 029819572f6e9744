"""Some rows of a .cs file and of its passthrough files, and the group file that cryoSPARC imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.cryosparc.table import load_cs


class CsRows:
    """A .cs file and its passthrough files, whose rows are written in part.

    Raises InvalidInput where uids repeat, or a passthrough file has none.
    """

    def __init__(self, path: Path, passthrough: Sequence[Path] = (), roots: Roots = ANYWHERE) -> None:
        self.path, self.main = path, load_cs(path, roots)
        uids = self.main["uid"] if "uid" in (self.main.dtype.names or ()) else np.zeros(0)
        if len(np.unique(uids)) != len(uids):
            raise InvalidInput("the same uid appears twice", file=path, column="uid", hint="export the particles again")
        self.others = [load_cs(other, roots) for other in passthrough]
        for table, other in zip((self.main, *self.others), (path, *passthrough), strict=True):
            if passthrough and "uid" not in (table.dtype.names or ()):
                raise InvalidInput("cannot be joined without this column", file=other, column="uid")

    def take(self, keep: NDArray[np.bool_]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """The rows of the main file for which keep (N,) is true, and those of each passthrough file with their uids,
        in its own order; every field as it was. Raises InvalidInput where the file has not N rows."""
        self.refuse_other(len(keep))
        main = np.asarray(self.main[keep])
        return main, [np.asarray(other[np.isin(other["uid"], main["uid"])]) for other in self.others]

    def refuse_other(self, count: int) -> None:
        """Raise InvalidInput where the main file has not `count` rows."""
        if len(self.main) != count:
            raise InvalidInput(
                f"has {len(self.main)} rows, the run had {count}",
                file=self.path,
                hint="give the file that the run was made from with --source",
            )


def group_file(files: Mapping[str, NDArray[Any]], title: str) -> str:
    """The .csg of a particle result group: each slot (blob, ctf, alignments3D ...) and the file that holds it.

    The form is that of cryoSPARC's own exported groups; `>` stands for the folder of the .csg.
    """
    lines = [
        f"created: {datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
        "group:",
        "  description: Particles selected with Covaria",
        "  name: particles",
        f"  title: {title}",
        "  type: particle",
        "results:",
    ]
    told: set[str] = set()
    for name, table in files.items():
        slots = dict.fromkeys(field.partition("/")[0] for field in table.dtype.names or () if "/" in field)
        for slot in slots:
            if slot in told:
                continue
            told.add(slot)
            lines += [
                f"  {slot}:",
                f"    metafile: '>{name}'",
                f"    num_items: {len(table)}",
                f"    type: particle.{slot}",
            ]
    return "\n".join([*lines, "version: v4.0.0", ""])
