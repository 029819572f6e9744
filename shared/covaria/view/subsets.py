"""A selection of the page, counted, and written back in the format of the run's source, as `covaria subset` does."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.explorer.run_files import RunFiles
from covaria.particles.par import ParTable
from covaria.particles.star.subset import StarRows
from covaria.particles.symmetry import copies_of
from covaria.request.model import IngestOptions
from covaria.selection.apply import selected
from covaria.selection.handoff import Source, source_of, source_rows
from covaria.selection.model import Selection, selection_json
from covaria.tree import ParticleFiles


@dataclass(frozen=True)
class Written:
    """A file for the browser to keep."""

    name: str
    content: bytes
    particles: int


Version = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class Prepared:
    """A run's source as it was when its files had `version`."""

    ingest: IngestOptions
    version: Version | None
    source: Source | None


def rows_of(run: RunFiles, selection: Selection) -> NDArray[np.bool_]:
    """(N,) the run's rows. Raises InvalidInput."""
    return selected(selection, run.table)


def prepare(run: RunFiles) -> Prepared:
    """The source, compared with its sums and read, so that the first selection is written as soon as the later ones:
    kept as long as its files stay as they are, for a large one takes seconds; who comes meanwhile waits.

    Raises InvalidInput, MissingFile where it is gone or has changed: that is told before somebody has drawn.
    """
    with run.preparing:
        if isinstance(run.prepared, Prepared) and run.prepared.version == _version(run.prepared.ingest):
            return run.prepared
        run.prepared, version = None, _version(run.request.ingest)
        ingest = source_of(run.tree, roots=run.roots)
        made = Prepared(ingest, version, Source.read(ingest, run.roots))
        if _version(ingest) != version:
            raise InvalidInput("changes while it is read", file=ingest.particles, hint="ask again when it is at rest")
        run.prepared = made
        return made


def _version(ingest: IngestOptions) -> Version | None:
    """Of every file that `source_of` sums; None where one is not there."""
    pickles = (path for path in (ingest.poses, ingest.ctf) if path is not None)
    try:
        files = [path.stat() for path in (ingest.particles, *ingest.passthrough, *pickles)]
    except OSError:
        return None
    return tuple((one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in files)


def subset_file(run: RunFiles, selection: Selection) -> Written:
    """particles.star or .par; a .zip of .cs files; row numbers as text where the run was made from plain stacks.

    Raises InvalidInput where nothing is selected, or the source is gone or has changed.
    """
    ready = prepare(run)
    source = ready.source
    keep = source_rows(run.table.whole(rows_of(run, selection)), copies_of(ready.ingest))
    count = int(keep.sum())
    if not count:
        raise InvalidInput("no particle is selected", hint="draw a larger region")
    if source is None:
        return Written("indices.txt", "".join(f"{row}\n" for row in np.flatnonzero(keep).tolist()).encode(), count)
    if isinstance(source.rows, (StarRows, ParTable)):
        target, ending = io.BytesIO(), "star" if isinstance(source.rows, StarRows) else "par"
        source.rows.write(keep, target)
        return Written(f"particles.{ending}", target.getvalue(), count)
    with tempfile.TemporaryDirectory(prefix="covaria-view-") as folder:
        source.write(keep, ParticleFiles(Path(folder), "particles"))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
            archive.writestr("selection.json", selection_json(selection))
        return Written("particles.zip", packed.getvalue(), count)
