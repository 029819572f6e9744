"""What .cs files say in their various ways, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.phases import of_beam_tilt
from covaria.particles.rotations import matrices_from_rotation_vectors
from covaria.request.model import IngestOptions

COUNT = 5
ALIGNMENT = [("pose", "f4", 3), ("shift", "f4", 2), ("psize_A", "f4")]


def columns(alignment="alignments3D", path="S20"):
    return np.dtype(
        [("uid", "u8"), ("blob/path", path), ("blob/idx", "u4"), ("blob/shape", "u4", 2), ("blob/psize_A", "f4")]
        + [(f"ctf/{name}", "f4") for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv", "cs_mm", "amp_contrast")]
        + [(f"{alignment}/{name}", *kind) for name, *kind in ALIGNMENT]
    )


def table(dtype=None):
    dtype = dtype or columns()
    rng = np.random.default_rng(0)
    out = np.zeros(COUNT, dtype)
    out["uid"] = rng.permutation(1000)[:COUNT]
    out["blob/path"] = ">stack.mrcs" if dtype["blob/path"].kind == "U" else b">stack.mrcs"
    out["blob/idx"] = [4, 2, 0, 1, 3]
    out["blob/shape"], out["blob/psize_A"] = 16, 1.5
    for name, value in zip(dtype.names[5:11], (15000, 14000, 0.3, 300, 2.7, 0.1), strict=True):
        out[name] = value
    alignment = dtype.names[-1].split("/")[0]
    out[f"{alignment}/pose"], out[f"{alignment}/shift"] = rng.normal(size=(COUNT, 3)), rng.normal(size=(COUNT, 2))
    out[f"{alignment}/psize_A"] = 1.5
    return out


def write(path, array):
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=array.dtype.hasobject)
    return path


def read(workshop, array, *passthrough):
    workshop.write_stack(workshop.folder / "stack.mrcs", workshop.images)
    extra = tuple(write(workshop.folder / f"extra{number}.cs", other) for number, other in enumerate(passthrough))
    path = write(workshop.folder / "particles.cs", array)
    return read_particles(IngestOptions(particles=path, passthrough=extra))


def drop(array, *names):
    kept = [name for name in array.dtype.names if name not in names]
    out = np.zeros(len(array), [(name, array.dtype[name]) for name in kept])
    for name in kept:
        out[name] = array[name]
    return out


@pytest.mark.parametrize("path", ["S20", "U20"])
@pytest.mark.parametrize("alignment", ["alignments3D", "alignments_class_0"])
def test_paths_of_bytes_or_text_and_both_kinds_of_alignment(workshop, path, alignment):
    array = table(columns(alignment, path))
    particles = read(workshop, array)
    np.testing.assert_array_equal(particles.images.read(np.arange(COUNT)), workshop.images[[4, 2, 0, 1, 3]])
    np.testing.assert_allclose(particles.rotations, matrices_from_rotation_vectors(array[f"{alignment}/pose"]))
    np.testing.assert_allclose(particles.translations, array[f"{alignment}/shift"], rtol=1e-6)
    np.testing.assert_array_equal(particles.half_set, np.full(COUNT, -1))


def test_the_shift_is_in_pixels_of_the_alignment(workshop):
    array = table()
    array["alignments3D/psize_A"] = 3.0
    np.testing.assert_allclose(read(workshop, array).translations, array["alignments3D/shift"] * 2, rtol=1e-6)
    without = drop(array, "alignments3D/psize_A")
    np.testing.assert_allclose(read(workshop, without).translations, array["alignments3D/shift"], rtol=1e-6)


def test_passthrough_rows_are_matched_by_uid(workshop):
    array = table()
    array["ctf/df1_A"] = np.arange(COUNT) + 15000
    ctf = [name for name in array.dtype.names if name.startswith("ctf/")]
    blob = [name for name in array.dtype.names if name.startswith("blob/")]
    poses, shuffled = [name for name in array.dtype.names if name.startswith("align")], array[[3, 0, 4, 2, 1]]
    particles = read(workshop, drop(array, *ctf, *blob), drop(shuffled, *poses, *blob), drop(shuffled, *poses, *ctf))
    np.testing.assert_array_equal(particles.ctf.defocus_u_angstrom, np.arange(COUNT) + 15000)
    np.testing.assert_array_equal(particles.images.read(np.arange(COUNT)), workshop.images[[4, 2, 0, 1, 3]])


def test_passthrough_files_that_do_not_belong(workshop):
    array = table()
    main, other = drop(array, "ctf/df1_A"), drop(array, "alignments3D/pose")
    with pytest.raises(InvalidInput, match="4 of 5 particles"):
        read(workshop, main, other[:1])
    with pytest.raises(InvalidInput, match="twice"):
        read(workshop, main, other[[0, 0, 1, 2, 3, 4]])
    with pytest.raises(InvalidInput, match="uid"):
        read(workshop, main, drop(other, "uid"))
    with pytest.raises(InvalidInput, match="passthrough"):
        read_particles(IngestOptions(particles=workshop.star(), passthrough=(workshop.folder / "extra0.cs",)))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("blob/path", "--passthrough"),
        ("blob/idx", "--passthrough"),
        ("ctf/df2_A", "--ctf"),
        ("alignments3D/pose", "--poses"),
    ],
)
def test_a_missing_column_is_named(workshop, name, hint):
    with pytest.raises(InvalidInput, match=rf"(?s){name}.*{hint}"):
        read(workshop, drop(table(), name))


@pytest.mark.parametrize(
    ("name", "row", "value", "complaint"),
    [
        ("blob/psize_A", 2, 1.9, "pixel sizes may differ by 20%"),
        ("blob/psize_A", 2, 0, "row 3, column blob/psize_A"),
        ("blob/shape", 1, 32, "box lengths in angstrom may differ"),
        ("blob/idx", 3, 99, "row 4, column blob/idx"),
        ("blob/path", 0, b"", "path is empty"),
        ("ctf/df1_A", 4, np.nan, "row 5, column ctf/df1_A"),
        ("alignments3D/pose", 1, np.inf, "row 2, column alignments3D/pose"),
        ("alignments3D/shift", 1, 900, "outside a box"),
    ],
)
def test_a_bad_value_is_named(workshop, name, row, value, complaint):
    array = table()
    array[name][row] = value
    with pytest.raises(InvalidInput, match=complaint):
        read(workshop, array)


def test_a_beam_tilt_is_read_and_noted(workshop):
    array = table()
    tilted = np.zeros(COUNT, [*array.dtype.descr, ("ctf/tilt_A", "f4", 2)])
    for name in array.dtype.names:
        tilted[name] = array[name]
    assert "ctf/tilt_A" not in str(read(workshop, tilted).notes)
    tilted["ctf/tilt_A"][2] = 0.1
    found = read(workshop, tilted)
    assert "ctf/tilt_A: a phase that is taken from 1 images" in found.notes
    relions = of_beam_tilt(np.full((1, 2), 0.1e-7 / 2.7 * 1e3), np.full(1, 300.0), np.full(1, 2.7))
    np.testing.assert_allclose(found.ctf.odd_phase[[1, 2]], np.concatenate([0 * relions, relions]), rtol=1e-4)


def test_what_is_no_cs_file(workshop, tmp_path):
    path = tmp_path / "x.cs"
    objects = np.array([(1, {"a": 1})], dtype=[("uid", "u8"), ("blob/path", "O")])
    whole = write(path, table()).read_bytes()
    huge = whole.replace(b"'shape': (5,)", b"'shape': (9" + b"9" * 11 + b",)")
    for data in (b"", b"\x94CSDAT\x01", whole[:300], whole[:-10], huge, b"PK\x03\x04", b"text"):
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"x\.cs"):
            read_particles(IngestOptions(particles=path))
    for array in (objects, np.zeros(3), table().reshape(1, -1), table()[:0]):
        write(path, array)
        with pytest.raises(InvalidInput, match=r"x\.cs"):
            read_particles(IngestOptions(particles=path))
