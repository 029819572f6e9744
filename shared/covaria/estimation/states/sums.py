"""Sums of residuals over the rings of every target's neighbourhoods, in one pass over a half-set's images."""

from __future__ import annotations

import numpy as np
import torch

from covaria.estimation.states.model import LinearModel, Residuals
from covaria.estimation.states.neighbourhoods import Neighbourhoods
from covaria.imaging.images import Batch, Images
from covaria.imaging.slices import backproject
from covaria.imaging.volumes import hermitian, padded_shape
from covaria.running.passes import Report, sum_pass

CHANNELS = 3
"""Real and imaginary part of the numerator, and the weight."""


class RingSums:
    """Numerator and weight of the images in each ring of each target, on the padded grid.

    rings    for each target (K, M, M, H, 3): ring k holds the images of neighbourhood k that are not in k - 1.
             One block for a target, so that its memory goes back to the system whole
    everyone (M, M, H, 3) of all images, where asked for
    """

    def __init__(
        self,
        residuals: Residuals,
        neighbours: list[Neighbourhoods],
        box: int,
        device: torch.device,
        *,
        with_everyone: bool,
    ) -> None:
        shape = padded_shape(box // 2 - 1, CHANNELS)
        self._residuals = residuals
        self._ring = [n.ring for n in neighbours]
        self.rings = [torch.zeros((len(n.sizes), *shape), device=device) for n in neighbours]
        self.everyone = torch.zeros(shape, device=device) if with_everyone else None

    def add(self, batch: Batch) -> None:
        values, weights = self._residuals.of(batch)
        if self.everyone is not None:
            backproject(self.everyone, values, weights, batch.rotations, batch.plane)
        for ring_of, sums in zip(self._ring, self.rings, strict=True):
            ring = ring_of[batch.index]
            for k in np.unique(ring[ring < len(sums)]):
                inside = torch.as_tensor(np.flatnonzero(ring == k), device=values.device)
                backproject(sums[k], values[inside], weights[inside], batch.rotations[inside], batch.plane)

    def take(self, target: int) -> torch.Tensor:
        """One target's rings, handed over: they are not kept here any longer."""
        taken = self.rings[target]
        self.rings[target] = taken.new_empty(0)
        return taken

    def tensors(self) -> list[torch.Tensor]:
        return self.rings if self.everyone is None else [*self.rings, self.everyone]


def ring_sums(
    images: Images,
    model: LinearModel,
    half: int,
    neighbours: list[Neighbourhoods],
    *,
    with_everyone: bool,
    size: int,
    report: Report,
) -> RingSums:
    """One pass over the images of a half-set."""
    sums = RingSums(Residuals(model, half, images), neighbours, model.box, images.device, with_everyone=with_everyone)
    split = np.where(images.half == half, 0, -1)
    sum_pass(images, [sums], model.noise, size=size, split=split, report=report)
    for ring in (ring for rings in sums.rings for ring in rings):
        hermitian(ring, 1)
    if sums.everyone is not None:
        hermitian(sums.everyone, 1)
    return sums
