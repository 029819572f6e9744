"""Several focus masks in one run: where they lie, and how much of each component's motion lies in each."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.imaging.images import Images
from covaria.maps import load_focus_mask
from covaria.opening import Roots
from covaria.request.model import ReconstructionOptions
from covaria.tree.atomic import write_text
from covaria_reconstruction.components import Components

NO_PARTS: Mapping[str, NDArray[np.float32]] = {}


@dataclass(frozen=True)
class PartMotion:
    """A component in a part: the share of its squared density there, and its root mean square there at one standard
    deviation of the motion, in grey levels."""

    component: int
    part: str
    share: float
    rms: float


def parts_of(options: ReconstructionOptions, images: Images, roots: Roots) -> dict[str, NDArray[np.float32]]:
    """Name -> mask (D, D, D), in the order given; none where fewer than two focus masks are."""
    paths = options.focus_files
    if len(paths) < 2:
        return {}
    return {
        name: load_focus_mask(path, images.box, images.pixel_size_angstrom, roots)
        for name, path in zip(names_of(paths), paths, strict=True)
    }


def names_of(paths: tuple[Path, ...]) -> list[str]:
    """The files' names without ending, with their folder's where two are the same."""
    stems = [path.stem for path in paths]
    names = [f"{path.parent.name}/{path.stem}" if stems.count(path.stem) > 1 else path.stem for path in paths]
    return [f"{name}-{number}" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def motion_by_part(components: Components, parts: Mapping[str, NDArray[np.float32]]) -> tuple[PartMotion, ...]:
    """Every component in every part. Parts that overlap both count what they share."""
    found = []
    for number, volume in enumerate(components.eigenvolumes):
        square = volume.astype(np.float64) ** 2
        for name, mask in parts.items():
            inside = float((square * mask).sum())
            spread = float(components.eigenvalues[number]) * inside / max(float(mask.sum()), 1.0)
            found.append(PartMotion(number, name, inside / float(square.sum()), float(np.sqrt(spread))))
    return tuple(found)


def write_motion(path: Path, motion: tuple[PartMotion, ...], confirmed: int) -> None:
    """A line for each component and part."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("component", "confirmed", "part", "share_of_motion", "rms_density"))
    for one in motion:
        known = "yes" if one.component < confirmed else "no"
        table.writerow((one.component + 1, known, one.part, f"{one.share:.4f}", f"{one.rms:.6g}"))
    write_text(path, text.getvalue())
