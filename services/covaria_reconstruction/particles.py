"""The table of what was found of each particle, from the reconstruction's parts."""

from __future__ import annotations

import numpy as np

from covaria.estimation.latents.embedding import Embedding, ImageRows
from covaria.estimation.latents.model import in_input_order
from covaria.estimation.mean.model import MeanModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.refinement.rounds import Refined
from covaria.imaging.bands import band_freedom, band_limits
from covaria.imaging.images import Images
from covaria.results.particle_table import DEFOCUS_ERROR, POSE_ERRORS, REFINED, ParticleTable
from covaria_reconstruction.components import Components

_TO_UNITS = np.array([1.0, 1.0, *[180 / np.pi] * 3, 1.0])
"""Of the poses' errors and of the defocus', where there is one."""


def particle_table_of(
    total: int,
    images: Images,
    mean: MeanModel,
    components: Components | None,
    embeddings: dict[int, Embedding] | None,
    rows: ImageRows | None,
    refined: Refined | None,
) -> ParticleTable:
    """A row for each of the `total` rows of the input file."""
    of_used = _reliability(images, mean)
    if rows is not None and embeddings and components is not None:
        of_used |= _model(images, mean, components, embeddings[max(embeddings)], rows)
    if refined is not None and refined.rounds:
        of_used |= _refined(refined)
    half_set = np.full(total, -1, np.int8)
    half_set[images.rows] = images.half
    numbers = {name: in_input_order(values, images.rows, total) for name, values in of_used.items()}
    units = {} if images.copies == 1 else _units(total, images.copies)
    return ParticleTable({"half_set": half_set, **units, **numbers})


def _units(total: int, copies: int) -> dict[str, np.ndarray]:
    rows = np.arange(total, dtype=np.float64)
    return {"unit": rows // (total // copies), "image_row": rows % (total // copies)}


def _reliability(images: Images, mean: MeanModel) -> dict[str, np.ndarray]:
    limits = band_limits(images.box)
    by_band = {f"p_outlier_to_{limit}": mean.outlier[:, band] for band, limit in enumerate(limits)}
    noise = {f"noise_to_{limit}": mean.band_noise[:, band] for band, limit in enumerate(limits)}
    return {
        "weight": mean.noise.weight,
        "contrast": mean.contrasts,
        "noise_level": mean.level,
        "p_empty": mean.empty,
        "p_outlier": mean.outlier.max(1),
        **by_band,
        **noise,
    }


def _refined(refined: Refined) -> dict[str, np.ndarray]:
    before = PoseSpread(*refined.spread.tolist()).columns.numpy().astype(np.float64)
    found = {}
    for k, name in enumerate(REFINED):
        found[name] = refined.moved[:, k] * _TO_UNITS[k]
        found[f"{name}_sd_before"] = np.full(len(refined.moved), before[k] * _TO_UNITS[k])
        found[f"{name}_sd"] = refined.sd[:, k] * _TO_UNITS[k]
    return found


def _model(
    images: Images, mean: MeanModel, components: Components, embedding: Embedding, rows: ImageRows
) -> dict[str, np.ndarray]:
    freedom = band_freedom(images.box)
    energy, spread = rows.statistics.gram[:, 0, 0].double().numpy(), float(mean.contrast_sd)
    latents = embedding.regularised
    confirmed = min(int(components.confirmed), latents.zdim)
    columns = {
        "contrast": latents.contrasts,
        "contrast_sd": 1 / np.sqrt(energy + 1 / max(spread, 1e-6) ** 2),
        "residual": rows.residual @ freedom / freedom.sum(),
    }
    units = _TO_UNITS[: rows.pose_mean.shape[1]]
    means, sds = rows.pose_mean * units, rows.pose_sd * units
    for k, name in enumerate([*POSE_ERRORS, DEFOCUS_ERROR][: len(units)]):
        columns |= {name: means[:, k], f"{name}_sd": sds[:, k]}
    return columns | {f"latent_{k + 1}": latents.coordinates[:, k] for k in range(confirmed)}
