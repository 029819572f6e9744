"""What scripts written for RECOVAR look for beside our own: names of options, keys of params.pkl, model/metadata.json.

Keys of what is not estimated here are left out: docs/outputs.md names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covaria import __version__
from covaria.maps import fsc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from covaria.tree import Tree

LAYOUT = "0.7"
"""The layout of params.pkl whose keys are followed."""
OPTIONS = {
    "ingest": (
        "particles", "poses", "ctf", "ind", "halfsets", "datadir", "strip_prefix", "n_images", "downsample",
    ),
    "reconstruction": (
        "zdim", "mask", "focus_mask", "mask_dilate_iter", "uninvert_data", "correct_contrast", "only_mean",
    ),
}  # fmt: skip
"""Options that have the same name and mean the same there."""
NOT_ESTIMATED = (
    "noise_var_from_hf", "noise_var_from_het_residual", "ub_noise_var_by_var_est", "masked_image_PS", "variance_est",
    "noise_p_variance_est", "covariance_options", "column_fscs", "picked_frequencies",
)  # fmt: skip


def with_option_names(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a dict, and its options once more by RECOVAR's names."""
    flat = {name: request[part][name] for part, names in OPTIONS.items() for name in names if name in request[part]}
    return {**flat, "outdir": request["out"], **request}


def noise_keys(
    outside: np.ndarray, bound: np.ndarray, images: np.ndarray, pixels: np.ndarray
) -> dict[str, float | np.ndarray]:
    """The steps of the noise estimate, (D // 2,) each, `pixels` in each shell; shells 0 .. D // 2 - 2, as they have it.

    Without room outside the particle there is no estimate there.
    """
    keys: dict[str, float | np.ndarray] = {"radial_ub_noise_var": bound[:-1], "image_PS": images[:-1]}
    if len(outside):
        keys["radial_noise_var_outside_mask"] = outside[:-1]
        keys["white_noise_var_outside_mask"] = float((outside * pixels)[:-1].sum() / pixels[:-1].sum())
    return keys


def variance_fsc(eigenvalues: np.ndarray, half1: np.ndarray, half2: np.ndarray) -> np.ndarray:
    """FSC (D // 2,) of the half-sets' variance maps, sum of s u^2 over components (K, D, D, D)."""
    maps = [np.einsum("k,kzyx->zyx", eigenvalues, half.astype(np.float64) ** 2) for half in (half1, half2)]
    return np.asarray(fsc(maps[0], maps[1]))


def metadata(
    tree: Tree, request: Mapping[str, Any], box: int, pixel_size_angstrom: float, saved_at: str
) -> dict[str, Any]:
    """model/metadata.json of a model in `tree`."""
    ingest = request["ingest"]
    return {
        "covaria_version": __version__,
        "params_version": LAYOUT,
        "saved_at": saved_at,
        "volume_shape": [box] * 3,
        "voxel_size": pixel_size_angstrom,
        "zdims_computed": tree.zdims(),
        "downsample_applied": ingest["downsample"],
        "original_particles_file": ingest["particles"],
        "files": sorted(path.relative_to(tree.model).as_posix() for path in tree.model.rglob("*") if path.is_file()),
    }
