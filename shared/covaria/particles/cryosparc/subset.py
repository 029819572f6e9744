"""Some rows of a .cs file and of its passthrough files, and the group file that cryoSPARC imports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.cryosparc.table import load_cs


def cs_subset(source: Path, keep: NDArray[np.bool_]) -> NDArray[Any]:
    """The rows of a .cs file for which keep (N,) is true, every field as it was. Raises InvalidInput."""
    table = load_cs(source)
    if len(table) != len(keep):
        raise InvalidInput(
            f"has {len(table)} rows, the run had {len(keep)}",
            file=source,
            hint="give the file that the run was made from with --source",
        )
    uids = table["uid"] if "uid" in (table.dtype.names or ()) else np.zeros(0)
    if len(np.unique(uids)) != len(uids):
        raise InvalidInput("the same uid appears twice", file=source, column="uid", hint="export the particles again")
    return np.asarray(table[keep])


def passthrough_subset(source: Path, uids: NDArray[Any]) -> NDArray[Any]:
    """The rows of a passthrough file that belong to particles with the given uids, in its own order."""
    table = load_cs(source)
    if "uid" not in (table.dtype.names or ()):
        raise InvalidInput("cannot be joined without this column", file=source, column="uid")
    return np.asarray(table[np.isin(table["uid"], uids)])


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
