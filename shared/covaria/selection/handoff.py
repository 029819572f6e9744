"""A selection back in the files that the run was made from: STAR, .cs or .par with every column, and rows by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.opening import ANYWHERE, Roots
from covaria.particles.cryosparc.subset import CsRows, group_file
from covaria.particles.par import ParTable
from covaria.particles.read import kind_of
from covaria.particles.star.subset import StarRows
from covaria.particles.symmetry import copies_of
from covaria.request.model import IngestOptions, Request
from covaria.tree import ParticleFiles, SubsetTree, Tree, record
from covaria.tree.atomic import write_pickle, write_text
from covaria.tree.sums import sum_of_open


def source_of(
    tree: Tree, moved_to: Path | None = None, roots: Roots = ANYWHERE, *, option: str = "--source"
) -> IngestOptions:
    """How OUT's particles were read, their files unchanged since. `moved_to` is where the particle file lies now, as
    `option` says.

    Raises InvalidInput where OUT is not ours or a file has changed, MissingFile where it is gone.
    """
    asked = record.read_request(tree)
    if asked is None:
        raise InvalidInput("is not an output directory of Covaria", file=tree.out, hint="give the OUT of a run")
    ingest = Request.model_validate(asked["request"], extra="ignore").ingest
    sums = {entry["path"]: entry.get("sha256") for entry in asked["inputs"]}
    pickles = (path for path in (ingest.poses, ingest.ctf) if path is not None)
    for path in (ingest.particles, *ingest.passthrough, *pickles):
        here = moved_to if moved_to is not None and path == ingest.particles else path
        known = sums.get(str(path.absolute()))
        try:
            with roots.open(here) as file:
                changed = known is not None and sum_of_open(file)["sha256"] != known
        except MissingFile:
            raise MissingFile(
                "the run's source is not there any more", file=here, hint=f"{option} says where it is now"
            ) from None
        if changed:
            raise InvalidInput(
                "has changed since the run: its rows may be others",
                file=here,
                hint=f"give the file as it was with {option}, or run again",
            )
    return ingest if moved_to is None else ingest.model_copy(update={"particles": moved_to})


def source_rows(keep: NDArray[np.bool_], copies: int) -> NDArray[np.bool_]:
    """Rows of a run (copies of each particle one after another, as symmetry expands them) -> rows of its source."""
    return np.asarray(keep.reshape(copies, -1).any(axis=0))


def write_subset(folder: Path, ingest: IngestOptions, keep: NDArray[np.bool_]) -> None:
    """Write the rows `keep` (N,) of the source into `folder`: in its own format, and as row numbers from 0."""
    tree = SubsetTree(folder)
    rows = np.flatnonzero(keep)
    write_pickle(tree.indices_pkl, rows)
    write_text(tree.indices_txt, "".join(f"{row}\n" for row in rows.tolist()))
    source = Source.read(ingest)
    if source is not None:
        source.write(keep, ParticleFiles(folder, "particles"))


class Source:
    """The particle file of a run, read once, whose rows are written in part, in its own format."""

    def __init__(self, rows: StarRows | CsRows | ParTable) -> None:
        self.rows = rows

    @staticmethod
    def read(ingest: IngestOptions, roots: Roots = ANYWHERE) -> Source | None:
        """None where the run was made from plain stacks. Raises InvalidInput, MissingFile."""
        kind = kind_of(ingest.particles)
        if kind == "star":
            return Source(StarRows(ingest.particles, roots))
        if kind == "par":
            return Source(ParTable(ingest.particles, roots))
        return Source(CsRows(ingest.particles, ingest.passthrough, roots)) if kind == "cs" else None

    def write(self, keep: NDArray[np.bool_], files: ParticleFiles) -> None:
        """The rows `keep` (N,). Raises InvalidInput where the source has another number of rows."""
        if isinstance(self.rows, (StarRows, ParTable)):
            with (files.star if isinstance(self.rows, StarRows) else files.par).open("wb") as file:
                self.rows.write(keep, file)
            return
        main, others = self.rows.take(keep)
        tables = {files.cs: main} | {files.passthrough(number): table for number, table in enumerate(others)}
        for path, table in tables.items():
            with path.open("wb") as file:
                np.lib.format.write_array(file, table, allow_pickle=False)
        names = {path.name: table for path, table in tables.items()}
        write_text(files.csg, group_file(names, f"{len(main)} particles"))


def write_parts(
    ingest: IngestOptions, labels: NDArray[np.int64], parts: Mapping[int, ParticleFiles], roots: Roots = ANYWHERE
) -> None:
    """The source's rows by their label (rows of a run, symmetry copies one after another), in the files of each label.

    Where the run was made from plain stacks: their row numbers. Raises InvalidInput, MissingFile.
    """
    source = Source.read(ingest, roots)
    for label, files in parts.items():
        keep = source_rows(labels == label, copies_of(ingest))
        if source is not None:
            source.write(keep, files)
        else:
            write_pickle(files.indices, np.flatnonzero(keep))
