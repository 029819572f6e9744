"""Whether an image holds what the other half-set's model knows.

A model of half-set a never saw an image y of half-set b, so that what the two have in common is the molecule:

    e = log p(y | model of the other half) - log p(y | noise alone)

with the contrast about 1 and the coordinates integrated out. An image of anything else (noise, another particle, a pose
that is not its own) has e about minus half the energy of the mean's slice, one of the molecule plus half of it. With q
the share of images that hold nothing known, exp(e) is the Bayes factor and

    P(junk) = q / (q + (1 - q) exp(e)),   q by EM.

The image's own half-set has fitted its noise and likes it better by its leverage; junk that only its own half likes is
told apart by both values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.latents.copies import at_first, of_images
from covaria.estimation.latents.posterior import statistics
from covaria.estimation.latents.tilts import posterior_of
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.running.sums import Rows

PROVEN = 5.0
"""Times log N: log likelihood that a second population must bring, else nothing is junk."""
_STEPS, _TOLERANCE = 500, 1e-9


class EvidenceRows(Rows):
    """first, second (b,): each half-set's model against noise alone; of a particle's images at the first, 0 elsewhere.

    models: densities; eigenvalues (K,) prior variances of their components' coordinates
    """

    def __init__(
        self, images: Images, noise: Noise, models: tuple[LinearModel, LinearModel], eigenvalues: NDArray[np.float64]
    ) -> None:
        whitened = [replace(model.in_units_of(images.scale), pose_spread=None) for model in models]
        radius, count = whitened[0].radius, whitened[0].count
        super().__init__(noise, radius, 10 * (1 + count), *whitened, eigenvalues)
        self._sd = models[0].contrast_sd
        self._padded = [model.padded(images.device) for model in whitened]
        root = torch.as_tensor(np.sqrt(eigenvalues[:count]), dtype=torch.float64)
        self._deviations = torch.cat([torch.ones(1, dtype=torch.float64), root]).to(images.device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {name: self._of(batch, padded) for name, padded in zip(("first", "second"), self._padded, strict=True)}

    def _of(self, batch: Batch, padded: torch.Tensor) -> torch.Tensor:
        found = statistics(of_images(slices_of(batch, padded), batch, 0))
        one, rest = self._deviations[:1], self._deviations[1:]
        found = found.scaled(torch.cat([one, rest.repeat_interleave(batch.copies)]))
        seen = posterior_of(found, self._sd, batch.particle)
        return at_first(seen.log_likelihood + 0.5 * found.energy, batch.copies)


@dataclass(frozen=True)
class Evidence:
    """Of each image (N,), in nats: own, other, what its own and the other half-set's model say of its particle;
    junk, the probability that the other's knows nothing of it; share of such images."""

    own: NDArray[np.float64]
    other: NDArray[np.float64]
    junk: NDArray[np.float64]
    share: float


def evidence_of(
    images: Images,
    noise: Noise,
    models: tuple[LinearModel, LinearModel],
    eigenvalues: NDArray[np.float64],
    passes: Pass,
) -> Evidence:
    """One pass over all images, at full weight."""
    plain = replace(noise, weight=np.ones_like(noise.weight)) if len(noise.weight) else noise
    table = passes.named("half-sets").rows(images, EvidenceRows(images, plain, models, eigenvalues))
    codes = np.unique(images.units, return_inverse=True)[1] if images.copies > 1 else np.arange(len(images))
    values = np.stack([table["first"], table["second"]], 1).astype(np.float64)
    if images.copies > 1:
        values = np.stack([np.bincount(codes, column)[codes] for column in values.T], 1)
    values = np.asarray(images.by_particle(values))
    rows, half = np.arange(len(images)), images.half
    own, other = values[rows, half], values[rows, 1 - half]
    first = np.unique(codes if images.particle is None else images.particle, return_index=True)[1]
    share = junk_share(other[first])
    return Evidence(own, other, junk_probability(other, share), share)


def junk_share(evidence: NDArray[np.float64]) -> float:
    """q of the text, by EM over independent particles (n,); 0 where one population explains them as well."""
    share, before = 0.1, -np.inf
    for _ in range(_STEPS):
        gained = float(np.logaddexp(np.log(share) - evidence, np.log1p(-share)).sum())
        if gained - before < _TOLERANCE * max(abs(gained), 1.0):
            break
        before = gained
        share = float(np.clip(junk_probability(evidence, share).mean(), 1e-12, 1 - 1e-6))
    return share if before > PROVEN * np.log(max(len(evidence), 2)) else 0.0


def junk_probability(evidence: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """P(junk) of the text, (N,)."""
    if share <= 0:
        return np.zeros(len(evidence))
    odds = np.log(share) - np.log1p(-share) - evidence
    probability: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * odds))
    return probability
