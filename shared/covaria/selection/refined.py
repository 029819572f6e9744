"""Refined poses back in the file that the run was made from: nothing but poses is another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.common_grid import recorded_shifts
from covaria.particles.cryosparc.poses import with_poses
from covaria.particles.cryosparc.subset import CsRows, group_file
from covaria.particles.metadata import Metadata
from covaria.particles.read import kind_of, read_metadata
from covaria.particles.star.poses import write_star_poses
from covaria.particles.star.subset import StarRows
from covaria.request.model import IngestOptions
from covaria.tree import RefinedFiles
from covaria.tree.atomic import write_pickle, write_text


@dataclass(frozen=True)
class Moves:
    """What is added to the poses of some rows of a particle file.

    rows (n,) from 0; turns (n, 3) rotation vectors about the image's axes, radians; shifts_angstrom (n, 2)
    """

    rows: NDArray[np.int64]
    turns: NDArray[np.float64]
    shifts_angstrom: NDArray[np.float64]


@dataclass(frozen=True)
class PosedSource:
    """The particle file of a run, read before it starts, and written with other poses at its end."""

    metadata: Metadata
    rows: StarRows | CsRows | None
    """None where poses came as a pickle: they go back as one."""

    @staticmethod
    def read(ingest: IngestOptions, roots: Roots = ANYWHERE) -> PosedSource:
        """Raises InvalidInput, MissingFile."""
        kind = kind_of(ingest.particles)
        if ingest.tomograms is not None:
            raise InvalidInput(
                "poses of single tilts cannot be written back to particles of tomograms",
                file=ingest.particles,
                hint="leave --refine-poses out, or give the series that `covaria downsample` writes of them",
            )
        rows: StarRows | CsRows | None = None
        if ingest.poses is None and kind == "star":
            rows = StarRows(ingest.particles, roots)
        elif ingest.poses is None and kind == "cs":
            rows = CsRows(ingest.particles, ingest.passthrough, roots)
        metadata = read_metadata(ingest, roots=roots).metadata
        if rows is not None:
            rows.refuse_other(metadata.count)
        return PosedSource(metadata, rows)

    def write(self, moves: Moves, extent_angstrom: float, files: RefinedFiles) -> None:
        """extent_angstrom: of the images' side."""
        pixel = self.metadata.pixel_size_angstrom
        if pixel is None:
            raise ValueError("particles of no pixel size were refined")
        box = round(extent_angstrom / pixel)
        rotations, shifts = self._poses(moves, box, pixel)
        own = self.metadata.pixel_sizes_angstrom
        pixels = np.full(len(shifts), pixel) if self.metadata.resampling is None or own is None else own
        recorded = recorded_shifts(self.metadata, shifts * pixel) / pixels[:, None]
        of_rows = (moves.rows, rotations[moves.rows], recorded[moves.rows], pixels[moves.rows])
        if isinstance(self.rows, StarRows):
            with files.star.open("wb") as file:
                write_star_poses(self.rows, *of_rows, file)
        elif isinstance(self.rows, CsRows):
            prefix = self.metadata.named("rotations").partition("/")[0]
            main, others = with_poses(self.rows, prefix, self.metadata.class_of_row, *of_rows)
            tables = {files.cs: main} | {files.passthrough(number): table for number, table in enumerate(others)}
            for path, table in tables.items():
                with path.open("wb") as file:
                    np.lib.format.write_array(file, table, allow_pickle=False)
            names: dict[str, NDArray[Any]] = {path.name: table for path, table in tables.items()}
            write_text(files.csg, group_file(names, f"{len(main)} particles with refined poses"))
        else:
            write_pickle(files.pkl, (rotations, shifts / box))

    def _poses(
        self, moves: Moves, box: int, pixel_size_angstrom: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rotations and shifts in pixels of every row, moved."""
        if self.metadata.rotations is None or self.metadata.shifts is None:
            raise ValueError("the metadata carry no poses")
        rotations, shifts = self.metadata.rotations.copy(), self.metadata.shifts.pixels(box, pixel_size_angstrom)
        rotations[moves.rows] = Rotation.from_rotvec(moves.turns).as_matrix() @ rotations[moves.rows]
        shifts[moves.rows] += moves.shifts_angstrom / pixel_size_angstrom
        return rotations, shifts
