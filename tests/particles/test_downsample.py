"""Fourier cropping: cryoDRGN's coefficients, our grey level, the centre where it was; the STAR that goes with it."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import starfile

from covaria.errors import InvalidInput, RefusedOutput
from covaria.particles import read_particles
from covaria.particles.shrink import shrink
from covaria.particles.stacks.downsample import downsample_images
from covaria.particles.stacks.locate import plain_stacks
from covaria.request.model import IngestOptions


def pixels(path):
    stacks = plain_stacks(IngestOptions(particles=path))
    images = stacks.images(stacks.box)
    return images.read(np.arange(len(images)))


@pytest.mark.parametrize(
    ("name", "golden", "box"), [("relion31.mrcs", "relion31.256to128.mrcs", 128), ("hand.mrcs", "hand.64to32.mrcs", 32)]
)
def test_cryodrgns_coefficients_at_our_grey_level(shared_data, name, golden, box):
    """cryoDRGN keeps the sum of the pixels, we keep their mean: (D/d)^2 between them; its Nyquist is not zeroed."""
    original, theirs = pixels(shared_data("cryodrgn", name)), pixels(shared_data("golden", golden))
    ours = downsample_images(original, box)
    difference = np.abs(np.fft.rfft2(ours.astype(float)) * (original.shape[-1] / box) ** 2 - np.fft.rfft2(theirs))
    difference[:, box // 2, :] = 0
    difference[:, :, box // 2] = 0
    assert difference.max() < 1e-6 * np.abs(np.fft.rfft2(theirs)).max()


def test_grey_level_centre_and_nyquist():
    y, x = np.mgrid[:64, :64]
    blob = 3.0 + np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / (2 * 6.0**2))
    small = downsample_images(blob[None].astype(np.float32), 32)[0]
    assert small.mean() == pytest.approx(blob.mean(), rel=1e-6)
    np.testing.assert_allclose(small, blob[::2, ::2], atol=2e-4)
    spectrum = np.fft.fft2(small.astype(float))
    assert np.abs(spectrum[16]).max() < 1e-4 and np.abs(spectrum[:, 16]).max() < 1e-4


@pytest.mark.parametrize(("size", "box"), [(64, 65), (64, 33), (64, 0)])
def test_impossible_sizes(size, box):
    with pytest.raises(ValueError, match="crop"):
        downsample_images(np.zeros((1, size, size), np.float32), box)


def run(path, box, out, **options):
    return shrink(IngestOptions(particles=path, **options), box, out, progress=lambda done, total: None)


@pytest.mark.parametrize("name", ["star_base.star", "star_relion30.star"])
def test_the_star_reads_back_with_box_pixel_size_poses_and_ctf(shared_data, tmp_path, name):
    before = read_particles(IngestOptions(particles=shared_data("variants", name)))
    shrunk = run(shared_data("variants", name), 32, tmp_path)
    after = read_particles(IngestOptions(particles=shrunk.star))
    assert (after.box, after.pixel_size_angstrom) == (32, pytest.approx(3.0))
    np.testing.assert_allclose(after.rotations, before.rotations, atol=2e-7)
    np.testing.assert_allclose(after.translations * 2, before.translations, atol=2e-6)
    np.testing.assert_allclose(after.ctf.defocus_u_angstrom, before.ctf.defocus_u_angstrom, atol=1e-5)
    np.testing.assert_allclose(after.ctf.defocus_angle_rad, before.ctf.defocus_angle_rad, atol=1e-7)
    np.testing.assert_allclose(after.ctf.amplitude_contrast, before.ctf.amplitude_contrast, atol=1e-9)
    np.testing.assert_array_equal(
        after.images.read(np.arange(12)), downsample_images(before.images.read(np.arange(12)), 32)
    )
    assert mrcfile.validate(shrunk.stack)
    with mrcfile.open(shrunk.stack) as stack:
        assert stack.voxel_size.x == pytest.approx(3.0) and stack.is_image_stack()
        assert stack.header.dmean == pytest.approx(stack.data.mean(), abs=1e-6)
        assert stack.header.rms == pytest.approx(stack.data.std(), rel=1e-5)


def test_other_programs_read_the_star(shared_data, tmp_path):
    """As cryoDRGN and RELION do: image NUMBER@path beside the STAR, optics table with pixel size and image size."""
    shrunk = run(shared_data("variants", "star_unknown_columns.star"), 32, tmp_path)
    tables = starfile.read(shrunk.star)
    assert set(tables["optics"]["rlnImagePixelSize"]) == {3.0} and set(tables["optics"]["rlnImageSize"]) == {32}
    particles = tables["particles"]
    assert particles["rlnImageName"][11] == "000012@particles.32.mrcs"
    assert set(particles["level_0"]) == {"abc"} or set(particles["_level_0"]) == {"abc"}  # unknown columns are kept
    assert particles["rlnImageOriginalName"][0] == "000001@float32.mrcs"
    original = starfile.read(shared_data("variants", "star_base.star"))["particles"]
    np.testing.assert_allclose(particles["rlnOriginXAngst"], original["rlnOriginXAngst"])


def test_origins_in_pixels_are_scaled(shared_data, tmp_path):
    star = shared_data("variants", "star_base.star")
    text = star.read_text().replace("_rlnOriginXAngst", "_rlnOriginX").replace("_rlnOriginYAngst", "_rlnOriginY")
    (tmp_path / "in.star").write_text(text)
    before = read_particles(IngestOptions(particles=tmp_path / "in.star", datadir=star.parent))
    after = read_particles(IngestOptions(particles=run(tmp_path / "in.star", 32, tmp_path, datadir=star.parent).star))
    np.testing.assert_allclose(after.translations * 2, before.translations, atol=2e-6)


def test_a_stack_alone_gives_a_stack_alone(shared_data, tmp_path):
    shrunk = run(shared_data("cryodrgn", "hand.mrcs"), 32, tmp_path)
    assert shrunk.star is None and shrunk.missing
    assert pixels(shrunk.stack).shape == (100, 32, 32)


def test_refusals(shared_data, tmp_path):
    star = shared_data("variants", "star_base.star")
    with pytest.raises(InvalidInput, match="cannot downsample"):
        run(star, 64, tmp_path)
    run(star, 32, tmp_path)
    with pytest.raises(RefusedOutput, match="already"):
        run(star, 32, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["particles.32.mrcs", "particles.32.star"]
