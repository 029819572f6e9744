"""What each image of a set truly shows, where its files say something else: gt/images.txt, written and read."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.simulation import files
from covaria.tree import atomic

NAME = "images.txt"


@dataclass(frozen=True)
class ImageTruth:
    """One entry for each image (N), each field a column of gt/images.txt, in the order of the STAR file.

    Angles are RELION's, in degrees; x, y the translation in pixels that centres the particle; of an empty image neither
    means anything. Places are in pixels from the box centre; the raised side of an edge is where x cos(angle) +
    y sin(angle) > offset. NaN where an image has none.
    """

    rot_deg: NDArray[np.float64]
    tilt_deg: NDArray[np.float64]
    psi_deg: NDArray[np.float64]
    x_pixels: NDArray[np.float64]
    y_pixels: NDArray[np.float64]
    defocus_u_angstrom: NDArray[np.float64]
    defocus_v_angstrom: NDArray[np.float64]
    micrograph: NDArray[np.int64]
    empty: NDArray[np.bool_]
    carbon_edge: NDArray[np.bool_]
    blob: NDArray[np.bool_]
    bad_pose: NDArray[np.bool_]
    noise_level: NDArray[np.float64]
    """Standard deviation of the noise, 1 where nothing is spoiled, before `scale`."""
    scale: NDArray[np.float64]
    """What the whole image was multiplied by, noise included."""
    magnification: NDArray[np.float64]
    """Over that of the files' pixel size."""
    edge_angle_deg: NDArray[np.float64]
    edge_offset_pixels: NDArray[np.float64]
    blob_x_pixels: NDArray[np.float64]
    blob_y_pixels: NDArray[np.float64]
    gradient_angle_deg: NDArray[np.float64]
    """Where the background rises to."""

    def __len__(self) -> int:
        return len(self.micrograph)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Images (N,) of a particle, with nothing beside it, whose pose in the files is meant for it."""
        return ~(self.empty | self.carbon_edge | self.blob | self.bad_pose)

    def take(self, rows: NDArray[np.int64]) -> ImageTruth:
        """These images alone."""
        return ImageTruth(**{name: getattr(self, name)[rows] for name in COLUMNS})


COLUMNS = tuple(field.name for field in fields(ImageTruth))
TYPES = {"micrograph": np.int64} | dict.fromkeys(("empty", "carbon_edge", "blob", "bad_pose"), np.bool_)


def unspoiled(
    angles_deg: NDArray[np.float64],
    translations: NDArray[np.float64],
    defocus_angstrom: NDArray[np.float64],
    micrograph: NDArray[np.int64],
) -> ImageTruth:
    """Images whose angles (N, 3), translations (N, 2) in pixels, defocus u and v (N, 2) and micrograph (N,) are these,
    with no nuisance."""
    n = len(micrograph)
    given = [*angles_deg.T, *translations.T, *defocus_angstrom.T, micrograph]
    flags, factors, places = [np.zeros(n, np.bool_)] * 4, [np.ones(n)] * 3, [np.full(n, np.nan)] * 5
    return ImageTruth(**dict(zip(COLUMNS, [*given, *flags, *factors, *places], strict=True)))


def write_image_truth(folder: Path, truth: ImageTruth) -> None:
    """images.txt in `folder`: a line of column names, then a line for each image."""
    table = np.stack([getattr(truth, name).astype(float) for name in COLUMNS], axis=1)
    rows = [" ".join(f"{value:.10g}" for value in row) for row in table]
    atomic.write_text(folder / NAME, "\n".join([f"# {' '.join(COLUMNS)}", *rows]) + "\n")


def read_image_truth(dataset: Path) -> ImageTruth:
    """The truth of each image of what `covaria simulate` wrote in `dataset`.

    A set made without nuisances has no gt/images.txt: there the STAR file is the truth, and nothing is spoiled. Raises
    MissingFile, InvalidInput.
    """
    path = dataset / "gt" / NAME
    if not path.is_file():
        return _as_stated(dataset)
    with path.open() as file:
        names = tuple(file.readline().lstrip("#").split())
        if names != COLUMNS:
            raise InvalidInput(
                f"columns {' '.join(names)}", file=path, row=1, hint=f"simulate again: they are {' '.join(COLUMNS)}"
            )
        columns = np.loadtxt(file, ndmin=2).T
    return ImageTruth(
        **{name: column.astype(TYPES.get(name, float)) for name, column in zip(COLUMNS, columns, strict=True)}
    )


def _as_stated(dataset: Path) -> ImageTruth:
    star, parameters = dataset / files.STAR, dataset / "gt" / "parameters.json"
    for path in (star, parameters):
        if not path.is_file():
            raise MissingFile("not there", file=path, hint="give a folder that `covaria simulate` made")
    pixel_size = float(json.loads(parameters.read_text())["pixel_size_angstrom"])
    rows = [line.split() for line in star.read_text().splitlines() if "@" in line]
    table = dict(zip(files.COLUMNS, zip(*rows, strict=True), strict=False))  # a helix has a column more

    def numbers(*names: str) -> NDArray[np.float64]:
        return np.array([table[name] for name in names], float).T

    return unspoiled(
        numbers("AngleRot", "AngleTilt", "AnglePsi"),
        numbers("OriginXAngst", "OriginYAngst") / pixel_size,
        numbers("DefocusU", "DefocusV"),
        np.array([int(name.removeprefix("micrograph").removesuffix(".mrc")) for name in table["MicrographName"]]),
    )
