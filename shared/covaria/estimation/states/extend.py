"""Components that were found in small images, taken on to the full band of the same particles in large ones.

One step of expectation-maximisation from the small components, each half-set on its own. Beyond the small box's Nyquist
frequency they hold nothing, so that what appears there comes from each half-set's own images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem, gradients
from covaria.estimation.components.m_step import half_set_steps, unweighted
from covaria.estimation.components.shrinkage import shrunk
from covaria.imaging.volumes import padded_shape
from covaria.maps.fourier import resample_volume

if TYPE_CHECKING:
    from jaxtyping import Float


def densities_at(volumes_at_small: Float[np.ndarray, "k d d d"], box: int) -> np.ndarray:
    """Densities seen in images of d pixels -> in the same images before they were made smaller: (k, D, D, D).

    Images keep their grey level, and a projection sums D voxels where it summed d.
    """
    ratio = np.float32(volumes_at_small.shape[-1] / box)
    found = [resample_volume(volume, box) * ratio for volume in volumes_at_small]
    return np.stack(found) if found else np.zeros((0, box, box, box), np.float32)


@dataclass(frozen=True)
class ExtendedComponents:
    """Each half-set's components, (2, k, D, D, D) densities, in the axes and units of the small ones."""

    halves: np.ndarray


def extend_components(
    problem: Problem,
    components: Float[np.ndarray, "k d d d"],
    deviations: Float[np.ndarray, " k"],
) -> ExtendedComponents:
    """One step from `components` (densities at the large box, eigenvolumes of standard deviation `deviations`).

    What the half-sets do not agree on is shrunk away by place and resolution.
    """
    scale = problem.images.scale
    unit = deviations.astype(np.float32)[:, None, None, None]
    start = problem.model(problem.images.box // 2 - 1, components * unit / np.float32(scale))
    halves, second_moment = gradients(problem.sums(start), problem.mask)
    whole = start.components
    if problem.weights is not None:
        (whole, first), (_, second) = (
            unweighted(whole, half, second_moment, problem.mask, problem.weights) for half in halves
        )
        halves = first, second
    free = half_set_steps(whole, halves, second_moment, problem.mask)
    mask = torch.as_tensor(problem.mask, dtype=torch.float32, device=problem.images.device)
    kept = shrunk(free, mask).cpu().numpy()
    if problem.weights is not None:
        kept *= problem.weights
    return ExtendedComponents(kept * np.float32(scale) / unit)


def extension_bytes(box: int, components: int, errors: int) -> int:
    """What `extend_components` needs at its peak beside the images: padded grids of the model and of both sums."""
    channels = 2 * (1 + components) + errors + 2 * (2 * components + 1)
    grids = 4 * int(np.prod(padded_shape(box // 2 - 1, channels)))
    return grids + 4 * box**3 * (8 * components + 8)
