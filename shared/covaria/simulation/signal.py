"""What an image holds without its noise: slice, CTF, contrast, shift; of a symmetric particle the sum of its units."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.simulation import files, optics
from covaria.simulation.assembly import Assembly
from covaria.simulation.atoms import Atoms
from covaria.simulation.ensemble import Ensemble
from covaria.simulation.experiment import HELIX_BOXES, Experiment, SimulationOptions
from covaria.simulation.projection import AtomSlices, Slices, VolumeSlices, centre_signs, frequencies


class Particle(Protocol):
    """The particle whose first unit, or the whole of it, is in one state."""

    box: int
    """In which it is projected."""

    def project(self, rows: NDArray[np.int64], experiment: Experiment) -> NDArray[np.complex64]:
        """Spectra of these rows, all of that state, (n, box, box//2 + 1)."""
        ...

    def volume(self) -> NDArray[np.float32]:
        """All of it in that state, [z, y, x]."""
        ...


class OnePart:
    """A particle that is one unit."""

    def __init__(self, source: Slices, box: int) -> None:
        self.box, self._source = box, source

    def project(self, rows: NDArray[np.int64], experiment: Experiment) -> NDArray[np.complex64]:
        return self._source.project(experiment.rotations[rows], experiment.magnification[rows])

    def volume(self) -> NDArray[np.float32]:
        return self._source.volume()


class Units:
    """A symmetric particle, each unit of which has the state that the experiment says."""

    def __init__(self, ensemble: Ensemble, state: int, assembly: Assembly, options: SimulationOptions) -> None:
        self.box = options.box * (HELIX_BOXES if assembly.helical else 1)
        self._assembly, self._options, self._state = assembly, options, state
        self._atoms = [structure for structure in ensemble.structures if isinstance(structure, Atoms)]
        self._sources = [self._slices(atoms) for atoms in self._atoms]

    def _slices(self, atoms: Atoms) -> AtomSlices:
        return AtomSlices(atoms, self.box, self._options.pixel_size_angstrom, self._options.atom_sigma_angstrom)

    def project(self, rows: NDArray[np.int64], experiment: Experiment) -> NDArray[np.complex64]:
        assert experiment.units is not None
        out = np.zeros((len(rows), self.box, self.box // 2 + 1), np.complex64)
        pixel, operators = self._options.pixel_size_angstrom, self._assembly
        for number, (turn, shift) in enumerate(zip(operators.rotations, operators.shifts_angstrom, strict=True)):
            states = experiment.units[rows, number]
            for state in np.unique(states):
                own = np.flatnonzero(states == state)
                rotations, magnification = experiment.rotations[rows[own]], experiment.magnification[rows[own]]
                seen = self._sources[state].project(rotations @ turn, magnification)
                place = magnification[:, None] * (rotations[:, :2] @ shift) / pixel
                out[own] += seen * moved_by(place, self.box)
        return out

    def volume(self) -> NDArray[np.float32]:
        whole = self._slices(self._assembly.whole(self._atoms[self._state])).volume()
        inner = _inner(self.box, self._options.box)
        return np.ascontiguousarray(whole[inner, inner, inner])


def particle_of(ensemble: Ensemble, state: int, assembly: Assembly | None, options: SimulationOptions) -> Particle:
    """The particle in one of its states. Raises InvalidInput for one that does not fit."""
    structure = ensemble.structures[state]
    if assembly is not None:
        if not isinstance(structure, Atoms):
            raise InvalidInput("units of a symmetric particle are made of atoms", hint="give no .mrc files")
        return Units(ensemble, state, assembly, options)
    if isinstance(structure, Atoms):
        source: Slices = AtomSlices(structure, options.box, options.pixel_size_angstrom, options.atom_sigma_angstrom)
    else:
        source = VolumeSlices(files.read_volume(structure, options.box))
    return OnePart(source, options.box)


def signal(
    source: Particle, rows: NDArray[np.int64], experiment: Experiment, options: SimulationOptions
) -> NDArray[np.complex64]:
    """CTF, contrast and shift applied, origin at pixel D//2, before scaling: (n, D, D//2 + 1)."""
    box = source.box
    spectra = source.project(rows, experiment)
    spectra *= optics.transfer_function(experiment.ctf.take(rows), box, options.pixel_size_angstrom)
    spectra *= moved_by(-experiment.translations[rows], box)
    spectra *= experiment.contrast[rows, None, None].astype(np.float32) * centre_signs(box, 2)
    return spectra if box == options.box else _cut_out(spectra, options.box)


def moved_by(shift_pixels: NDArray[np.float64], box: int) -> NDArray[np.complex64]:
    """Factors (n, D, D//2 + 1) that move images by x, y (n, 2)."""
    kx, ky, _ = frequencies(box)
    x, y = shift_pixels.T
    phase_x = np.exp(-2j * np.pi / box * np.multiply.outer(x, kx)).astype(np.complex64)
    phase_y = np.exp(-2j * np.pi / box * np.multiply.outer(y, ky)).astype(np.complex64)
    factors: NDArray[np.complex64] = phase_y[:, :, None] * phase_x[:, None, :]
    return factors


def _cut_out(spectra: NDArray[np.complex64], box: int) -> NDArray[np.complex64]:
    """The middle `box` pixels of larger images, nothing beyond shell D//2 - 1."""
    wide = spectra.shape[1]
    inner = _inner(wide, box)
    pixels = np.fft.irfft2(spectra, s=(wide, wide))[:, inner, inner]
    cut: NDArray[np.complex64] = (np.fft.rfft2(pixels) * frequencies(box)[2]).astype(np.complex64)
    return cut


def _inner(wide: int, box: int) -> slice:
    return slice(wide // 2 - box // 2, wide // 2 - box // 2 + box)
