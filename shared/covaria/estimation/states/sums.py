"""Sums of residuals over the rings of every target's neighbourhoods, in one pass over a half-set's images."""

from __future__ import annotations

import copy
from typing import Self

import numpy as np
import torch
from typing_extensions import override

from covaria.estimation.states.model import HalfSetModels, Residuals
from covaria.estimation.states.neighbourhoods import Neighbourhoods
from covaria.imaging.images import Batch, Images
from covaria.imaging.slices import backproject
from covaria.imaging.volumes import completed, padded_shape
from covaria.running.passes import Pass
from covaria.running.sums import Sums

CHANNELS = 3
"""Real and imaginary part of the numerator, and the weight."""


class RingSums(Sums):
    """Numerator and weight of the images in each ring of each target, on the padded grid.

    rings    for each target (K, M, M, H, 3): ring k holds the images of neighbourhood k that are not in k - 1
    everyone (M, M, H, 3) of all images, where asked for
    """

    def __init__(
        self,
        residuals: Residuals,
        neighbours: list[Neighbourhoods],
        space: list[torch.Tensor],
        *,
        with_everyone: bool,
    ) -> None:
        """`space` is what `space_for` gave, for as many targets or more: the sums lie in it, its content is lost."""
        linear, latents, device = residuals.linear, residuals.latents, residuals.device
        shape = padded_shape(linear.radius, CHANNELS)
        frozen = (linear, latents.coordinates, latents.contrasts, tuple(n.ring for n in neighbours), with_everyone)
        super().__init__(residuals.noise, linear.radius, 8 + 2 * (1 + linear.count), *frozen)
        self._residuals = residuals
        self._ring = [n.ring for n in neighbours]
        self.rings = [block.zero_() for block in space[: len(neighbours)]]
        self.everyone = torch.zeros(shape, device=device) if with_everyone else None

    def add(self, batch: Batch) -> None:
        values, gain, weights = self._residuals.of(batch)
        if self.everyone is not None:
            backproject(self.everyone, values, gain, weights, batch.rotations, batch.plane)
        for ring_of, sums in zip(self._ring, self.rings, strict=True):
            ring = ring_of[batch.index]
            for k in np.unique(ring[ring < len(sums)]):
                inside = torch.as_tensor(np.flatnonzero(ring == k), device=values.device)
                chosen = values[inside], gain[inside], weights[inside], batch.rotations[inside]
                backproject(sums[k], *chosen, batch.plane)

    def completed(self, target: int) -> torch.Tensor:
        """One target's rings, completed in place."""
        for ring in self.rings[target]:
            completed(ring, 1, out=ring)
        return self.rings[target]

    @override
    def tensors(self) -> dict[str, torch.Tensor]:
        named = {f"rings-{target}": rings for target, rings in enumerate(self.rings)}
        return named if self.everyone is None else {**named, "everyone": self.everyone}

    @override
    def with_tensors(self, tensors: dict[str, torch.Tensor]) -> Self:
        other = copy.copy(self)
        other.rings = [tensors[f"rings-{target}"] for target in range(len(self.rings))]
        other.everyone = tensors.get("everyone")
        return other


def space_for(targets: int, rings: int, images: Images) -> list[torch.Tensor]:
    """A block for the sums of each target. They are used again: memory that the system hands out anew costs more than
    the sums themselves."""
    shape = padded_shape(images.box // 2 - 1, CHANNELS)
    return [torch.empty((rings, *shape), device=images.device) for _ in range(targets)]


def ring_sums(
    images: Images,
    model: HalfSetModels,
    half: int,
    neighbours: list[Neighbourhoods],
    passes: Pass,
    space: list[torch.Tensor] | None = None,
    *,
    with_everyone: bool,
) -> RingSums:
    """One pass over the images of a half-set; `space` from `space_for`, to be used again, or its own."""
    space = space_for(len(neighbours), len(neighbours[0].sizes), images) if space is None else space
    sums = RingSums(Residuals(model, half, images), neighbours, space, with_everyone=with_everyone)
    passes.sum(images, [sums], split=np.where(images.half == half, 0, -1))
    return sums
