"""The M-step: from the sums of two half-sets to new components, on the device where the sums are.

Each half-set takes a step of its own, unregularised; what they agree on decides how much of the average is kept
(`shrinkage`). Volumes come from the host and go back to it: models are what checkpoints keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from covaria.estimation.components.shrinkage import shrunk
from covaria.estimation.components.sums import ComponentSums
from covaria.imaging import volumes
from covaria.maps.fourier import shell_indices
from covaria.running.ranks import ALONE
from covaria.running.side_by_side import side_by_side
from covaria.stage import Ranks

if TYPE_CHECKING:
    from jaxtyping import Complex, Float

LEAST_DENSITY = 0.1
"""Of its shell's average: no cell is divided by less."""
LONG_ENOUGH = 0.8
"""Of a Newton step by each cell's own density: where less is best, the mask mixes what views see and what none does."""
AXES = (-3, -2, -1)


@dataclass(frozen=True)
class Gradient:
    """One half-set's sums on the cube's own Fourier grid (rfft half): gradient (K, d, d, d//2+1) and density rho."""

    gradient: Complex[torch.Tensor, "k d d d//2+1"]
    density: Float[torch.Tensor, "d d d//2+1"]


def gradient_of(sums: ComponentSums, mask: np.ndarray) -> Gradient:
    """Of the E-step's sums."""
    return gradient_in(sums.grid, mask)


def gradient_in(grid: Float[torch.Tensor, "m m h channel"], mask: np.ndarray) -> Gradient:
    """The exact gradient inside the mask, as DFT coefficients divided by d^3 (so that Newton's step is g / rho).

    grid (M, M, H, 2K + 1): the K gradients' real and imaginary parts, and the density
    """
    count = grid.shape[-1] // 2
    half = volumes.completed(grid, count)
    inside = torch.as_tensor(mask, dtype=torch.float32, device=half.device)
    real = volumes.adjoint_from_padded(half[..., : 2 * count]) * inside
    return Gradient(_dft(real) / mask.size, volumes.unit_density(half[..., -1]))


def seen_through(
    mask: Float[torch.Tensor, "d d d"], density: Float[torch.Tensor, "d d d//2+1"]
) -> Float[torch.Tensor, "d d d//2+1"]:
    """The density averaged over the cells that the mask blurs into one, by the amplitudes of its spectrum.

    A wave that no view sees is, cut to the mask, in part one that some views do see. Divided by its own cell's density
    alone, next to nothing, it would grow until it outweighed all that is known.
    """
    blur = torch.fft.irfftn(torch.fft.rfftn(mask).abs(), s=mask.shape)
    window = blur / blur[0, 0, 0].clamp_min(1e-30)
    smoothed: torch.Tensor = torch.fft.rfftn(torch.fft.irfftn(density, s=mask.shape) * window).real
    return smoothed.clamp_min(0)


def half_set_step(
    components: np.ndarray, half: Gradient, second_moment: np.ndarray, mask: np.ndarray
) -> Float[torch.Tensor, "k d d d"]:
    """A half-set's own M-step, unregularised, inside the mask; along its direction no longer than to the best."""
    device, side = half.density.device, components.shape[-1]
    inside = torch.as_tensor(mask, dtype=torch.float32, device=device)
    before = torch.as_tensor(components, dtype=torch.float32, device=device) * inside
    moment = torch.as_tensor(second_moment, dtype=torch.complex64, device=device)
    shells = _shells_of(side, device)
    floor = shells.spread(LEAST_DENSITY * shells.means(half.density[None]))[0].clamp_min(1e-20)
    newton = torch.tensordot(torch.linalg.inv(moment), half.gradient, 1)
    best = _along(_inverse_dft(newton / torch.maximum(half.density, floor), side) * inside, half, moment)
    if best.length < LONG_ENOUGH:
        wide = torch.maximum(seen_through(inside, half.density), floor)
        best = max(best, _along(_inverse_dft(newton / wide, side) * inside, half, moment), key=lambda one: one.gain)
    return before + best.length * best.step


def half_set_steps(
    components: np.ndarray, halves: tuple[Gradient, Gradient], second_moment: np.ndarray, mask: np.ndarray
) -> Float[torch.Tensor, "2 k d d d"]:
    """Each half-set's own M-step."""
    step = partial(half_set_step, components, second_moment=second_moment, mask=mask)
    return torch.stack(list(side_by_side(step, halves, device=halves[0].density.device)))


@dataclass(frozen=True)
class _Along:
    """A step (K, d, d, d), how much of it is best taken (at most all), and what that gains."""

    step: torch.Tensor
    length: float
    gain: float


def _along(step: Float[torch.Tensor, "k d d d"], half: Gradient, moment: torch.Tensor) -> _Along:
    """By the quadratic model g s - 1/2 s (rho E) s of the gain."""
    spectrum = _dft(step)
    weight = torch.full((spectrum.shape[-1],), 2.0, device=step.device)
    weight[0] = weight[-1] = 1
    rise = float(((half.gradient.conj() * spectrum).real * weight).sum())
    bend = float(((spectrum.conj() * torch.tensordot(moment, spectrum, 1)).real * (half.density * weight)).sum())
    length = min(max(rise / max(bend, 1e-30), 0.0), 1.0)
    return _Along(step, length, length * rise - 0.5 * length**2 * bend)


@dataclass(frozen=True)
class MStep:
    """New components and what the half-sets say of them.

    components  (K, d, d, d)
    halves      (2, K, d, d, d) each half-set's own; their average is the components
    fsc         (K, d // 2) between the half-sets' volumes before they were shrunk
    power       (K,) sum of squares of what is looked for: <shrunk, not shrunk>. A Wiener gain S / (S + N / 2) leaves
                too little of S; its product with the average, whose power is S + N / 2, leaves S
    """

    components: np.ndarray
    halves: np.ndarray
    fsc: np.ndarray
    power: np.ndarray


LEAST_WEIGHT = 1e-3
"""Where motion counts less, what it would be whole is not asked."""


def unweighted(
    components: np.ndarray, half: Gradient, second_moment: np.ndarray, mask: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, Gradient]:
    """The components c that were scaled by `weights` as they would be whole, v = c / w, and the gradient there.

    The sums are those under c; to the order of the M-step's own model the gradient at v is g - rho E (v - c).
    """
    side, device = components.shape[-1], half.density.device
    known = weights > LEAST_WEIGHT
    whole = np.divide(
        components, weights, out=np.zeros_like(components), where=np.broadcast_to(known, components.shape)
    )
    inside = torch.as_tensor(mask, dtype=torch.float32, device=device)
    moment = torch.as_tensor(second_moment, dtype=torch.complex64, device=device)
    bent = torch.tensordot(moment, _dft(torch.as_tensor(whole - components, device=device)), 1)
    bent = _dft(_inverse_dft(bent * half.density, side) * inside)
    return whole, Gradient(half.gradient - bent, half.density)


def step_of(
    sums: ComponentSums,
    components: np.ndarray,
    second_moment: np.ndarray,
    mask: np.ndarray,
    weights: np.ndarray | None = None,
) -> Float[torch.Tensor, "k d d d"]:
    """A half-set's own M-step from its sums; with `weights` (d, d, d), of the components as they would be whole."""
    half = gradient_of(sums, mask)
    if weights is not None:
        components, half = unweighted(components, half, second_moment, mask, weights)
    return half_set_step(components, half, second_moment, mask)


def m_step(
    steps: Float[torch.Tensor, "2 k d d d"],
    second_moment: np.ndarray,
    mask: np.ndarray,
    weights: np.ndarray | None = None,
    ranks: Ranks = ALONE,
) -> MStep:
    """From the half-sets' own steps: expand (Psi = mean E absorbed), shrink, rotate to principal axes.

    weights (d, d, d): the components are those that fit best, times them.
    """
    free = _mixed(expansion(second_moment), steps)
    halves = shrunk(free, torch.as_tensor(mask, dtype=torch.float32, device=free.device), ranks)
    if weights is not None:
        scaled = torch.as_tensor(weights, dtype=torch.float32, device=free.device)
        free, halves = free * scaled, halves * scaled
    rotation = principal_axes(halves.mean(0))
    free, halves = _mixed(rotation, free), _mixed(rotation, halves)
    new = halves.mean(0)
    power = (new.flatten(1).double() * free.mean(0).flatten(1)).sum(1)
    return MStep(*(found.cpu().numpy() for found in (new, halves, correlations(free), power)))


def expansion(second_moment: np.ndarray) -> np.ndarray:
    """The symmetric root of the latents' second moment (K, K): parameter expansion, axes turned as little as can be."""
    values, vectors = np.linalg.eigh(second_moment)
    result: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return result


def principal_axes(components: Float[torch.Tensor, "k d d d"]) -> np.ndarray:
    """The rotation (K, K) that makes volumes orthogonal, largest first."""
    flat = components.flatten(1).double()
    axes = np.linalg.eigh((flat @ flat.T).cpu().numpy())[1]
    return axes[:, ::-1].T.copy()  # a single axis would stay a view of negative stride


def correlations(pair: Float[torch.Tensor, "2 k d d d"]) -> Float[torch.Tensor, "k d//2"]:
    """The Fourier shell correlation of each component between the half-sets; 0 in a shell without power."""
    first, second = torch.fft.rfftn(pair, dim=AXES)
    shells = _shells_of(pair.shape[-1], pair.device)
    cross = shells.means(first.real * second.real + first.imag * second.imag)
    power = shells.means(first.abs().square()) * shells.means(second.abs().square())
    return torch.where(power > 0, cross / power.sqrt().clamp_min(1e-300), 0.0)


class _Shells:
    """Means over the whole of each shell 0 .. d // 2 - 1 of real functions on the rfft half of a cube."""

    def __init__(self, side: int, device: torch.device) -> None:
        self._count = side // 2
        self._index = torch.as_tensor(np.minimum(shell_indices(side), self._count).ravel(), device=device)
        self._shape = (side, side, side // 2 + 1)
        columns = torch.full((side // 2 + 1,), 2.0, device=device, dtype=torch.float64)
        columns[0] = columns[-1] = 1
        self._weight = columns.expand(self._shape)
        self._samples = self._sums(torch.ones((1, *self._shape), device=device))

    def _sums(self, values: torch.Tensor) -> torch.Tensor:
        out = torch.zeros((len(values), self._count + 1), dtype=torch.float64, device=values.device)
        return out.index_add_(1, self._index, (values * self._weight).flatten(1))[:, : self._count]

    def means(self, values: Float[torch.Tensor, "stack d d half"]) -> Float[torch.Tensor, "stack d//2"]:
        """values (stack, d, d, d // 2 + 1)."""
        return self._sums(values) / self._samples

    def spread(self, values: Float[torch.Tensor, "stack shell"]) -> Float[torch.Tensor, "stack d d half"]:
        """Each shell's value on all of it; what lies beyond has the last one's."""
        table = torch.cat([values, values[:, -1:]], 1).float()
        return table[:, self._index].view(-1, *self._shape)


_shells_of = lru_cache(maxsize=4)(_Shells)


def _mixed(matrix: np.ndarray, pair: torch.Tensor) -> torch.Tensor:
    """matrix (K, K) applied to the components of both half-sets (2, K, d, d, d), in single precision."""
    turn = torch.as_tensor(matrix, dtype=torch.float32, device=pair.device)
    return torch.matmul(turn, pair.flatten(2)).view_as(pair)


def _dft(real: torch.Tensor) -> torch.Tensor:
    """DFT with the origin at the centre voxel, rfft half of the last three axes."""
    spectrum: torch.Tensor = torch.fft.rfftn(torch.fft.ifftshift(real, AXES), dim=AXES)
    return spectrum


def _inverse_dft(spectrum: torch.Tensor, side: int) -> torch.Tensor:
    real: torch.Tensor = torch.fft.fftshift(torch.fft.irfftn(spectrum, s=(side,) * 3, dim=AXES), AXES)
    return real
