"""Principal components by expectation-maximisation: the sums of one step (`m_step` takes it).

Model (probabilistic PCA, Tipping and Bishop 1999, with the image formation inside):
    y_i = (1 + sd a_i) A_i mu + c_i A_i sum_k v_k z_ik + noise,   a, z ~ N(0, 1),   v_k = sqrt(eigenvalue) x eigenvolume
With errors of poses and defocus, their slices stand beside the v_k in every line below; they have no M-step, only
their spread is learnt.
E-step: `latents.posterior` (m_i, S_i of a and z), with c_i re-estimated from the marginal likelihood.
M-step: the gradient of the expected log likelihood in v, through the exact adjoint,
    g_k = sum_i c_i A_i^* [ r_i m_ik - c_i sum_l (A_i v_l) S_i,lk - sd (A_i mu) S_i,ak ]
    r_i = y_i - (1 + sd m_ia) A_i mu - c_i A_i V m_i
preconditioned by its own Hessian with E_i = S_i + m_i m_i^T replaced by its mean E: rho(k) E, where rho is the number
of CTF^2 / noise samples in each Fourier cell. Poses do not depend on the latents, so this is the M-step up to sampling
fluctuations, in 2 K + 1 channels instead of K + K (K + 1) / 2 complex and real ones; its fixed point is that of EM
exactly, because the gradient is exact. Units of a symmetric map have latents of their own (`latents.copies`): every
copy of an image then adds to g, rho and E. Each half-set steps on its own; what they agree on decides how much of the
average is kept (`shrinkage`).
"""

from __future__ import annotations

import torch

from covaria.estimation.latents import copies
from covaria.estimation.latents.posterior import statistics
from covaria.estimation.latents.tilts import posterior_of
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.imaging.slices import backproject
from covaria.running.sums import Sums


class ComponentSums(Sums):
    """E-step and gradient sums of one half-set under a frozen model, on the device where they are taken.

    grid (M, M, H, 2K + 1): gradient and density; second_moment (K, K) of the latents; scalars (3,): log likelihood,
    that of the mean alone, images; pose_errors (2, 5 or 6): what `PoseSpread.improved` asks for
    """

    SUMMED = ("grid", "second_moment", "scalars", "pose_errors")

    def __init__(self, model: LinearModel, noise: Noise, device: torch.device) -> None:
        count = model.count
        super().__init__(noise, model.radius, 4 * (count + 3) + 2 * model.errors, model)
        self._sd, self._errors, self._pose_spread = model.contrast_sd, model.errors, model.pose_spread
        self._padded = model.padded(device)
        self.grid = torch.zeros(volumes.padded_shape(model.radius, 2 * count + 1), device=device)
        self.second_moment = torch.zeros((count, count), dtype=torch.float64, device=device)
        self.scalars = torch.zeros(3, dtype=torch.float64, device=device)
        self.pose_errors = torch.zeros((2, model.errors), dtype=torch.float64, device=device)

    def add(self, batch: Batch) -> None:
        first, of = 1 + self._errors, batch.copies
        slices = copies.of_images(slices_of(batch, self._padded, self._pose_spread), batch, self._errors)
        stats = statistics(slices, self._errors)
        found = posterior_of(stats, self._sd, batch.particle)
        weights, mean, covariance = found.weights.float(), found.mean.float(), found.covariance.float()
        coefficients = weights * mean
        coefficients[:, 0] += 1
        known = mean[:, None, first:]
        taken = coefficients[..., None] * known + (weights[:, :, None] * covariance)[:, :, first:]
        values = torch.bmm(slices, torch.cat([-taken, known], 1)).view(len(slices), len(batch.plane), 2, -1)
        values = copies.of_rows(values, batch)
        ctf = batch.ctf * copies.repeated(weights[:, -1:], of)  # the contrast, where there are components
        weighted = ctf * batch.weight[:, None]
        backproject(self.grid, values, weighted, (ctf * weighted)[..., None], batch.rotations, batch.plane)
        weight = batch.weight[: len(slices)]
        moment = copies.second_moment(mean[:, first:], covariance[:, first:, first:], of)
        self.second_moment += torch.einsum("b,bkl->kl", weight, moment).double()
        counted = weight.double()
        self.scalars[0] += counted @ found.log_likelihood
        contrast = found.weights[:, -1]  # searched for once
        null = posterior_of(stats.leading(0), self._sd, batch.particle, contrast)
        self.scalars[1] += counted @ null.log_likelihood
        self.scalars[2] += counted.sum()
        variance = found.covariance.diagonal(dim1=1, dim2=2)[:, 1:first]
        self.pose_errors[0] += counted @ (found.mean[:, 1:first].square() + variance - 1)
        self.pose_errors[1] += counted @ (1 - variance).square()

    @property
    def gain(self) -> float:
        """Log likelihood above that of the mean alone."""
        return float(self.scalars[0] - self.scalars[1])

    @property
    def images(self) -> float:
        return float(self.scalars[2])
