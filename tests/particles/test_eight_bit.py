"""What the bytes of MRC mode 0 mean: IMOD's stamp and flag decide, and values that wrap."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from covaria.maps.eight_bit import IMOD_STAMP, wraps
from covaria.particles import load, read_particles, save
from covaria.request.model import IngestOptions

ROWS = 6


def write(path, values, stamp=None, flags=0, order="<"):
    """An 8-bit stack; `values` (n, D, D) int8 or uint8."""
    count, side = values.shape[:2]
    header = bytearray(1024)
    struct.pack_into(order + "10i", header, 0, side, side, count, 0, 0, 0, 0, side, side, count)
    struct.pack_into(order + "6f", header, 40, side * 1.5, side * 1.5, count * 1.5, 90, 90, 90)
    struct.pack_into(order + "3i", header, 64, 1, 2, 3)
    if stamp is not None:
        struct.pack_into(order + "2i", header, 152, stamp, flags)
    header[208:216] = b"MAP \x44\x44\0\0" if order == "<" else b"MAP \x11\x11\0\0"
    path.write_bytes(bytes(header) + values.tobytes())


@pytest.fixture
def values():
    return np.clip(np.round(128 + 30 * np.random.default_rng(0).normal(size=(ROWS, 16, 16))), 0, 255).astype(np.uint8)


def read(workshop):
    return read_particles(IngestOptions(particles=workshop.star(stack=False)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_stamped_bytes(workshop, values, order):
    stack = workshop.folder / "stack.mrcs"
    write(stack, values, IMOD_STAMP, 0, order)
    np.testing.assert_array_equal(read(workshop).images.read(np.arange(ROWS)), values)
    write(stack, (values.astype(np.int16) - 128).astype(np.int8), IMOD_STAMP, 1, order)
    np.testing.assert_array_equal(read(workshop).images.read(np.arange(ROWS)), values)
    np.testing.assert_array_equal(read(workshop).images.read(np.array([4, 1])), values[[4, 1]])


def test_unstamped_bytes_that_wrap_are_unsigned(workshop, values, tmp_path):
    write(workshop.folder / "stack.mrcs", values)
    particles = read(workshop)
    np.testing.assert_array_equal(particles.images.read(np.arange(ROWS)), values)
    assert any("taken as unsigned" in note for note in particles.notes)
    save(tmp_path / "a" / "particles.npz", particles)
    np.testing.assert_array_equal(load(tmp_path / "a" / "particles.npz").images.read(np.arange(ROWS)), values)


def test_unstamped_bytes_about_zero_are_signed(workshop, values):
    signed = (values.astype(np.int16) - 128).astype(np.int8)
    write(workshop.folder / "stack.mrcs", signed)
    particles = read(workshop)
    np.testing.assert_array_equal(particles.images.read(np.arange(ROWS)), signed)
    assert any("taken as signed" in note for note in particles.notes)


@pytest.mark.parametrize("mean", [30, 64, 100, 128, 160, 200, 230])
@pytest.mark.parametrize("spread", [3, 15, 35])
def test_wrapping_is_told_from_the_spread_alone(mean, spread):
    """Wherever unsigned values lie, reading them as signed either shifts them all alike or is found out."""
    rng = np.random.default_rng(mean)
    unsigned = np.clip(np.round(mean + spread * rng.normal(size=20000)), 0, 255).astype(np.uint8)
    shifts_only = (unsigned < 128).mean() in (0.0, 1.0)
    seldom = min((unsigned < 128).mean(), (unsigned >= 128).mean()) < 0.02
    assert wraps(unsigned) or shifts_only or seldom
    signed = np.clip(np.round(spread * rng.normal(size=20000)), -128, 127).astype(np.int8)
    assert not wraps(signed.view(np.uint8))
