"""A microscope of its own: images of Gaussian blobs by closed forms, in numpy, with all that optics may do to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covaria.particles.stacks.mrc import write_header

WIDTH = 3.0
THICKNESS = 2.0
"""Angstrom of density that make one grey level, whatever the pixel."""
Phase = Callable[[np.ndarray, np.ndarray], np.ndarray]


def nothing(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0 * x


def wavelength(kv: float) -> float:
    return 12.2643247 / np.sqrt(kv * 1e3 * (1 + 0.978466e-3 * kv))


def radial(terms: dict[tuple[int, int], float]) -> Phase:
    """sum of c R_n^m(r) cos(m t), or sin for negative m, by RELION's names (m, n); the radial parts written out."""
    parts = {
        (0, 0): lambda r: 1 + 0 * r, (1, 1): lambda r: r, (0, 2): lambda r: 2 * r**2 - 1, (2, 2): lambda r: r**2,
        (1, 3): lambda r: 3 * r**3 - 2 * r, (3, 3): lambda r: r**3,
        (0, 4): lambda r: 6 * r**4 - 6 * r**2 + 1, (2, 4): lambda r: 4 * r**4 - 3 * r**2, (4, 4): lambda r: r**4,
    }  # fmt: skip

    def phase(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r, t = np.hypot(x, y), np.arctan2(y, x)
        return sum(
            c * parts[abs(m), n](r) * (np.cos(m * t) if m >= 0 else np.sin(-m * t)) for (m, n), c in terms.items()
        ) + 0 * x  # fmt: skip

    return phase


@dataclass(frozen=True)
class Microscope:
    """Optics of one group: phases at true frequencies, `matrix` M: the image at k shows the slice at M k."""

    box: int = 64
    pixel_size: float = 2.0
    kv: float = 300.0
    cs: float = 2.7
    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    odd: Phase = nothing
    even: Phase = nothing
    applied: int = 0
    columns: tuple[tuple[str, str], ...] = ()
    """What data_optics says besides."""


@dataclass(frozen=True)
class Specimen:
    """Blobs at (B, 3) angstrom with weights (B,), in views (N): angles in degrees, origins, defocus and width in
    angstrom."""

    places: np.ndarray
    weights: np.ndarray
    angles: np.ndarray
    origins: np.ndarray
    defocus: np.ndarray
    width: float = WIDTH

    @staticmethod
    def drawn(count: int, seed: int = 0, spread: float = 12.0) -> Specimen:
        rng = np.random.default_rng(seed)
        angles = [rng.uniform(-180, 180, count), np.rad2deg(np.arccos(rng.uniform(-1, 1, count))),
                  rng.uniform(-180, 180, count)]  # fmt: skip
        defocus = rng.uniform(9000, 16000, count)
        astigmatic = np.stack([defocus + 400, defocus - 400, rng.uniform(0, 180, count)], 1)
        return Specimen(
            rng.normal(0, spread, (12, 3)), rng.uniform(0.5, 1.5, 12), np.round(np.stack(angles, 1), 4),
            np.round(rng.normal(0, 4, (count, 2)), 4), np.round(astigmatic, 3),
        )  # fmt: skip

    def take(self, rows: slice) -> Specimen:
        return replace(self, angles=self.angles[rows], origins=self.origins[rows], defocus=self.defocus[rows])

    def volume(self, box: int, pixel_size: float) -> np.ndarray:
        """Density whose sum over voxels along a ray is the image, in RELION's units of this pixel size."""
        grid = (np.arange(box) - box // 2) * pixel_size
        parts = [np.exp(-((grid - x[:, None]) ** 2) / 2 / self.width**2) for x in self.places.T]
        return np.einsum("b,bz,by,bx->zyx", self.weights, parts[2], parts[1], parts[0]) * (pixel_size / THICKNESS)

    def images(self, optics: Microscope, scale: np.ndarray | None = None, b_factor: np.ndarray | None = None):
        """(N, D, D) without noise, bright."""
        box, pixel = optics.box, optics.pixel_size
        step = 1 / (box * pixel)
        x0, y0 = np.meshgrid(np.arange(box // 2 + 1) * step, np.fft.fftfreq(box) / pixel)
        m = optics.matrix
        x, y = m[0][0] * x0 + m[0][1] * y0, m[1][0] * x0 + m[1][1] * y0
        out = np.empty((len(self.angles), box, box))
        for row in range(len(out)):
            spectrum = self._slice(self.angles[row], x, y) / (THICKNESS * pixel**2)
            ctf = self._ctf(row, optics, x, y)
            if scale is not None:
                ctf = ctf * scale[row] * np.exp(-b_factor[row] * (x**2 + y**2) / 4)
            spectrum = spectrum * ctf * np.exp(1j * optics.odd(x, y))
            spectrum *= (1, np.where(ctf < 0, -1, 1), ctf)[optics.applied]
            spectrum *= np.exp(2j * np.pi * (x0 * self.origins[row, 0] + y0 * self.origins[row, 1]))
            centre = np.exp(-2j * np.pi * (x0 + y0) * pixel * (box // 2))
            out[row] = np.fft.irfft2(spectrum * centre, s=(box, box))
        return out.astype(np.float32)

    def _slice(self, angles: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        rot, tilt, psi = np.deg2rad(angles)
        z_rot, z_psi = (
            np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in (rot, psi)
        )
        y_tilt = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
        seen = self.places @ (z_psi @ y_tilt @ z_rot).T
        phases = np.exp(-2j * np.pi * (x[..., None] * seen[:, 0] + y[..., None] * seen[:, 1]))
        return (
            phases
            @ self.weights
            * np.exp(-2 * (np.pi * self.width) ** 2 * (x**2 + y**2))
            * (2 * np.pi * self.width**2) ** 1.5
        )

    def _ctf(self, row: int, optics: Microscope, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v, angle = self.defocus[row]
        s2, length = x**2 + y**2, wavelength(optics.kv)
        focus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (np.arctan2(y, x) - np.deg2rad(angle)))
        gamma = np.pi * length * s2 * (0.5 * optics.cs * 1e7 * length**2 * s2 - focus) - np.arcsin(0.1)
        return -np.sin(gamma + optics.even(x, y))


def write_set(
    folder: Path, groups: list[tuple[Specimen, Microscope, np.ndarray]], more: dict[str, np.ndarray] | None = None
) -> Path:
    """A STAR of RELION 3.1 with a stack and an optics group for each (specimen, microscope, images)."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {label for _, optics, _ in groups for label, _ in optics.columns}
    names = ["OpticsGroup", "OpticsGroupName", "Voltage", "SphericalAberration", "AmplitudeContrast", "ImagePixelSize",
             "ImageSize", "ImageDimensionality", *sorted(labels)]  # fmt: skip
    optics_rows, rows = [], []
    for number, (specimen, optics, images) in enumerate(groups, start=1):
        said = dict(optics.columns)
        fixed = [number, f"g{number}", optics.kv, optics.cs, 0.1, optics.pixel_size, optics.box, 2]
        optics_rows.append([*fixed, *(said.get(label, "0") for label in sorted(labels))])
        write_stack(folder / f"g{number}.mrcs", images, optics.pixel_size)
        for i in range(len(images)):
            rows.append([f"{i + 1:06d}@g{number}.mrcs", number, *specimen.angles[i], *specimen.origins[i],
                         *specimen.defocus[i], 1 + len(rows) % 2])  # fmt: skip
    columns = ["ImageName", "OpticsGroup", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst",
               "DefocusU", "DefocusV", "DefocusAngle", "RandomSubset", *(more or {})]  # fmt: skip
    for label in more or {}:
        for row, value in zip(rows, (more or {})[label], strict=True):
            row.append(value)
    path = folder / "particles.star"
    path.write_text("data_optics\n\n" + _loop(names, optics_rows) + "\ndata_particles\n\n" + _loop(columns, rows))
    return path


def write_stack(path: Path, images: np.ndarray, pixel_size: float) -> None:
    path.write_bytes(
        write_header(len(images), images.shape[-1], pixel_size, (0.0, 0.0, 0.0, 0.0)) + images.astype("<f4").tobytes()
    )


def _loop(names: list[str], rows: list[list[object]]) -> str:
    head = "".join(f"_rln{name} #{number}\n" for number, name in enumerate(names, start=1))
    return "loop_\n" + head + "".join(" ".join(map(str, row)) + "\n" for row in rows) + "\n"
