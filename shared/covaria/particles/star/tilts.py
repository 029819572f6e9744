"""Tables of tilt series, which look like particles but are not independent images; refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.columns import RELION
from covaria.particles.metadata import codes_of
from covaria.particles.star.table import StarTable

HINT = (
    "tilt series are not read yet (one latent for all tilts of a particle is planned); "
    "give particles of single micrographs"
)
EXPOSURE = "_rlnMicrographPreExposure"
PER_TILT = ("_rlnCtfScalefactor", "_rlnCtfBfactor")
FEWEST_TILTS = 3


def refuse_tomography(tables: list[StarTable], particles: StarTable, source: Path) -> None:
    """Raise InvalidInput where columns say that the particles are sub-tomograms or their tilts."""
    refused = [label for label in particles.labels if (known := RELION.get(label)) and known.role == "refused"]
    if refused:
        raise InvalidInput(
            f"particles of a tilt series (the table has {', '.join(refused[:4])})",
            file=source,
            column=refused[0],
            hint=HINT,
        )
    if "_rlnCtfImage" in particles and "_rlnDefocusU" not in particles:
        raise InvalidInput(
            "3-D sub-tomograms: each has its CTF as a volume, and no defocus",
            file=source,
            column="_rlnCtfImage",
            hint="export 2-D particle images; " + HINT,
        )
    for table in tables:
        if "_rlnTomoSubTomosAre2DStacks" in table:
            raise InvalidInput(
                f"data_{table.block} says that the particles are sub-tomograms",
                file=source,
                column="_rlnTomoSubTomosAre2DStacks",
                hint=HINT,
            )


def refuse_tilts(particles: StarTable, columns: dict[str, NDArray[Any]], source: Path) -> None:
    """Raise InvalidInput where the rows of one particle are its tilts (Warp, M): dose and tilt differ within groups."""
    names = columns.get("_rlnMicrographName")
    if names is not None and any(str(name).endswith(".tomostar") for name in set(names)):
        raise InvalidInput("particles of a tilt series (a .tomostar of Warp)", file=source, column="_rlnMicrographName",
                           hint=HINT)  # fmt: skip
    by_dose = EXPOSURE in columns and len(np.unique(columns[EXPOSURE])) > FEWEST_TILTS
    groups = columns.get("_rlnGroupName")
    scale, b_factor = (columns.get(label) for label in PER_TILT)
    by_group = False
    if groups is not None and scale is not None and b_factor is not None:
        codes, _ = codes_of(groups)
        as_warp = bool(np.all(scale <= 1.0001) and np.all(b_factor <= 0))  # the tilt's cosine, -4 times the dose
        by_group = as_warp and all(_differs_within(values, codes) for values in (scale, b_factor))
    if by_dose or by_group:
        label = EXPOSURE if by_dose else "_rlnGroupName"
        what = "each image has its own dose" if by_dose else "scale and B-factor differ within each group"
        raise InvalidInput(f"images of tilt series: {what}", file=source, column=label, hint=HINT)


def _differs_within(values: NDArray[np.float64], codes: NDArray[np.int64]) -> bool:
    """Whether most groups have several rows and nearly as many values as rows."""
    order = np.lexsort((values, codes))
    values, codes = values[order], codes[order]
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    new = first | np.concatenate([[True], values[1:] != values[:-1]])
    rows, kinds = np.bincount(codes), np.bincount(codes[new], minlength=codes.max() + 1)
    several = rows >= FEWEST_TILTS
    return bool(several.mean() > 0.5 and np.median(kinds[several] / rows[several]) > 0.4)
