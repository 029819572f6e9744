"""Tilt series as Warp and M write them, a row for each image, and as RELION 5 does, a stack for each particle."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from covaria.particles.model import ContrastTransfer
from covaria.simulation import files
from covaria.simulation.tilting import B_PER_DOSE, HAND, Tilted
from covaria.tree import atomic

TOMOGRAMS, SERIES, STACKS = "tomograms.star", "tilt_series", "Extract"


def warp_columns(tilts: Tilted, ctf: ContrastTransfer) -> dict[str, list[str]]:
    """What the STAR says besides of each image: its particle, the cosine of its tilt, -4 times its dose."""
    assert ctf.scale is not None and ctf.b_factor_angstrom2 is not None
    tomogram = tilts.tomogram[tilts.particle]
    return {
        "MicrographName": [f"{_name(number)}.tomostar" for number in tomogram.tolist()],
        "GroupName": [f"{_name(t)}_{p:06d}" for t, p in zip(tomogram.tolist(), tilts.particle.tolist(), strict=True)],
        "CtfScalefactor": [f"{value:.6f}" for value in ctf.scale],
        "CtfBfactor": [f"{-value:.6f}" for value in ctf.b_factor_angstrom2],
    }


def write_relion5(
    out: Path, tilts: Tilted, ctf: ContrastTransfer, half_set: NDArray[np.int64], box: int, pixel_size: float
) -> None:
    """particles.star, tomograms.star and tilt_series/ of a RELION 5 project; particles.mrcs becomes a stack each."""
    scheme, count = tilts.scheme, len(tilts.tomogram)
    general = "\ndata_general\n\n_rlnTomoSubTomosAre2DStacks 1\n"
    names = [
        "TomoName", "TomoParticleName", "TomoVisibleFrames", "ImageName", "OpticsGroup", "RandomSubset", "AngleRot",
        "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst", "OriginZAngst", "CenteredCoordinateXAngst",
        "CenteredCoordinateYAngst", "CenteredCoordinateZAngst",
    ]  # fmt: skip
    seen = "[" + ",".join("1" * scheme.count) + "]"
    rows = [
        [
            _name(tilts.tomogram[p]), f"{_name(tilts.tomogram[p])}/{p + 1}", seen, _stack(tilts, p), "1",
            str(half_set[p * scheme.count] + 1), *(f"{value:.6f}" for value in tilts.angles_deg[p]),
            *(f"{value:.4f}" for value in tilts.origin[p]), *(f"{value:.3f}" for value in tilts.place[p]),
        ]
        for p in range(count)
    ]  # fmt: skip
    optics = files.optics_table(ctf, box, pixel_size)
    atomic.write_text(out / files.STAR, general + optics + files.loop("particles", names, rows))
    _write_tomograms(out, tilts)
    _split(out, tilts, pixel_size)


def _write_tomograms(out: Path, tilts: Tilted) -> None:
    scheme, tomograms = tilts.scheme, len(tilts.angle)
    rows = [[_name(t), f"{SERIES}/{_name(t)}.star", f"{HAND:.1f}", f"{B_PER_DOSE:.1f}"] for t in range(tomograms)]
    names = ["TomoName", "TomoTiltSeriesStarFile", "TomoHand", "CtfBfactorPerElectronDose"]
    atomic.write_text(out / TOMOGRAMS, files.loop("global", names, rows))
    (out / SERIES).mkdir()
    names = [
        "MicrographName", "TomoXTilt", "TomoYTilt", "TomoZRot", "DefocusU", "DefocusV", "DefocusAngle",
        "MicrographPreExposure", "CtfScalefactor",
    ]  # fmt: skip
    for t in range(tomograms):
        rows = [
            [
                f"{_name(t)}_{k:03d}.mrc", f"{tilts.x[t, k]:.4f}", f"{tilts.y[t, k]:.4f}", f"{tilts.z[t, k]:.4f}",
                f"{tilts.defocus[t, k, 0]:.2f}", f"{tilts.defocus[t, k, 1]:.2f}", f"{np.rad2deg(tilts.angle[t]):.4f}",
                f"{scheme.dose * k:.4f}", f"{np.cos(np.deg2rad(scheme.angles_deg[k])):.6f}",
            ]
            for k in range(scheme.count)
        ]  # fmt: skip
        atomic.write_text(out / SERIES / f"{_name(t)}.star", files.loop(_name(t), names, rows))


def _split(out: Path, tilts: Tilted, pixel_size: float) -> None:
    """A stack for each particle, in place of the one of all images."""
    with mrcfile.mmap(out / files.STACK) as whole:
        for p in range(len(tilts.tomogram)):
            path = out / _stack(tilts, p)
            path.parent.mkdir(parents=True, exist_ok=True)
            images = whole.data[p * tilts.scheme.count : (p + 1) * tilts.scheme.count]
            with mrcfile.new(path, np.ascontiguousarray(images), overwrite=True) as file:
                file.set_image_stack()
                file.voxel_size = pixel_size
    (out / files.STACK).unlink()


def _stack(tilts: Tilted, particle: int) -> str:
    return f"{STACKS}/{_name(tilts.tomogram[particle])}/{particle + 1:06d}_stack2d.mrcs"


def _name(tomogram: int) -> str:
    return f"TS_{tomogram + 1:04d}"
