"""What is settled of each image when it comes: its contrast, its own noise, whether it holds a particle.

Images that came before keep what was settled of them; they help to judge the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from covaria.estimation.growth.memory import Kept
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.contrasts import ContrastRows, contrasts_of
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.mean.sums import MeanSums, solve_mean
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.reliability.bands import BandNoise, band_noise
from covaria.estimation.reliability.residuals import residual_power
from covaria.imaging.bands import band_freedom
from covaria.imaging.images import Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass


@dataclass(frozen=True)
class Frame:
    """mean: the model of the version before, its numbers of images those of all N of this one.

    own: each image's noise by what the model with components leaves of it; energy, overlap (N,), residual (N, bands):
    as in `Memory`
    """

    mean: MeanModel
    own: BandNoise
    energy: np.ndarray
    overlap: np.ndarray
    residual: np.ndarray


def carried(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Values (M, ...) of the version before at `place` (N,); 0 where it is -1."""
    found: np.ndarray = values[np.maximum(place, 0)]
    found[place < 0] = 0
    return found


def whole_model(kept: Kept, scale: float) -> LinearModel:
    """The mean and the confirmed components, sqrt(eigenvalue) x eigenvolume on the full box, in units of the cache."""
    found, count = kept.components, int(kept.components["confirmed"])
    size = np.sqrt(found["eigenvalues"][:count]) / scale
    components = (found["eigenvolumes"][:count] * size[:, None, None, None]).astype(np.float32)
    pose = PoseSpread(*found["pose_spread"].tolist())
    return LinearModel(kept.mean.residual_mean, components, scale, float(kept.mean.contrast_sd), pose)


def framed(images: Images, kept: Kept, place: np.ndarray, fresh: np.ndarray, passes: Pass, *, fitted: bool) -> Frame:
    """place (N,) of each image in the memory, -1: new; fresh (N,) images that are to be judged.

    fitted: contrasts are estimated
    """
    before, memory, freedom = kept.mean, kept.memory, band_freedom(images.box)
    if not fresh.any():
        return _all_known(kept, place)

    def joined(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        at = fresh.reshape(-1, *[1] * (new.ndim - 1))
        result: np.ndarray = np.where(at, new, carried(old, place))
        return result

    power = passes.context.ranks.fill({"power": images.power.copy()})["power"]
    bands = joined(band_noise(power, freedom, images.group).noise, before.band_noise)
    noise = Noise(before.spectrum, before.group_factor, bands)
    rows = ContrastRows(images, noise, before.residual_mean)
    table = passes.named("contrast").rows(images, rows, subset=fresh)
    energy = joined(np.maximum(table["gram"][:, 0, 0].astype(np.float64), 1e-12), memory.energy)
    overlap = joined(table["overlap"][:, 0].astype(np.float64), memory.overlap)
    contrasts, absent = np.ones(len(images)), np.zeros(len(images))
    if fitted:
        contrasts, absent, _, _ = contrasts_of(energy, overlap, np.ones(len(images)))
    contrasts = joined(contrasts.astype(np.float32), before.contrasts)
    absent, empty = joined(absent, before.absent), joined(absent, before.empty)
    noise = replace(noise, weight=1 - absent)
    model = whole_model(kept, images.scale)
    residual = joined(residual_power(images, noise, model, passes, subset=fresh), memory.residual)
    found = band_noise(residual, freedom, images.group)
    own = BandNoise(
        joined(found.level, memory.level),
        joined(found.probability, memory.outlier),
        joined(found.noise, memory.band_noise),
    )
    mean = replace(
        before,
        contrasts=contrasts,
        absent=absent,
        empty=empty,
        band_noise=joined(found.noise, before.band_noise),
        level=joined(found.level, before.level),
        outlier=joined(found.probability, before.outlier),
    )
    return Frame(mean, own, energy, overlap, residual)


def _all_known(kept: Kept, place: np.ndarray) -> Frame:
    """Where images have only gone: what was settled of those that are left."""
    before, memory = kept.mean, kept.memory
    names = ("contrasts", "absent", "empty", "band_noise", "level", "outlier")
    mean = replace(before, **{name: carried(getattr(before, name), place) for name in names})
    level, outlier, noise, energy, overlap, residual = (
        carried(getattr(memory, name), place)
        for name in ("level", "outlier", "band_noise", "energy", "overlap", "residual")
    )
    return Frame(mean, BandNoise(level, outlier, noise), energy, overlap, residual)


def mean_sums(images: Images, mean: MeanModel, split: np.ndarray, passes: Pass) -> tuple[MeanSums, MeanSums]:
    """num and den of both half-sets over the images of `split` (N,)."""
    half = MeanSums(images.box // 2 - 1, mean.noise, mean.contrasts, images.device)
    pair = (half, half.empty())
    passes.named("mean").sum(images, pair, split=split)
    return pair


def grid_of(pair: tuple[MeanSums, MeanSums]) -> np.ndarray:
    """(2, M, M, H, 3) as `Memory.mean_grid`."""
    return np.stack([one.grid.cpu().numpy() for one in pair])


def with_map(mean: MeanModel, pair: tuple[MeanSums, MeanSums], level: float) -> MeanModel:
    """The mean model with the map that these sums are, times `level` (see `FirstContrasts`)."""
    found = solve_mean(pair, mean.mask).times(level)
    return replace(
        mean, halves=found.halves, regularised=found.regularised, regularised_halves=found.regularised_halves,
        fsc=found.fsc,
    )  # fmt: skip


def level_of(mean: MeanModel, pair: tuple[MeanSums, MeanSums]) -> float:
    """What the map that these sums are has been multiplied by in `mean`."""
    bare = solve_mean(pair, mean.mask).regularised.astype(np.float64)
    return float((bare * mean.regularised).sum() / max((bare**2).sum(), 1e-30))
