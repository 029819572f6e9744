"""Tilt series: 2-D images of one particle each, a row for each tilt (Warp, M); what is no such table is refused.

Warp and M write for each image its particle (`_rlnGroupName`), the cosine of its tilt (`_rlnCtfScalefactor`) and a
B-factor of -4 times the dose (`_rlnCtfBfactor`); others the dose itself (`_rlnMicrographPreExposure`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.columns import RELION
from covaria.particles.metadata import RowCheck, codes_of
from covaria.particles.star.table import StarTable

TOMOGRAMS = "give RELION 5's tomograms.star with --tomograms where each has a stack of 2-D images; else "
HINT = TOMOGRAMS + (
    "export the particles as series of 2-D images, a row for each tilt with _rlnGroupName, poses and defocus "
    "(Warp: ts_export_particles --2d; M: 2-D particle series)"
)
EXPOSURE, PARTICLE = "_rlnMicrographPreExposure", "_rlnGroupName"
SCALE, B_FACTOR = PER_TILT = ("_rlnCtfScalefactor", "_rlnCtfBfactor")
FEWEST_TILTS = 3


@dataclass(frozen=True)
class TiltSeries:
    """particle (N,) code of each row's particle; dose (N,) e/A^2 where it weighs the image and no B-factor does."""

    particle: NDArray[np.int64]
    dose: NDArray[np.float64] | None
    checks: tuple[RowCheck, ...]


def refuse_tomography(tables: list[StarTable], particles: StarTable, source: Path) -> None:
    """Raise InvalidInput where columns say that the particles are sub-tomograms or stacks of their tilts."""
    refused = [label for label in particles.labels if (known := RELION.get(label)) and known.role == "refused"]
    if refused:
        raise InvalidInput(
            f"sub-tomograms of tilt series (the table has {', '.join(refused[:4])})",
            file=source,
            column=refused[0],
            hint=HINT,
        )
    if "_rlnCtfImage" in particles and "_rlnDefocusU" not in particles:
        raise InvalidInput(
            "3-D sub-tomograms: each has its CTF as a volume, and no defocus",
            file=source,
            column="_rlnCtfImage",
            hint=HINT,
        )
    for table in tables:
        if "_rlnTomoSubTomosAre2DStacks" in table:
            raise InvalidInput(
                f"data_{table.block} says that the particles are sub-tomograms",
                file=source,
                column="_rlnTomoSubTomosAre2DStacks",
                hint=HINT,
            )


def tilt_series(
    columns: dict[str, NDArray[Any]], ctf: dict[str, NDArray[np.float64]], source: Path
) -> TiltSeries | None:
    """Which rows are tilts of one particle, where they are: dose and tilt then differ within groups.

    A B-factor of tilts, written negative, is made one that damps. Raises InvalidInput where no column names the
    particles.
    """
    exposure, names = columns.get(EXPOSURE), columns.get("_rlnMicrographName")
    by_dose = exposure is not None and len(np.unique(exposure)) > FEWEST_TILTS
    by_name = names is not None and any(str(name).endswith(".tomostar") for name in set(names))
    codes = codes_of(columns[PARTICLE])[0] if PARTICLE in columns else None
    scale, b_factor = (columns.get(label) for label in PER_TILT)
    negative = b_factor is not None and bool(np.all(b_factor <= 0) and np.any(b_factor < 0))
    by_group = (
        codes is not None
        and scale is not None
        and b_factor is not None
        and bool(np.all(scale <= 1.0001) and np.all(b_factor <= 0))
        and all(_differs_within(values, codes) for values in (scale, b_factor))
    )
    if not (by_dose or by_name or by_group):
        return None
    if codes is None:
        what = "each image has its own dose" if by_dose else "a .tomostar of Warp"
        raise InvalidInput(
            f"images of tilt series ({what}), and no column says which are of one particle",
            file=source,
            column=EXPOSURE if by_dose else "_rlnMicrographName",
            hint=HINT,
        )
    checks = []
    if negative and b_factor is not None:
        ctf["b_factor_angstrom2"] = -b_factor
    elif exposure is not None:
        checks.append(RowCheck(~(exposure >= 0), source, EXPOSURE, lambda row: f"a dose of {exposure[row]:g} e/A^2",
                               "correct it, or leave these rows out with --ind", "ctf"))  # fmt: skip
    return TiltSeries(codes, None if negative else exposure, tuple(checks))


def _differs_within(values: NDArray[np.float64], codes: NDArray[np.int64]) -> bool:
    """Whether most groups have several rows and nearly as many values as rows."""
    order = np.lexsort((values, codes))
    values, codes = values[order], codes[order]
    first = np.concatenate([[True], codes[1:] != codes[:-1]])
    new = first | np.concatenate([[True], values[1:] != values[:-1]])
    rows, kinds = np.bincount(codes), np.bincount(codes[new], minlength=codes.max() + 1)
    several = rows >= FEWEST_TILTS
    return bool(several.mean() > 0.5 and np.median(kinds[several] / rows[several]) > 0.4)
