"""Other encodings of the same data give the same particles and pixels."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest

from covaria.particles import read_particles
from covaria.particles.cryodrgn.export import ctf_table, pose_tables
from covaria.particles.cryodrgn.tables import read_poses
from covaria.particles.read import read_metadata
from covaria.particles.row_files import read_index
from covaria.particles.stacks.locate import plain_stacks
from covaria.request.model import IngestOptions

STACKS = [
    ("float32.mrcs", "float32.npy", 0.0),
    ("bigendian_float32.mrcs", "float32.npy", 0.0),
    ("nostamp_float32.mrcs", "float32.npy", 0.0),
    ("mz1_float32.mrcs", "float32.npy", 0.0),
    ("exthdr_fei1_float32.mrcs", "float32.npy", 0.0),
    ("float16_mode12.mrcs", "float32.npy", 0.01),
    ("int16_mode1.mrcs", "int16_values.npy", 0.0),
    ("bigendian_int16.mrcs", "int16_values.npy", 0.0),
    ("uint16_mode6.mrcs", "uint16_values.npy", 0.0),
    ("float32.mrcs.bz2", "float32.npy", 0.0),
]
STARS = [
    "star_base.star", "star_crlf.star", "star_tabs.star", "star_nonumbers.star", "star_trailing_space.star",
    "star_particles_first.star", "star_unknown_columns.star", "star_noindexpad.star", "star_nonewline_end.star",
    "star_relion30.star",
]  # fmt: skip
OTHERS = {
    "pose_f32.pkl",
    "ind_int32.pkl",
    "ind_list.pkl",
    "cs_base.cs",
    "cs_main.cs",
    "cs_passthrough.cs",
    "cs_gt_prefix.cs",
}


def read_stack(path):
    options = IngestOptions(particles=path)
    stacks = plain_stacks(options)
    images = stacks.images(stacks.box)
    return images.read(np.arange(len(images))), stacks


@pytest.mark.parametrize(("name", "same_as", "tolerance"), STACKS)
def test_stack_encodings(shared_data, name, same_as, tolerance):
    pixels, stacks = read_stack(shared_data("variants", name))
    expected = np.load(shared_data("variants", same_as)).astype(np.float32)
    assert pixels.dtype == np.float32
    assert np.abs(pixels - expected).max() <= tolerance
    assert stacks.pixel_size_angstrom == pytest.approx(1.5)


@pytest.mark.parametrize("name", STARS)
def test_star_dialects(shared_data, name):
    folder = shared_data("variants")
    particles = read_particles(IngestOptions(particles=folder / name))
    metadata = read_metadata(IngestOptions(particles=folder / name)).metadata
    tolerance = 1e-5 if name == "star_relion30.star" else 1e-6
    rotations, translations = pickle.loads((folder / "star_base.pose.pkl").read_bytes())
    ours = pose_tables(metadata, 64, metadata.pixel_size_angstrom)
    np.testing.assert_allclose(ours[0], rotations, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours[1], translations, rtol=0, atol=tolerance)
    expected = pickle.loads((folder / "star_base.ctf.pkl").read_bytes())
    table = ctf_table(metadata, particles.box, particles.pixel_size_angstrom)
    np.testing.assert_allclose(table, expected, rtol=tolerance, atol=tolerance)
    pixels = np.load(folder / "float32.npy")
    np.testing.assert_array_equal(particles.images.read(np.arange(12)), pixels)
    base = read_particles(IngestOptions(particles=folder / "star_base.star"))
    np.testing.assert_allclose(particles.translations, base.translations, atol=64 * tolerance)
    np.testing.assert_array_equal(particles.ctf.amplitude_contrast, base.ctf.amplitude_contrast)
    assert set(particles.ctf.amplitude_contrast) == {0.1, 0.07}


def test_poses_in_single_precision(shared_data):
    folder = shared_data("variants")
    poses = read_poses(folder / "pose_f32.pkl", 12)
    rotations, translations = pickle.loads((folder / "star_base.pose.pkl").read_bytes())
    np.testing.assert_allclose(poses.rotations, rotations, rtol=0, atol=1e-6)
    np.testing.assert_allclose(poses.fractions, translations, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["ind_int32.pkl", "ind_list.pkl"])
def test_indices(shared_data, name):
    np.testing.assert_array_equal(read_index(shared_data("variants", name), 12), [0, 2, 5, 7])


@pytest.mark.parametrize(
    ("name", "passthrough"), [("cs_base.cs", None), ("cs_gt_prefix.cs", None), ("cs_main.cs", "cs_passthrough.cs")]
)
def test_cs_files(shared_data, name, passthrough):
    folder = shared_data("variants")
    extra = (folder / passthrough,) if passthrough else ()
    metadata = read_metadata(IngestOptions(particles=folder / name, passthrough=extra)).metadata
    base = np.load(folder / "cs_base.cs")
    rotations, translations = pickle.loads(shared_data("cryodrgn", "pose.cs.pkl").read_bytes())
    expected = pickle.loads(shared_data("cryodrgn", "ctf2.pkl").read_bytes())
    ours = pose_tables(metadata, 180, metadata.pixel_size_angstrom)
    np.testing.assert_allclose(ours[0], rotations[:200], rtol=0, atol=4e-6)
    np.testing.assert_allclose(ours[1], translations[:200], rtol=0, atol=4e-6)
    table = ctf_table(metadata, 180, metadata.pixel_size_angstrom)
    np.testing.assert_allclose(table, expected[:200], rtol=4e-6, atol=4e-6)
    np.testing.assert_array_equal(metadata.half_set, base["alignments3D/split"])
    np.testing.assert_array_equal(metadata.image_of_row, base["blob/idx"])
    names = [metadata.stack_names[code] for code in metadata.stack_of_row]
    assert names == [path.decode() for path in base["blob/path"]]


def test_the_tables_above_hold_every_variant(shared_data):
    listed = {entry["file"] for entry in json.loads(shared_data("variants", "expected.json").read_text())}
    assert listed == {name for name, *_ in STACKS} | set(STARS) | OTHERS


@pytest.mark.parametrize("name", ["EMD-3197.map", "EMD-3197.map.bz2", "emd_3197.map.gz"])
def test_compressed_and_plain_maps_hold_the_same_pixels(shared_data, tmp_path, name):
    """EMD-3197 (mrcfile's own test file, a 20^3 map), read as a stack."""
    import mrcfile

    link = tmp_path / name.replace(".map", ".mrc")
    shutil.copy(shared_data("mrcfile", name), link)
    pixels, _ = read_stack(link)
    with mrcfile.open(shared_data("mrcfile", "EMD-3197.map")) as reference:
        np.testing.assert_array_equal(pixels, reference.data.astype(np.float32))
