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


def rows_of(run: RunFiles, selection: Selection) -> NDArray[np.bool_]:
    """(N,) the run's rows. Raises InvalidInput."""
    return selected(selection, run.table)


def _source(run: RunFiles, ingest: IngestOptions) -> Source | None:
    """The source's rows, kept as long as its files stay as they are: a large one takes a second to read."""
    with run.source_lock:  # who comes while it is read waits for it
        files = [path.stat() for path in (ingest.particles, *ingest.passthrough)]
        version = tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in files)
        if run.source is None or run.source[0] != version:
            run.source = version, Source.read(ingest, run.roots)
        return run.source[1]


def prepare(run: RunFiles) -> None:
    """Read the source, so that the first selection is written as soon as the later ones.

    Raises InvalidInput, MissingFile where it is gone or has changed: that is told before somebody has drawn.
    """
    _source(run, source_of(run.tree, roots=run.roots))


def subset_file(run: RunFiles, selection: Selection) -> Written:
    """particles.star; a .zip of .cs files; row numbers as text where the run was made from plain stacks.

    Raises InvalidInput where nothing is selected, or the source is gone or has changed.
    """
    ingest = source_of(run.tree, roots=run.roots)
    keep = source_rows(run.table.whole(rows_of(run, selection)), copies_of(ingest))
    count = int(keep.sum())
    if not count:
        raise InvalidInput("no particle is selected", hint="draw a larger region")
    source = _source(run, ingest)
    if source is None:
        return Written("indices.txt", "".join(f"{row}\n" for row in np.flatnonzero(keep).tolist()).encode(), count)
    with tempfile.TemporaryDirectory(prefix="covaria-view-") as folder:
        files = ParticleFiles(Path(folder), "particles")
        source.write(keep, files)
        if files.star.is_file():
            return Written(files.star.name, files.star.read_bytes(), count)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
            archive.writestr("selection.json", selection_json(selection))
        return Written("particles.zip", packed.getvalue(), count)
