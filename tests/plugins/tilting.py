"""A tilt series of a particle that bends, simulated by closed forms: geometry, dose and all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from microscope import wavelength, write_stack

BOX, PIXEL, WIDTH = 24, 5.0, 5.0
ANGLES = np.array([0.0, 15.0, -15.0, 30.0, -30.0, 45.0, -45.0])
DOSE_PER_TILT = 3.0


def turn(axis: str, degrees: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations of the frame about z or y, as RELION's."""
    c, s, zero, one = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees)), 0 * degrees, 1 + 0 * degrees
    rows = {
        "z": [[c, s, zero], [-s, c, zero], [zero, zero, one]],
        "y": [[c, zero, -s], [zero, one, zero], [s, zero, c]],
    }
    return np.moveaxis(np.array(rows[axis]), (0, 1), (-2, -1))


def euler(matrix: np.ndarray) -> np.ndarray:
    """rot, tilt, psi in degrees of A = Rz(psi) Ry(tilt) Rz(rot), (..., 3, 3)."""
    tilt = np.arccos(np.clip(matrix[..., 2, 2], -1, 1))
    rot = np.arctan2(matrix[..., 2, 1], matrix[..., 2, 0])
    psi = np.arctan2(matrix[..., 1, 2], -matrix[..., 0, 2])
    return np.rad2deg(np.stack([rot, tilt, psi], -1))


@dataclass(frozen=True)
class Series:
    """star: a row for each image; bend (P,) of each particle; particle (N,) of each row."""

    star: Path
    bend: np.ndarray
    particle: np.ndarray


def blobs(bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (P, B, 3) in angstrom and weights (B,): a body of eight blobs, and an arm of three that swings."""
    rng = np.random.default_rng(4)
    body = rng.normal(0, 9, (8, 3))
    arm = np.array([[22.0, 4, 0], [28, 6, 3], [25, 0, -4]])
    swung = arm + bend[:, None, None] * np.array([0.0, 8.0, 4.0])
    return np.concatenate([np.broadcast_to(body, (len(bend), 8, 3)), swung], 1), np.r_[np.ones(8), 1.6 * np.ones(3)]


def images_of(places, weights, rotations, origins, defocus, scale, b_factor, noise, rng):
    """(n, D, D): slices of blobs (n, B, 3), CTF times scale and B-factor, origin, white noise."""
    step = 1 / (BOX * PIXEL)
    x, y = np.meshgrid(np.arange(BOX // 2 + 1) * step, np.fft.fftfreq(BOX) / PIXEL)
    s2 = x**2 + y**2
    seen = np.einsum("nij,nbj->nbi", rotations, places)
    out = np.empty((len(seen), BOX, BOX), np.float32)
    length = wavelength(300.0)
    for row in range(len(seen)):
        waves = np.exp(-2j * np.pi * (x[..., None] * seen[row, :, 0] + y[..., None] * seen[row, :, 1]))
        spectrum = waves @ weights * np.exp(-2 * (np.pi * WIDTH) ** 2 * s2) * (2 * np.pi * WIDTH**2) / PIXEL**2
        gamma = np.pi * length * s2 * (0.5 * 2.7e7 * length**2 * s2 - defocus[row]) - np.arcsin(0.1)
        spectrum = spectrum * -np.sin(gamma) * scale[row] * np.exp(-b_factor[row] * s2 / 4)
        spectrum *= np.exp(2j * np.pi * (x * origins[row, 0] + y * origins[row, 1]))
        spectrum *= np.exp(-2j * np.pi * (x + y) * PIXEL * (BOX // 2))
        out[row] = np.fft.irfft2(spectrum, s=(BOX, BOX))
    return (out + noise * rng.normal(size=out.shape)).astype(np.float32)


def loop(columns: dict[str, list[object]]) -> str:
    head = "".join(f"_rln{name} #{number}\n" for number, name in enumerate(columns, start=1))
    return "loop_\n" + head + "".join(" ".join(map(str, row)) + "\n" for row in zip(*columns.values(), strict=True))


OPTICS = {
    "OpticsGroup": [1], "OpticsGroupName": ["g"], "Voltage": [300.0], "SphericalAberration": [2.7],
    "AmplitudeContrast": [0.1], "ImagePixelSize": [PIXEL], "ImageSize": [BOX], "ImageDimensionality": [2],
}  # fmt: skip


def simulate(
    folder: Path, count: int, angles: np.ndarray, noise: float, seed: int = 0, *, damped: bool = True
) -> Series:
    """`count` particles, each seen at every stage angle in the order of exposure; the dose grows, the cosine thins.

    `damped` False: images of one exposure each, of the same noise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    bend = rng.normal(size=count)
    places, weights = blobs(bend)
    own = turn("z", rng.uniform(-180, 180, count)) @ turn("y", np.rad2deg(np.arccos(rng.uniform(-1, 1, count))))
    own = own @ turn("z", rng.uniform(-180, 180, count))
    contrast = rng.normal(1, 0.1, count)
    tilts = len(angles)
    particle = np.repeat(np.arange(count), tilts)
    rotations = (turn("y", angles)[None] @ own[:, None]).reshape(-1, 3, 3)
    origins = rng.normal(0, 4, (count * tilts, 2)).round(4)
    defocus = np.repeat(rng.uniform(20000, 30000, count), tilts).round(2)
    scale = np.tile(np.cos(np.deg2rad(angles)) if damped else np.ones(tilts), count)
    b_factor = np.tile(4 * DOSE_PER_TILT * np.arange(tilts) if damped else np.zeros(tilts), count)
    images = images_of(places[particle], weights, rotations, origins, defocus, scale * contrast[particle], b_factor,
                       noise, rng)  # fmt: skip
    write_stack(folder / "tilts.mrcs", images, PIXEL)
    degrees = euler(rotations).round(6)
    columns = {
        "ImageName": [f"{row + 1:06d}@tilts.mrcs" for row in range(len(images))], "OpticsGroup": [1] * len(images),
        "AngleRot": degrees[:, 0], "AngleTilt": degrees[:, 1], "AnglePsi": degrees[:, 2],
        "OriginXAngst": origins[:, 0], "OriginYAngst": origins[:, 1], "DefocusU": defocus, "DefocusV": defocus,
        "DefocusAngle": [0.0] * len(images), "RandomSubset": 1 + particle % 2,
    }  # fmt: skip
    if damped:
        columns |= {"GroupName": [f"TS_01_{number:06d}" for number in particle], "CtfScalefactor": scale.round(6),
                    "CtfBfactor": -b_factor, "MicrographName": ["TS_01.tomostar"] * len(images)}  # fmt: skip
    star = folder / "particles.star"
    star.write_text("data_optics\n\n" + loop(OPTICS) + "\ndata_particles\n\n" + loop(columns))
    return Series(star, bend, particle)
