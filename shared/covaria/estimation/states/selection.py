"""Which neighbourhood to trust, place by place and band by band: what the other half-set's nearest images say.

Candidates are a map of the residual for each neighbourhood and "no residual". Each is judged by the likelihood of the
other half-set's smallest neighbourhood, whitened and seen through the windows of `covaria.maps.local`: with
a = sqrt(W) d and t = sqrt(W) d_true + noise of unit variance, twice the loss in log-likelihood under a window is
J = sum (a^2 - 2 a t), 0 for no residual. Candidates are averaged with weights exp(-J / 2), J summed over both
directions and partly shared between windows (Bayesian model averaging: where the images do not decide, neither does the
estimate).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.states.estimates import HeldOut
from covaria.maps.correlation import fsc_of_transforms
from covaria.maps.filtering import at_positions, report_positions
from covaria.maps.fourier import resized_transform
from covaria.maps.local import Band, band_pass, radial_bands, spread, windowed_sums

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int

N_SELECTION_BANDS = 8
POOLED_WINDOWS = 30.0
"""One window of a few images decides little; the evidence of this many average windows is added to each."""
LOSS_FOR_HALVING = 2.0
"""Prior loss for each halving of the images that a candidate rests on: odds of 1/e."""
IGNORED = 1e-3
"""A weight below this everywhere under all windows is not worth a transform."""
LEAST_AGREEMENT = 0.03
"""A shell on which two half-sets agree less is not worth a transform: correlations with the truth change by 1e-4."""


@dataclass(frozen=True)
class Choice:
    """The combined residual of both half-sets, and how much each candidate weighs where; candidate 0 is "no residual".

    residuals  (2, D, D, D)
    weights    one (1 + K, L, L, L) for each band
    shares     (bands, 1 + K) mean weight inside the mask
    """

    residuals: Float[torch.Tensor, "2 d d d"]
    weights: tuple[torch.Tensor, ...]
    shares: Float[torch.Tensor, "band candidate"]

    def strongest(self, box: int) -> NDArray[np.int8]:
        """The heaviest candidate of each band: (bands, p, p, p) at `report_positions(box)` on every axis."""
        bands = radial_bands(box, "cpu", N_SELECTION_BANDS)
        positions = torch.as_tensor(report_positions(box))
        at = [at_positions(w.cpu(), band, positions, box) for w, band in zip(self.weights, bands, strict=True)]
        return np.stack([field.argmax(0).numpy().astype(np.int8) for field in at])


def shell_gain(transforms: Complex[torch.Tensor, "2 d d d//2+1"]) -> Float[torch.Tensor, " d//2"]:
    """How much of each shell two half-sets agree on, FSC smoothed over five shells: (2, D, D, D//2+1) -> (D//2,).

    Zero below LEAST_AGREEMENT.
    """
    both = transforms.cpu().numpy()
    curve = fsc_of_transforms(both[0], both[1])
    kernel = np.ones(5)
    smooth = np.convolve(curve, kernel, "same") / np.convolve(np.ones(len(curve)), kernel, "same")
    gain = np.where(smooth < LEAST_AGREEMENT, 0, np.minimum(smooth, 1))
    return torch.as_tensor(gain, dtype=torch.float32, device=transforms.device)


def whitened(
    held: HeldOut, offset: Complex[torch.Tensor, "d d d//2+1"]
) -> tuple[Float[torch.Tensor, "d d d//2+1"], Complex[torch.Tensor, "d d d//2+1"]]:
    """sqrt(W) and t for candidates that start from another linear map than the judge.

    The judge's residuals are relative to its own linear map; offset = DFT of the judge's map minus the candidate's.
    """
    root = held.weight.sqrt()
    seen = torch.where(root > 0, held.gradient / root.clamp(min=1e-20), 0)
    return root, seen + root * offset


def losses(
    candidates: Complex[torch.Tensor, "candidate d d d//2+1"],
    seen: Complex[torch.Tensor, "d d d//2+1"],
    mask: Float[torch.Tensor, "n n n"],
    band: Band,
) -> Float[torch.Tensor, "candidate l l l"]:
    """J of whitened candidates (K, D, D, D//2+1) (transforms) under every window of a band: (K, L, L, L)."""
    box = candidates.shape[-2]
    a = band_pass(candidates, band)
    t = band_pass(seen, band)
    voxels = float(box) ** 3 * (box / band.grid) ** 3
    return windowed_sums(mask * a * (a - 2 * t), band.windows) * voxels


def prior_losses(sizes: Int[np.ndarray, " neighbourhood"], count: int) -> Float[torch.Tensor, " neighbourhood+2"]:
    """What each candidate is charged beforehand: 0 for "no residual" and for all images, more the fewer it rests on.

    sizes (K,) images in each neighbourhood out of `count` -> (1 + K + 1,). Without it noise alone would choose in rigid
    particles, where the images cannot tell the candidates apart.
    """
    narrow = LOSS_FOR_HALVING * np.log2(count / np.asarray(sizes, dtype=float))
    return torch.as_tensor(np.concatenate([[0.0], narrow, [0.0]]), dtype=torch.float32)


def pooled_evidence(
    loss: Float[torch.Tensor, "candidate l l l"], mass: Float[torch.Tensor, "l l l"]
) -> Float[torch.Tensor, "candidate l l l"]:
    """Losses (K, L, L, L) leaning on the whole band's: each window hears POOLED_WINDOWS average full ones besides.

    mass  (L, L, L) how much of the mask each window holds
    """
    average = loss.sum(dim=(-3, -2, -1), keepdim=True) / mass.sum()
    return loss + POOLED_WINDOWS * mass.max() * average


def choose(
    transforms: Complex[torch.Tensor, "2 candidate d d d//2+1"],
    reach: Int[np.ndarray, " candidate"],
    held: tuple[HeldOut, HeldOut],
    offset: Float[torch.Tensor, "d d d"],
    mask: Float[torch.Tensor, "d d d"],
    prior: Float[torch.Tensor, " candidate+1"],
) -> Choice:
    """Combine the candidates of both half-sets by what the other half-set's images say.

    transforms  (2, K, D, D, D//2+1) of the candidates' maps of the residual
    reach       (K,) the last shell of each that is not zero: of higher bands it holds nothing
    held        the smallest neighbourhood of half-set 0 and of half-set 1
    offset      (D, D, D) linear map of half-set 1 minus that of half-set 0, at the target
    mask        (D, D, D)
    prior       (1 + K,) loss of each candidate before any image is heard, "no residual" first
    """
    shift = torch.fft.rfftn(offset)
    judges = (whitened(held[1], shift), whitened(held[0], -shift))
    judged = [(own * root, seen) for own, (root, seen) in zip(transforms, judges, strict=True)]
    mask_transform = torch.fft.rfftn(mask)
    box = mask.shape[-1]
    total = torch.zeros_like(transforms[:, 0])
    weights, shares = [], []
    for band in radial_bands(box, str(mask.device), N_SELECTION_BANDS):
        here = torch.fft.irfftn(resized_transform(mask_transform, band.grid), s=(band.grid,) * 3).clamp(0, 1)
        mass = windowed_sums(here, band.windows)
        there = np.flatnonzero(reach > band.centre - band.width)
        loss = mass.new_zeros((len(reach), *mass.shape))
        if len(there):
            loss[there] = sum(losses(own[there], seen, here, band) for own, seen in judged)
        evidence = pooled_evidence(torch.cat([torch.zeros_like(loss[:1]), loss]), mass)
        weight = torch.softmax(-0.5 * (evidence + prior.to(mask.device)[:, None, None, None]), dim=0)
        for half in (0, 1) if len(there) else ():
            field = mixture(transforms[half][there], weight[1:][there], band)
            total[half] += resized_transform(torch.fft.rfftn(field), box)
        weights.append(weight)
        shares.append((weight * mass).sum(dim=(-3, -2, -1)) / mass.sum())
    residuals = torch.fft.irfftn(total, s=(box,) * 3, dim=(-3, -2, -1))
    return Choice(residuals, tuple(weights), torch.stack(shares))


def mixture(
    transforms: Complex[torch.Tensor, "candidate d d d//2+1"], share: Float[torch.Tensor, "candidate l l l"], band: Band
) -> Float[torch.Tensor, "n n n"]:
    """sum_k share_k(x) d_k(x) in one band, on its grid: transforms (K, ...), share (K, L, L, L) -> (n, n, n)."""
    field = torch.zeros((band.grid,) * 3, device=transforms.device)
    for transform, part in zip(transforms, share, strict=True):
        if part.max() > IGNORED:
            field += spread(part, band.windows) * band_pass(transform, band)
    return field
