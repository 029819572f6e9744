"""What the experiment was like, and what was drawn by lot for each image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.model import ContrastTransfer
from covaria.simulation import optics
from covaria.simulation.assembly import Assembly, of_helix, of_point_group
from covaria.simulation.ensemble import Ensemble
from covaria.simulation.nuisances import Nuisances
from covaria.simulation.tilting import (
    AXIS_DEG,
    AXIS_SD_DEG,
    B_PER_DOSE,
    HAND,
    PITCH_SD_DEG,
    PLACE_SD_ANGSTROM,
    Tilted,
    TiltScheme,
)

BOX_LENGTH_ANGSTROM = 256.0
"""The built-in phantom's field of view: sets the pixel size where none is given."""
HELIX_BOXES = 2
"""A helix is projected in a box so many times as large."""
END_ANGSTROM = 40.0
"""How far a unit reaches from its place along the axis."""
SIDE_VIEW_SD_DEG, SEGMENTS_PER_TUBE = 8.0, 10


@dataclass(frozen=True)
class SimulationOptions:
    """What the experiment was like."""

    n_images: int = 4000
    box: int = 64
    pixel_size_angstrom: float = BOX_LENGTH_ANGSTROM / 64
    snr: float = 0.05
    """Variance of the CTF-applied signal over noise variance, inside a disk of radius 0.35 D, before any nuisance."""
    contrast_sd: float = 0.15
    shift_sd_pixels: float = 1.5
    defocus_range_angstrom: tuple[float, float] = (8000.0, 22000.0)
    voltage_kv: float = 300.0
    atom_sigma_angstrom: float = 2.5
    dark: bool = False
    """Particles darker than the background, as the camera sees them."""
    seed: int = 0
    nuisances: Nuisances = field(default_factory=Nuisances)
    symmetry: str | None = None
    """Point group of units that move each on their own."""
    helix: tuple[float, float] | None = None
    """Rise in angstrom and twist in degrees, instead of a point group."""
    tilts: TiltScheme | None = None
    """Each of `n_images` particles is seen at every tilt."""

    @property
    def assembly(self) -> Assembly | None:
        """The units of a symmetric particle. Raises InvalidInput."""
        if self.symmetry is not None and self.helix is not None:
            raise InvalidInput("a point group and a helix", hint="give one of them")
        if self.symmetry is not None:
            return of_point_group(self.symmetry)
        if self.helix is None:
            return None
        rise, twist = self.helix
        return of_helix(rise, twist, HELIX_BOXES * self.box * self.pixel_size_angstrom - 2 * END_ANGSTROM)


@dataclass(frozen=True)
class Experiment:
    """One entry for each image (N): state, RELION's angles (N, 3) in degrees and their matrices (N, 3, 3), the
    translations (N, 2) in pixels that centre it, CTF, micrograph number, contrast, half-set 0 or 1, magnification
    relative to the pixel size."""

    state: NDArray[np.int64]
    angles_deg: NDArray[np.float64]
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    ctf: ContrastTransfer
    micrograph: NDArray[np.int64]
    contrast: NDArray[np.float64]
    half_set: NDArray[np.int64]
    magnification: NDArray[np.float64]
    units: NDArray[np.int64] | None = None
    """(N, G) state of each unit of a symmetric particle; `state` is the first's."""
    tube: NDArray[np.int64] | None = None
    """(N,) which filament of its micrograph a segment is of, from 1."""
    tilted: Tilted | None = None
    """The series that the images are of, particle by particle."""

    def __len__(self) -> int:
        return len(self.state)


def draw(ensemble: Ensemble, options: SimulationOptions, rng: np.random.Generator) -> Experiment:
    """An experiment without nuisances."""
    n = options.n_images
    angles = optics.draw_angles(n, rng)
    state = rng.choice(len(ensemble), size=n, p=ensemble.probabilities)
    translations = np.round(rng.normal(0, options.shift_sd_pixels, (n, 2)), 4)
    contrast = np.maximum(rng.normal(1, options.contrast_sd, n), 0.1)
    half_set = rng.permutation(n) % 2
    ctf, micrograph = optics.draw_session(n, options.defocus_range_angstrom, options.voltage_kv, rng)
    rotations = optics.rotation_matrices(angles)
    plain = Experiment(
        state, angles, rotations, translations, ctf, micrograph, contrast, half_set, magnification=np.ones(n)
    )
    assembly = options.assembly
    if assembly is not None:
        plain = _of_units(plain, assembly, ensemble, rng)
    return plain if options.tilts is None else _seen_tilted(plain, options.tilts, options, rng)


def _seen_tilted(
    plain: Experiment, scheme: TiltScheme, options: SimulationOptions, rng: np.random.Generator
) -> Experiment:
    """Every particle at every tilt, particle by particle in the order of exposure; a micrograph is now a tomogram."""
    n, tomograms, pixel = len(plain), int(plain.micrograph[-1]) + 1, options.pixel_size_angstrom
    first = np.unique(plain.micrograph, return_index=True)[1]
    astigmatic = np.stack([plain.ctf.defocus_u_angstrom, plain.ctf.defocus_v_angstrom], 1)[first][:, None]
    tilts = Tilted(
        scheme, plain.micrograph,
        x=np.round(PITCH_SD_DEG * rng.standard_normal((tomograms, scheme.count)), 4),
        y=np.tile(scheme.angles_deg, (tomograms, 1)),
        z=np.round(AXIS_DEG + AXIS_SD_DEG * rng.standard_normal((tomograms, scheme.count)), 4),
        angles_deg=plain.angles_deg,
        origin=np.round(options.shift_sd_pixels * pixel * rng.standard_normal((n, 3)), 4),
        place=np.round(PLACE_SD_ANGSTROM * rng.standard_normal((n, 3)), 3),
        defocus=np.round(astigmatic + 200 * rng.standard_normal((tomograms, scheme.count, 1)), 2),
        angle=plain.ctf.defocus_angle_rad[first],
    )  # fmt: skip
    rows, turn = tilts.particle, tilts.stage[plain.micrograph]
    angles = optics.euler_angles((turn @ plain.rotations[:, None]).reshape(-1, 3, 3))
    moved, depth = (np.einsum("ptij,pj->pti", turn, where) for where in (tilts.origin, tilts.place))
    defocus = (tilts.defocus[plain.micrograph] + HAND * depth[..., 2:]).reshape(-1, 2)
    ctf = replace(
        plain.ctf.take(rows), defocus_u_angstrom=defocus[:, 0], defocus_v_angstrom=defocus[:, 1],
        defocus_angle_rad=tilts.angle[plain.micrograph][rows],
        scale=np.tile(np.cos(np.deg2rad(scheme.angles_deg)), n),
        b_factor_angstrom2=np.tile(B_PER_DOSE * scheme.dose * np.arange(scheme.count), n),
    )  # fmt: skip
    return Experiment(
        plain.state[rows], angles, optics.rotation_matrices(angles), moved[..., :2].reshape(-1, 2) / pixel, ctf,
        plain.micrograph[rows], plain.contrast[rows], plain.half_set[rows], plain.magnification[rows],
        None if plain.units is None else plain.units[rows], None, tilts,
    )  # fmt: skip


def _of_units(plain: Experiment, assembly: Assembly, ensemble: Ensemble, rng: np.random.Generator) -> Experiment:
    """A state for every unit; a helix is seen from the side, its half-sets are of whole filaments."""
    n = len(plain)
    units = rng.choice(len(ensemble), size=(n, len(assembly)), p=ensemble.probabilities)
    units[:, 0] = plain.state
    if not assembly.helical:
        return replace(plain, units=units)
    angles = plain.angles_deg.copy()
    angles[:, 1] = np.round(90 + SIDE_VIEW_SD_DEG * rng.standard_normal(n), 6)
    filament = np.arange(n) // SEGMENTS_PER_TUBE
    half_set = (rng.permutation(filament[-1] + 1) % 2)[filament]
    return replace(
        plain, units=units, angles_deg=angles, rotations=optics.rotation_matrices(angles), half_set=half_set,
        tube=filament % (optics.PARTICLES_PER_MICROGRAPH // SEGMENTS_PER_TUBE) + 1,
    )  # fmt: skip
