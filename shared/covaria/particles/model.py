"""What was measured: one value for a whole data set, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ImageStack(Protocol):
    """The pixels of a data set, read on demand.

    `read(rows)` returns float32 (len(rows), box, box) in the order asked for, rows of the ORIGINAL table;
    grey levels are those of the file.
    """

    box: int

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class ContrastTransfer:
    """CTF parameters, one entry for each particle. Lengths in angstrom, angles in radians, voltage in kV, Cs in mm.

    The whole is multiplied by scale x exp(-b_factor s^2 / 4); None stands for 1 and 0 throughout.
    odd_phase, even_phase  (N, T) radian: polynomials of the spatial frequency (`covaria.particles.phases`)
    dose                   (N,) e/A^2 before the image: it is damped by exp(-dose / (2 Nc(s)))
    applied                (N,) what the images have been multiplied by: 0 nothing, 1 the CTF's sign, 2 the CTF
    """

    defocus_u_angstrom: NDArray[np.float64]
    defocus_v_angstrom: NDArray[np.float64]
    defocus_angle_rad: NDArray[np.float64]
    voltage_kv: NDArray[np.float64]
    spherical_aberration_mm: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]
    phase_shift_rad: NDArray[np.float64]
    b_factor_angstrom2: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None
    odd_phase: NDArray[np.float64] | None = None
    even_phase: NDArray[np.float64] | None = None
    applied: NDArray[np.int8] | None = None
    dose: NDArray[np.float64] | None = None

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns that are there, by field name."""
        return {entry.name: values for entry in fields(self) if (values := getattr(self, entry.name)) is not None}

    def take(self, rows: NDArray[np.int64]) -> ContrastTransfer:
        return ContrastTransfer(**{name: values[rows] for name, values in self.columns().items()})


@dataclass(frozen=True)
class Particles:
    """A set of particle images with known poses and CTF, in the input file's row order (N rows).

    rotations      (N, 3, 3)  RELION's matrix A(rot, tilt, psi): image(kx, ky) = volume(R^T (kx, ky, 0))
    translations   (N, 2)     x, y in pixels of `box`, RELION's sign (what must be added to centre the particle)
    ctf            N entries
    optics_group   (N,) int   0-based
    half_set       (N,) int   0 or 1; -1 where the file does not say
    micrograph     (N,) int   0-based code; -1 where the file does not say
    used           (N,) bool  rows left after `--ind`, `--n-images` and refused images; others are NaN in every output
    """

    source: Path
    box: int
    pixel_size_angstrom: float
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    ctf: ContrastTransfer
    optics_group: NDArray[np.int64]
    half_set: NDArray[np.int8]
    micrograph: NDArray[np.int64]
    used: NDArray[np.bool_]
    images: ImageStack
    together: NDArray[np.int64] | None = None
    """(N,) rows of one number share pixels or are one object: they belong into one half-set. None: all independent."""
    particle: NDArray[np.int64] | None = None
    """(N,) code of the particle that each image of a tilt series shows. None: each is a particle of its own."""
    copies: int = 1
    """Under a symmetry, rows g N / copies + i, g = 0, 1, .. show one image: row g sees its g-th asymmetric unit."""
    by_stack: bool = False
    """The source has a row for each particle (by code), not for each image."""
    notes: tuple[str, ...] = field(default=())
    """What a user should know: what was undone, images left out, which rule found the stacks."""
    set_aside: Mapping[str, int] = field(default_factory=dict)
    """Reason -> particles of which no image is left in use; known where images are read first, not in later stages."""

    def __len__(self) -> int:
        return len(self.rotations)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The original rows in use, ascending."""
        return np.flatnonzero(self.used)

    @property
    def count(self) -> int:
        """How many particles there are, used or not."""
        return len(self) if self.particle is None else len(np.unique(self.particle))

    @property
    def leads(self) -> NDArray[np.int64]:
        """The first row in use of each particle, ascending: there its results stand."""
        leads: NDArray[np.int64] = self.rows[self.lead_of_row[self.rows] == self.rows]
        return leads

    @property
    def lead_of_row(self) -> NDArray[np.int64]:
        """(N,) the row of `leads` that each row's particle has; its own where no row of it is in use."""
        own = np.arange(len(self))
        if self.particle is None:
            return own
        first = np.full(int(self.particle.max()) + 1, -1)
        first[self.particle[self.rows[::-1]]] = self.rows[::-1]
        lead = first[self.particle]
        result: NDArray[np.int64] = np.where(lead < 0, own, lead)
        return result

    def in_source(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (N, ..) of the leads as those of the source's rows, symmetry copies one after another."""
        if self.particle is None or not self.by_stack:
            return values[self.lead_of_row]
        return values[self.lead_of_row[np.unique(self.particle, return_index=True)[1]]]

    def with_images(self, images: ImageStack, pixel_size_angstrom: float) -> Particles:
        """The same particles on another (downsampled) stack: box, pixel size and translations in pixels follow."""
        return replace(
            self,
            images=images,
            box=images.box,
            pixel_size_angstrom=pixel_size_angstrom,
            translations=self.translations * (images.box / self.box),
        )
