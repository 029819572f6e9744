"""Images of particles beside what the model says of them: the map at each one's own point, seen from its pose through
its CTF. Where the two differ, the particle is junk, or elsewhere."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from covaria.errors import InvalidInput
from covaria.explorer.run_files import RunFiles
from covaria.imaging.ctf import CtfTable
from covaria.imaging.plane import half_plane
from covaria.imaging.slices import project
from covaria.imaging.volumes import cube_side, resize_fourier, to_padded
from covaria.particles import load
from covaria.results.parameters import read_parameters

MOST = 48
LOW_PASS_ANGSTROM = 20.0
LEAST_RADIUS = 6
SIDE = 64
"""Pixels of a thumbnail."""
COLUMNS = 6
SPAN_SD = 2.5


@dataclass(frozen=True)
class Pairs:
    """images and projections (n, SIDE, SIDE), low-passed alike; correlations (n,)."""

    images: NDArray[np.float32]
    projections: NDArray[np.float32]
    correlations: NDArray[np.float64]


def pairs(run: RunFiles, rows: NDArray[np.int64]) -> Pairs:
    """Of some rows of the run. Raises InvalidInput for more than MOST, and where the images are gone or others."""
    if not 0 < len(rows) <= MOST:
        raise InvalidInput(f"{len(rows)} thumbnails are asked for", hint=f"1 to {MOST}")
    particles = load(run.tree.particles, run.roots)
    if not ((rows >= 0) & (rows < len(particles))).all():
        raise InvalidInput(f"rows of {len(particles)} particles", hint="reload the page")
    maps, box = run.maps.whole, particles.box
    if len(maps[0]) != box:
        raise InvalidInput(f"images of {box} pixels, maps of {len(maps[0])}", hint="run the stages again")
    finest = round(box * particles.pixel_size_angstrom / LOW_PASS_ANGSTROM)
    radius = min(max(finest, LEAST_RADIUS), box // 2 - 1, SIDE // 2 - 1)
    plane = half_plane(box).prefix(radius)
    volumes = resize_fourier(torch.from_numpy(np.stack(maps).astype(np.float32)), cube_side(radius))
    rotations = torch.as_tensor(particles.rotations[rows], dtype=torch.float32)
    slices = project(to_padded(volumes), rotations, plane)  # image, pixel, 2, map
    names = frozenset(f"z{k + 1}" for k in range(run.confirmed))
    found = run.table.columns(names)
    points = [np.ones(len(rows)), *(found[f"z{k + 1}"][rows] for k in range(run.confirmed))]
    coefficients = torch.as_tensor(np.stack(points, 1), dtype=torch.float32)
    ctf = CtfTable(particles.ctf.take(rows), particles.pixel_size_angstrom, box)
    every = np.arange(len(rows))
    model = torch.einsum("ipck,ik->ipc", slices, coefficients) * ctf.evaluate(every, plane)[..., None]
    raw = torch.from_numpy(particles.images.read(rows)) * float(read_parameters(run.tree).data_sign)
    translations = torch.as_tensor(particles.translations[rows], dtype=torch.float32)
    pixels = torch.view_as_complex(plane.take(raw)) * plane.phase_ramp(translations)
    measured = torch.view_as_real(ctf.undone(pixels, every, plane).contiguous())
    small = half_plane(SIDE).prefix(radius)
    images, projections = (small.put(each.float()).numpy() for each in (measured, model))
    flat = [each.reshape(len(rows), -1).astype(float) for each in (images, projections)]
    return Pairs(images, projections, np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(*flat, strict=True)]))


def sprite(run: RunFiles, rows: NDArray[np.int64]) -> dict[str, Any]:
    """`pairs` as one picture, image and projection side by side, COLUMNS pairs a line, and what the page must know."""
    found = pairs(run, rows)
    both = np.concatenate([_grey(found.images), _grey(found.projections)], axis=2)
    count, side, width = both.shape
    lines = -(-count // COLUMNS)
    sheet = np.full((lines * COLUMNS, side, width), 255, np.uint8)
    sheet[:count] = both
    whole = sheet.reshape(lines, COLUMNS, side, width).swapaxes(1, 2).reshape(lines * side, COLUMNS * width)
    packed = io.BytesIO()
    Image.fromarray(whole).save(packed, "png")
    return {
        "picture": f"data:image/png;base64,{b64encode(packed.getvalue()).decode()}",
        "columns": COLUMNS,
        "side": side,
        "rows": rows.tolist(),
        "correlations": found.correlations.tolist(),
    }


def _grey(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each image's own mean as middle grey, SPAN_SD of its deviations to black and white."""
    middle = images.mean(axis=(1, 2), keepdims=True)
    spread = images.std(axis=(1, 2), keepdims=True) + 1e-20
    scaled: NDArray[np.uint8] = np.clip(127.5 + (images - middle) * (127.5 / SPAN_SD) / spread, 0, 255).astype(np.uint8)
    return scaled
