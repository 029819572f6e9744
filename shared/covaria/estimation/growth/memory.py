"""What a version of a growing set keeps for the next: sums, and what was settled of each image. Arrays only.

Between two refreshes the noise spectrum, the masks, the data sign, the grey levels, and each image's contrast and own
noise stay what they were when it came: sums of different versions are then of one kind, and one image's share can be
taken out again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from covaria.errors import InvalidInput
from covaria.estimation.growth.anchor import Anchor
from covaria.estimation.mean.model import MeanModel
from covaria.imaging.greys import Greys
from covaria.imaging.ramps import Ramps
from covaria.opening import ANYWHERE, Roots
from covaria.running.steps import arrays_of
from covaria.tree.pen import Pen

FORMAT = 3
FITS = ("half-0", "half-1", "coarse", "fine")
AGAIN = "run `covaria run` with --growing again, into a new folder"


@dataclass(frozen=True)
class Memory:
    """N images in use, at their places in `Images`.

    rows (N,) of that version's file; half (N,); splits (2, N): within each half-set, -1 for the other's images
    energy, overlap (N,) inner products with the mean, from which contrasts come; residual (N, bands) power that the
    model leaves, in units of the spectrum; band_noise, level, outlier: of images judged by it
    mean_grid (2, M, M, H, 3) sums of `MeanSums`; map_level (): what the map that they give is multiplied by
    scale, ramp (): how grey levels became numbers, as `Greys`
    eigenvolumes (k, D, D, D), eigenvalues (k,): the confirmed components at the last refresh; refreshed (): images then
    """

    format: np.ndarray
    version: np.ndarray
    rows: np.ndarray
    half: np.ndarray
    splits: np.ndarray
    energy: np.ndarray
    overlap: np.ndarray
    residual: np.ndarray
    band_noise: np.ndarray
    level: np.ndarray
    outlier: np.ndarray
    mean_grid: np.ndarray
    map_level: np.ndarray
    scale: np.ndarray
    ramp: np.ndarray
    eigenvolumes: np.ndarray
    eigenvalues: np.ndarray
    refreshed: np.ndarray
    options: np.ndarray
    """What was asked of the reconstruction, as text: sums of other options are of another kind."""

    @property
    def greys(self) -> Greys:
        """How grey levels became numbers."""
        return Greys(float(self.scale), Ramps(float(self.ramp)))


@dataclass(frozen=True)
class Kept:
    """memory; mean: the mean model; components: the arrays of the components that were found; anchors by name."""

    memory: Memory
    mean: MeanModel
    components: dict[str, np.ndarray]
    anchors: dict[str, Anchor]


def write_kept(path: Path, kept: Kept, pen: Pen) -> None:
    """One .npz with the pen."""
    arrays = {f"memory.{name}": value for name, value in arrays_of(kept.memory).items()}
    arrays |= {f"mean.{name}": value for name, value in arrays_of(kept.mean).items()}
    arrays |= {f"components.{name}": value for name, value in kept.components.items()}
    for name, anchor in kept.anchors.items():
        arrays |= {f"{name}.{key}": value for key, value in arrays_of(anchor).items()}
    pen.write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_kept(path: Path, roots: Roots = ANYWHERE) -> Kept:
    """What `write_kept` wrote. Raises MissingFile, InvalidInput."""
    with roots.open(path, hint=AGAIN) as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                if int(stored["memory.format"]) != FORMAT:
                    raise InvalidInput("is of another version of Covaria", file=path, hint=AGAIN)
                anchors = {
                    name: Anchor(**_part(stored, name, Anchor)) for name in FITS if f"{name}.grid" in stored.files
                }
                components = {
                    name.partition(".")[2]: stored[name] for name in stored.files if name.startswith("components.")
                }
                memory = Memory(**_part(stored, "memory", Memory))
                return Kept(memory, MeanModel(**_part(stored, "mean", MeanModel)), components, anchors)
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise InvalidInput(f"cannot be read ({error})", file=path, hint=AGAIN) from None


def _part(stored: Any, name: str, kind: type[Any]) -> dict[str, np.ndarray]:
    return {field.name: stored[f"{name}.{field.name}"] for field in fields(kind)}
