"""A selection back in the files that the run was made from: STAR or .cs with every column, and rows by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.particles.cryosparc.subset import cs_subset, group_file, passthrough_subset
from covaria.particles.star.subset import write_star_subset
from covaria.request.model import IngestOptions, Request
from covaria.tree import SubsetTree, Tree, record
from covaria.tree.atomic import write_pickle, write_text
from covaria.tree.sums import sum_of


def source_of(tree: Tree, moved_to: Path | None = None) -> IngestOptions:
    """How OUT's particles were read, their files unchanged since. `moved_to` is where the particle file lies now.

    Raises InvalidInput where OUT is not ours or a file has changed, MissingFile where it is gone.
    """
    asked = record.read_request(tree)
    if asked is None:
        raise InvalidInput("is not an output directory of Covaria", file=tree.out, hint="give the OUT of a run")
    ingest = Request.model_validate(asked["request"], extra="ignore").ingest
    sums = {entry["path"]: entry.get("sha256") for entry in asked["inputs"]}
    for path in (ingest.particles, *ingest.passthrough):
        here = moved_to if moved_to is not None and path == ingest.particles else path
        if not here.is_file():
            raise MissingFile("the run's source is not there any more", file=here, hint="--source says where it is now")
        known = sums.get(str(path.absolute()))
        if known is not None and sum_of(here)["sha256"] != known:
            raise InvalidInput(
                "has changed since the run: its rows may be others",
                file=here,
                hint="give the file as it was with --source, or run again",
            )
    return ingest if moved_to is None else ingest.model_copy(update={"particles": moved_to})


def source_rows(keep: NDArray[np.bool_], copies: int) -> NDArray[np.bool_]:
    """Rows of a run (copies of each particle one after another, as symmetry expands them) -> rows of its source."""
    return np.asarray(keep.reshape(copies, -1).any(axis=0))


def copies_of(ingest: IngestOptions) -> int:
    """How many rows of the run each row of the source became."""
    from covaria.particles.symmetry import point_group

    return len(point_group(ingest.symmetry)) if ingest.symmetry else 1


def write_subset(folder: Path, ingest: IngestOptions, keep: NDArray[np.bool_]) -> None:
    """Write the rows `keep` (N,) of the source into `folder`: in its own format, and as row numbers from 0."""
    tree = SubsetTree(folder)
    rows = np.flatnonzero(keep)
    write_pickle(tree.indices_pkl, rows)
    write_text(tree.indices_txt, "".join(f"{row}\n" for row in rows.tolist()))
    source = ingest.particles
    if source.suffix == ".star":
        with tree.star.open("wb") as file:
            write_star_subset(source, keep, file)
    elif source.suffix == ".cs":
        _write_cs(tree, ingest, keep)


def _write_cs(tree: SubsetTree, ingest: IngestOptions, keep: NDArray[np.bool_]) -> None:
    main = cs_subset(ingest.particles, keep)
    files = {tree.cs.name: main}
    for number, path in enumerate(ingest.passthrough):
        files[tree.passthrough(number).name] = passthrough_subset(path, main["uid"])
    for name, table in files.items():
        with (tree.root / name).open("wb") as file:
            np.lib.format.write_array(file, table, allow_pickle=False)
    write_text(tree.csg, group_file(files, f"{len(main)} particles"))
