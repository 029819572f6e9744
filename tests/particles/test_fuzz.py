"""Whatever bytes come in: a clean refusal or a right parse, in bounded memory and time."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, find, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.stacks.mrc import map_images, parse_header, read_header, write_header
from covaria.particles.star.grammar import parse_star
from covaria.pickles import PickleRefused, parse_pickle
from covaria.request.model import IngestOptions

SETTINGS = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEMORY_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def hypothesis_tables():
    """Hypothesis's own character tables, built once (200 MB where no cache is there), are not the readers' memory."""
    find(words, lambda _: True)


@pytest.fixture(autouse=True)
def bounded_memory(hypothesis_tables):
    """No example may allocate more than MEMORY_BYTES (numpy's arrays are counted too)."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY_BYTES


# ---- STAR

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
SCRAPS = [
    "data_", "data_particles", "data_optics", "loop_", "_rlnImageName #1", "_rlnAngleRot", "_x 1", "#", "'", '"', ";",
    "1@a.mrcs", "save_", "1 2", " ", "\t", "\r", "\ufeff", "_rlnOpticsGroup", "1e999", "-999",
]  # fmt: skip
star_soup = st.lists(st.sampled_from(SCRAPS) | words, max_size=25).map("\n".join)


@SETTINGS
@given(star_soup | st.text(max_size=200))
@example("data_\nloop_\n_a\n'x\n")
@example("data_\nloop_\n_a\n\x0b1\n")
def test_any_text_as_star(text):
    try:
        tables = parse_star(text.encode("utf-8", "surrogateescape"), Path("x.star"))
        for table in tables:
            columns = table.columns(list(table.labels), [])
            assert all(len(column) == len(table) for column in columns.values())
    except InvalidInput as refusal:
        assert len(str(refusal)) < 2000


@SETTINGS
@given(st.binary(max_size=300))
def test_any_bytes_as_star(data):
    try:
        for table in parse_star(data, Path("x.star")):
            table.rows()
    except InvalidInput:
        pass


number = st.floats(allow_nan=False, allow_infinity=False, width=32)


def needs_no_quotes(word: str) -> bool:
    reserved = ("data_", "loop_", "save_", "stop_", "global_")
    return word[0] not in "_#;'\"" and not word.lower().startswith(reserved)


@SETTINGS
@given(
    st.lists(st.tuples(words.filter(needs_no_quotes), number, number), min_size=1, max_size=20),
    st.sampled_from(["\n", "\r\n", " \n", "\n\n"]),
    st.sampled_from([" ", "\t", "   "]),
)
def test_what_was_written_is_read(rows, end, gap):
    head = f"data_p{end}loop_{end}_name #1{end}_a #2{end}_b{end}"
    text = head + "".join(f"{name}{gap}{a!r}{gap}{b!r}{end}" for name, a, b in rows)
    (table,) = parse_star(text.encode(), Path("x.star"))
    columns = table.columns(["_name"], ["_a", "_b"])
    assert columns["_name"].tolist() == [name for name, _, _ in rows]
    for label, place in (("_a", 1), ("_b", 2)):
        np.testing.assert_allclose(columns[label], [row[place] for row in rows], rtol=1e-14, atol=0)


@SETTINGS
@given(st.data())
def test_a_good_star_file_with_damage(tmp_path, data):
    """One span of a good file replaced by anything: refused, or read with finite poses and CTF."""
    good = star_file(tmp_path)
    text = good.read_bytes()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 60)))
    text = text[:start] + data.draw(st.binary(max_size=12)) + text[stop:]
    damaged = tmp_path / "damaged.star"
    damaged.write_bytes(text)
    try:
        particles = read_particles(IngestOptions(particles=damaged))
    except InvalidInput as refusal:
        assert "\n" not in refusal.message and len(str(refusal)) < 2000
        return
    assert np.isfinite(particles.rotations).all() and np.isfinite(particles.translations).all()
    assert np.isfinite(particles.ctf.defocus_u_angstrom).all() and particles.pixel_size_angstrom > 0
    assert particles.images.read(np.arange(len(particles))).shape[1:] == (16, 16)


def star_file(folder: Path) -> Path:
    path = folder / "good.star"
    if not path.exists():
        images = np.zeros((4, 16, 16), "<f4")
        (folder / "s.mrcs").write_bytes(write_header(4, 16, 1.5, (0, 0, 0, 0)) + images.tobytes())
        optics = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n"
        optics += "_rlnAmplitudeContrast #4\n_rlnImagePixelSize #5\n_rlnImageSize #6\n1 300.0 2.7 0.1 1.5 16\n\n"
        labels = (
            "ImageName AngleRot AngleTilt AnglePsi OriginXAngst OriginYAngst DefocusU DefocusV DefocusAngle OpticsGroup"
        )
        head = "data_particles\n\nloop_\n" + "".join(f"_rln{label}\n" for label in labels.split())
        rows = "".join(f"{row}@s.mrcs {row}.5 20.0 30.0 0.1 0.2 15000.0 14000.0 12.0 1\n" for row in range(1, 5))
        path.write_text(optics + head + rows)
    return path


# ---- MRC headers


@SETTINGS
@given(st.binary(min_size=0, max_size=1100))
def test_any_bytes_as_header(data):
    try:
        header = parse_header(data, Path("x.mrcs"))
    except InvalidInput:
        return
    assert header.width > 0 and header.height > 0 and header.count >= 0 and header.offset >= 1024
    assert math.isfinite(header.pixel_size_angstrom) and header.pixel_size_angstrom >= 0


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 1023)), min_size=1, max_size=6))
def test_a_good_header_with_damage(tmp_path, damage):
    """Either the file is refused, or every image that the header promises can be read."""
    raw = bytearray(write_header(4, 16, 1.5, (0, 0, 0, 0)) + np.zeros((4, 16, 16), "<f4").tobytes())
    for value, place in damage:
        raw[place] = value
    path = tmp_path / "a.mrcs"
    path.write_bytes(bytes(raw))
    try:
        header = read_header(path)
        if header.count:
            assert map_images(header).shape == (header.count, header.height, header.width)
    except InvalidInput as refusal:
        assert "a.mrcs" in str(refusal)


# ---- pickles

arrays = hnp.arrays(
    st.sampled_from(["f4", "f8", "i8", "i4", "u1", "?", ">f8", "f2"]),
    hnp.array_shapes(max_dims=3, max_side=4, min_side=0),
)


@SETTINGS
@given(arrays | st.tuples(arrays, arrays) | st.lists(st.integers(-(2**60), 2**60), max_size=20), st.integers(0, 5))
def test_data_come_back(value, protocol):
    back = parse_pickle(pickle.dumps(value, protocol))
    assert type(back) is type(value)
    for one, two in zip(back, value, strict=True) if isinstance(value, tuple) else [(back, value)]:
        np.testing.assert_array_equal(one, two)


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes_as_pickle(data):
    try:
        value = parse_pickle(data)
    except PickleRefused:
        return
    assert value is None or isinstance(
        value, (bool, int, float, str, bytes, bytearray, list, tuple, np.ndarray, np.generic)
    )


@SETTINGS
@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_good_pickle_with_damage(protocol, damage):
    raw = bytearray(pickle.dumps((np.eye(3)[None].repeat(2, 0), np.zeros((2, 2))), protocol))
    for place, value in damage:
        raw[place % len(raw)] = value
    try:
        value = parse_pickle(bytes(raw))
    except PickleRefused as reason:
        assert len(str(reason)) < 400
        return
    assert not isinstance(value, np.ndarray) or value.nbytes <= len(raw)
