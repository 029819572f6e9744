"""Whatever values known columns hold: a refusal that names the place, or a reading in which every number makes sense.

HYPOTHESIS_EXAMPLES sets how many examples each test tries (default 60).
"""

from __future__ import annotations

import io
import os
import pickle

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covaria.errors import InvalidInput
from covaria.maps import read_volume
from covaria.particles import Particles, read_particles
from covaria.particles.columns import CRYOSPARC, RELION
from covaria.particles.cryodrgn.tables import read_ctf
from covaria.particles.halves import with_half_sets
from covaria.particles.row_files import read_halfsets, read_index
from covaria.particles.stacks.mrc import map_images, read_header
from covaria.request.model import IngestOptions

SETTINGS = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ROWS = 6

odd_numbers = st.sampled_from(
    ["0", "1", "-1", "2", "0.5", "1e-30", "1e30", "1e300", "nan", "inf", "-inf", "-999", "300", "300000", "2.7", "1.5",
     "15000", "-15000", "90", "1e5", "00012", "1_0", "0x10", "x", "[0,1]", "[1e9,0,0,5]", "''", "7@s.mrcs",
     "1@stack.mrcs"]
)  # fmt: skip
numbers = odd_numbers | st.floats().map(repr) | st.integers(-(10**6), 10**6).map(str)


def makes_sense(particles: Particles) -> None:
    """Every row in use has a pose, a CTF and an image in the ranges that docs/inputs.md promises."""
    used = particles.used
    assert used.any() and particles.pixel_size_angstrom > 0
    rotations = particles.rotations[used]
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 2e-2
    assert np.abs(particles.translations[used]).max() <= particles.box
    ctf = particles.ctf
    assert ((ctf.voltage_kv[used] >= 30) & (ctf.voltage_kv[used] <= 3000)).all()
    assert ((ctf.amplitude_contrast[used] >= 0) & (ctf.amplitude_contrast[used] <= 1)).all()
    assert ((ctf.spherical_aberration_mm[used] >= 0) & (ctf.spherical_aberration_mm[used] <= 20)).all()
    for values in ctf.columns().values():
        assert np.isfinite(values[used]).all()
    if ctf.scale is not None:
        assert (ctf.scale[used] > 0).all()
    assert particles.images.read(particles.rows).shape == (used.sum(), particles.box, particles.box)


def read_or_refuse(options: IngestOptions) -> None:
    try:
        particles = read_particles(options)
        makes_sense(particles)
        drawn = with_half_sets(particles, 0)
        assert set(np.unique(drawn.half_set[drawn.used])) == {0, 1}
    except InvalidInput as refusal:
        assert "\n" not in refusal.message and len(str(refusal)) < 2500


@SETTINGS
@given(st.data())
def test_any_values_in_known_star_columns(workshop, data):
    columns = {}
    for label in data.draw(st.lists(st.sampled_from(sorted(RELION)), max_size=4, unique=True)):
        columns[label] = data.draw(st.lists(numbers, min_size=ROWS, max_size=ROWS))
    removed = data.draw(st.lists(st.sampled_from(sorted(workshop.particles)), max_size=2))
    optics = {
        label: data.draw(numbers)
        for label in data.draw(st.lists(st.sampled_from(sorted(RELION)), max_size=3, unique=True))
    }
    star = workshop.star(optics, {label: None for label in removed} | columns)
    read_or_refuse(IngestOptions(particles=star))


@SETTINGS
@given(st.data())
def test_any_values_in_known_cs_columns(workshop, data):
    more = {}
    for name in data.draw(st.lists(st.sampled_from(sorted(CRYOSPARC)), max_size=4, unique=True)):
        dtype = data.draw(st.sampled_from(["f4", "f8", "u4", "i8", "u1", "S12", "U5", "?", "f2"]))
        shape = data.draw(st.sampled_from([(), (2,), (3,), (4,), (2, 3), (1,), (0,)]))
        fill = data.draw(st.sampled_from([0, 1, -1, 300, 1.5, 15000, np.nan, np.inf, 1e30, 7]))
        with np.errstate(all="ignore"):
            try:
                more[name] = np.full((ROWS, *shape), fill).astype(dtype)
            except (ValueError, OverflowError):
                continue
        if data.draw(st.booleans()):
            more[name] = None
    read_or_refuse(IngestOptions(particles=workshop.cs(workshop.cs_table(more))))


READERS = {
    "rows": lambda path: read_index(path, 6),
    "halves": lambda path: read_halfsets(path, 6),
    "ctf": lambda path: read_ctf(path, np.ones(6, dtype=bool)),
}
plain = st.none() | st.booleans() | st.integers(-10, 10) | st.floats() | st.text(max_size=3)
nested = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner), max_leaves=12)
arrays = st.sampled_from(["f4", "i8", "u1", "?", "f8", "U3"]).flatmap(
    lambda dtype: st.lists(st.integers(-2, 9), max_size=9).map(lambda values: np.array(values).astype(dtype))
)


@SETTINGS
@given(nested | arrays | st.tuples(arrays, arrays) | st.sets(st.integers(-2, 9)) | st.just(range(2, 5)))
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_any_pickled_value(tmp_path, read, value):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(value))
    try:
        found = read(tmp_path / "v.pkl")
    except InvalidInput as refusal:
        assert "v.pkl" in str(refusal) and len(str(refusal)) < 2500
        return
    rows = found if isinstance(found, np.ndarray) else np.zeros(0, np.int64)
    assert rows.dtype.kind == "i" and (rows < 6).all()


@SETTINGS
@given(st.text(st.sampled_from("0123456789 ,;\n\t.#-eTrueFals[]\"'"), max_size=60))
def test_any_text_as_rows(tmp_path, text):
    (tmp_path / "rows.txt").write_text(text)
    try:
        rows = read_index(tmp_path / "rows.txt", 6)
    except InvalidInput:
        return
    assert (np.diff(rows) > 0).all() and ((rows >= 0) & (rows < 6)).all()


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 227)), max_size=4), st.sampled_from([0, 1, 2, 6, 12]))
def test_any_header_says_what_mrcfile_says(tmp_path, damage, mode):
    """Where both read a damaged header, they read the same numbers (bytes aside, which mrcfile takes as signed)."""
    kind = {0: "i1", 1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}[mode]
    values = np.arange(4 * 16 * 16).reshape(4, 16, 16).astype(kind)
    whole = io.BytesIO()
    with mrcfile.new(tmp_path / "good.mrcs", overwrite=True) as file:
        file.set_data(values.astype(kind))
        file.set_image_stack()
    whole = bytearray((tmp_path / "good.mrcs").read_bytes())
    for value, place in damage:
        whole[place] = value
    (tmp_path / "a.mrcs").write_bytes(bytes(whole))
    try:
        header = read_header(tmp_path / "a.mrcs")
        ours = np.array(map_images(header)) if header.count else None
    except InvalidInput:
        return
    try:
        with mrcfile.open(tmp_path / "a.mrcs", permissive=False) as file:
            theirs = np.array(file.data)
    except (ValueError, OSError, EOFError, OverflowError, MemoryError, RuntimeWarning):
        return
    if ours is not None and theirs.ndim == 3 and mode and theirs.shape == ours.shape:
        np.testing.assert_array_equal(ours, theirs)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 227)), max_size=4))
def test_any_header_of_a_volume(tmp_path, damage):
    with mrcfile.new(tmp_path / "good.mrc", overwrite=True) as file:
        file.set_data(np.zeros((8, 8, 8), np.float32))
        file.voxel_size = 2.0
    raw = bytearray((tmp_path / "good.mrc").read_bytes())
    for value, place in damage:
        raw[place] = value
    (tmp_path / "a.mrc").write_bytes(bytes(raw))
    try:
        values, pixel_size = read_volume(tmp_path / "a.mrc")
    except InvalidInput:
        return
    assert values.dtype == np.float32 and np.isfinite(values).all() and pixel_size >= 0
