"""The figures of output/plots, from model/, output/volumes/ and the particles."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria import plots
from covaria.errors import MissingFile
from covaria.figures.drawing import Drawing
from covaria.maps import read_volume
from covaria.particles import load
from covaria.particles.model import Particles
from covaria.results.latents import read_latents
from covaria.results.parameters import Parameters, read_parameters
from covaria.results.particle_table import with_refined_poses
from covaria.results.sensitivity import read_sensitivity
from covaria.tree import Tree

SHOWN = 6
"""Components on the overview."""


class ReconstructionFigures:
    """What a reconstruction's figures are drawn from; each file is read when it is first needed.

    source: the tree that holds model/ and output/volumes/; particles: where the particles lie.
    """

    def __init__(self, source: Tree, particles: Path) -> None:
        self.source, self.particles_path = source, particles

    def drawings(self, target: Tree) -> Iterator[Drawing]:
        """One for each figure that this reconstruction has."""
        yield Drawing(target.mean_fsc_plot, self.fsc)
        yield Drawing(target.noise_plot, self.noise)
        yield Drawing(target.mask_plot, self.mask)
        if self.source.mean_local_resolution.is_file():
            yield Drawing(target.local_resolution_plot, self.local_resolution)
        yield Drawing(target.angular_plot, self.angular)
        yield Drawing(target.particles_plot, self.by_defocus)
        if self.contrasts is not None:
            yield Drawing(target.contrast_histogram, self.contrast)
        if len(self.parameters.s):
            yield Drawing(target.eigenvalues_plot, self.eigenvalues)
            yield Drawing(target.overview_plot, self.overview)
        if self.source.sensitivity.is_file():
            yield Drawing(target.sensitivity_plot, self.sensitivity)
        if self.drawn_components:
            yield Drawing(target.latent_pairs_plot, self.pairs)

    @cached_property
    def parameters(self) -> Parameters:
        return read_parameters(self.source)

    @cached_property
    def particles(self) -> Particles:
        return with_refined_poses(self.source, load(self.particles_path))

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        return read_volume(self.source.mean_filtered)[0]

    @property
    def box(self) -> int:
        return int(self.parameters.volume_shape[0])

    @property
    def pixel(self) -> float:
        return float(self.parameters.voxel_size)

    @property
    def confirmed(self) -> int:
        return int(self.parameters.significant_components)

    @cached_property
    def zdim(self) -> int:
        """The largest that is stored; 0: none."""
        return max(self.source.zdims(), default=0)

    @cached_property
    def contrasts(self) -> NDArray[np.floating] | None:
        """(N,) of the largest zdim; None where there is none."""
        return np.asarray(read_latents(self.source, self.zdim).contrasts) if self.zdim else None

    @property
    def drawn_components(self) -> int:
        return min(self.confirmed, self.zdim)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(confirmed,) of the confirmed variance."""
        values = np.asarray(self.parameters.s[: self.confirmed], dtype=float)
        shares: NDArray[np.float64] = values / max(float(values.sum()), 1e-300)
        return shares

    def fsc(self, path: Path) -> object:
        known = self.parameters
        return plots.plot_fsc(path, known.mean_fsc_unmasked, self.pixel, self.box, fsc_masked=known.mean_fsc)

    def noise(self, path: Path) -> object:
        factors = np.asarray(self.parameters.noise_group_factor)
        groups = factors if len(factors) > 1 else None
        return plots.plot_noise_spectrum(path, self.parameters.noise_var_used, self.pixel, self.box, groups)

    def mask(self, path: Path) -> object:
        named = {"solvent mask": self.source.mask, "used (dilated)": self.source.dilated_mask}
        masks = {name: read_volume(file)[0] for name, file in named.items()}
        if self.source.focus_mask.is_file():
            focus = read_volume(self.source.focus_mask)[0]
            masks |= {} if np.array_equal(focus, masks["used (dilated)"]) else {"focus": focus}
        for number in count():
            if not self.source.focus_part(number).is_file():
                break
            masks[f"part {number + 1}"] = read_volume(self.source.focus_part(number))[0]
        return plots.plot_mask(path, read_volume(self.source.mean)[0], masks, self.pixel)

    def local_resolution(self, path: Path) -> object:
        values, mask = (read_volume(p)[0] for p in (self.source.mean_local_resolution, self.source.mask))
        return plots.plot_local_resolution(path, self.mean, values, mask, self.pixel)

    def angular(self, path: Path) -> object:
        return plots.plot_angular_distribution(path, self.particles.rotations[self.particles.used])

    def by_defocus(self, path: Path) -> object:
        rows, ctf = self.particles.leads, self.particles.ctf
        defocus = 0.5 * (ctf.defocus_u_angstrom[rows] + ctf.defocus_v_angstrom[rows])
        contrasts = None if self.contrasts is None else self.contrasts[rows]
        return plots.plot_particles(path, defocus, self.particles.micrograph[rows], contrasts)

    def contrast(self, path: Path) -> object:
        return plots.plot_contrast_histogram(path, np.zeros(0) if self.contrasts is None else self.contrasts)

    def eigenvalues(self, path: Path) -> object:
        known = self.parameters
        return plots.plot_eigenvalues(
            path, known.s, self.confirmed, known.component_fsc, self.pixel, self.box, known.component_z_score
        )

    def sensitivity(self, path: Path) -> object:
        return plots.plot_sensitivity(path, read_sensitivity(self.source))

    def overview(self, path: Path) -> object:
        count = len(self.parameters.s)
        there = [k for k in (4, 10, 20) if self.source.variance(k).is_file()]
        if not there:
            raise MissingFile("is not there", file=self.source.variance(4), hint="run `covaria reconstruct` again")
        variance = next((k for k in there if k >= count), there[-1])
        shown = range(min(SHOWN, count))
        return plots.plot_volumes_overview(
            path,
            self.mean,
            read_volume(self.source.variance(variance))[0],
            [read_volume(self.source.eigenvolume(k))[0] for k in shown],
            self.parameters.s[: len(shown)],
            self.pixel,
            confirmed=self.confirmed,
        )

    def pairs(self, path: Path) -> object:
        count = self.drawn_components
        coordinates = np.asarray(read_latents(self.source, self.zdim).coordinates[:, :count], dtype=float)
        deviations = np.sqrt(np.maximum(self.parameters.s[:count], 1e-30))
        return plots.plot_latent_pairs(path, coordinates / deviations, np.ones(count), self.shares.tolist())
