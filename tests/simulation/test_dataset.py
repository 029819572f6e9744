"""A whole simulated set: conventions, noise, SNR, files."""

from __future__ import annotations

import pickle
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from covaria.errors import InvalidInput, RefusedOutput
from covaria.particles import read_particles
from covaria.request.model import IngestOptions
from covaria.simulation.atoms import Atoms
from covaria.simulation.dataset import SimulationOptions, simulate, volume_path
from covaria.simulation.ensemble import BUILT_IN, Ensemble, from_files
from covaria.simulation.noise import disk, draw_noise, pixel_variance, unit_noise_spectrum

BOX = 32


def _options(**changes: object) -> SimulationOptions:
    return SimulationOptions(**({"n_images": 60, "box": BOX, "pixel_size_angstrom": 8.0} | changes))  # type: ignore[arg-type]


def _tables(out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with (out / "poses.pkl").open("rb") as file:
        rotations, translations = pickle.load(file)
    with (out / "ctf.pkl").open("rb") as file:
        return rotations, translations, pickle.load(file)


def test_images_are_what_the_files_say(tmp_path: Path) -> None:
    """Rebuilt from poses.pkl, ctf.pkl and gt/ alone: direct transform of the true volume, the field's formulas.

    Wide atoms, so that the box cuts nothing off and a voxel volume's transform is exact between grid points too.
    """
    simulate(tmp_path, BUILT_IN["discrete"](3), _options(snr=1e9, atom_sigma_angstrom=10.0))
    rotations, translations, ctf = _tables(tmp_path)
    labels = np.loadtxt(tmp_path / "gt" / "labels.txt", dtype=int)
    contrast = np.loadtxt(tmp_path / "gt" / "contrast.txt")
    stack = mrcfile.read(tmp_path / "particles.mrcs")
    offsets = np.arange(BOX) - BOX // 2
    ky, kx = (k.ravel() for k in np.meshgrid(np.arange(-8, 9), np.arange(0, 9), indexing="ij"))
    for i in range(0, 60, 13):
        volume = mrcfile.read(volume_path(tmp_path, labels[i])).astype(float)
        k = kx[:, None] * rotations[i][0] + ky[:, None] * rotations[i][1]
        ex, ey, ez = (np.exp(-2j * np.pi / BOX * np.multiply.outer(k[:, axis], offsets)) for axis in range(3))
        slice_ = np.einsum("zyx,pz,py,px->p", volume, ez, ey, ex, optimize=True)
        size, pixel, u, v, angle, kv, cs, w, _ = ctf[i].astype(float)
        s2 = (kx**2 + ky**2) / (size * pixel) ** 2
        wavelength = 12.2643 / np.sqrt(kv * 1e3 * (1 + 0.978466e-6 * kv * 1e3))
        defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (np.arctan2(ky, kx) - np.deg2rad(angle))))
        chi = np.pi * wavelength * defocus * s2 - 0.5 * np.pi * cs * 1e7 * wavelength**3 * s2**2
        expected = contrast[i] * slice_ * (np.sqrt(1 - w * w) * np.sin(chi) + w * np.cos(chi))
        x, y = translations[i] * BOX
        expected = expected * np.exp(2j * np.pi / BOX * (kx * x + ky * y))
        image = stack[i].astype(float)
        found = np.einsum(
            "yx,py,px->p",
            image,
            np.exp(-2j * np.pi / BOX * np.multiply.outer(ky, offsets)),
            np.exp(-2j * np.pi / BOX * np.multiply.outer(kx, offsets)),
        )
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_the_star_file_says_the_same_as_the_pickles(tmp_path: Path) -> None:
    simulate(tmp_path, BUILT_IN["homogeneous"](1), _options())
    particles = read_particles(IngestOptions(particles=tmp_path / "particles.star", downsample=None))
    rotations, translations, ctf = _tables(tmp_path)
    assert particles.box == BOX and particles.pixel_size_angstrom == pytest.approx(8.0)
    np.testing.assert_allclose(particles.rotations, rotations, atol=1e-6)
    np.testing.assert_allclose(particles.translations, translations * BOX, atol=1e-5)
    np.testing.assert_allclose(particles.ctf.defocus_u_angstrom, ctf[:, 2], rtol=1e-6)
    np.testing.assert_allclose(np.rad2deg(particles.ctf.defocus_angle_rad), ctf[:, 4], atol=1e-4)
    assert sorted(np.bincount(particles.half_set)) == [30, 30]
    stack = mrcfile.read(tmp_path / "particles.mrcs")
    np.testing.assert_array_equal(particles.images.read(np.array([5, 2])), stack[[5, 2]])


def test_noise_has_the_spectrum_that_is_written(tmp_path: Path) -> None:
    simulate(tmp_path, BUILT_IN["homogeneous"](1), _options(n_images=600, snr=1e-9))
    spectrum = np.loadtxt(tmp_path / "gt" / "noise_variance.txt")
    images = mrcfile.read(tmp_path / "particles.mrcs").astype(float)
    power = (np.abs(np.fft.fft2(images)) ** 2).mean(0)
    k = np.fft.fftfreq(BOX, 1 / BOX)
    shell = np.rint(np.hypot(k, k[:, None])).astype(int)
    measured = np.bincount(shell.ravel(), power.ravel()) / np.bincount(shell.ravel())
    count = np.bincount(shell.ravel()) * 600 / 2
    assert np.all(np.abs(measured / spectrum[: len(measured)] - 1) < 5 / np.sqrt(count))
    assert images.var() == pytest.approx(1, rel=0.01)
    assert spectrum[1] > 2 * spectrum[BOX // 2], "coloured"


def test_noise_spectra_are_those_of_real_images() -> None:
    spectrum = unit_noise_spectrum(BOX)
    assert pixel_variance(spectrum, BOX) == pytest.approx(1)
    noise = draw_noise(50, spectrum, BOX, np.random.default_rng(0))
    back = np.fft.rfft2(np.fft.irfft2(noise, s=(BOX, BOX)))
    np.testing.assert_allclose(back, noise, atol=1e-4 * np.abs(noise).max())


@pytest.mark.parametrize("snr", [0.5, 2.0])
def test_signal_to_noise_ratio_is_as_asked(tmp_path: Path, snr: float) -> None:
    """Against the same set without noise on the same scale (the truth's volumes tell the scale)."""
    simulate(tmp_path / "a", BUILT_IN["curved"](5), _options(n_images=300, snr=snr))
    simulate(tmp_path / "clean", BUILT_IN["curved"](5), _options(n_images=300, snr=1e8))
    noisy, clean = (mrcfile.read(tmp_path / name / "particles.mrcs").astype(float) for name in ("a", "clean"))
    scale = np.std(mrcfile.read(volume_path(tmp_path / "a", 0))) / np.std(
        mrcfile.read(volume_path(tmp_path / "clean", 0))
    )
    signal, noise = clean * scale, noisy - clean * scale
    inside = disk(BOX)
    assert signal[:, inside].var(axis=1).mean() / noise[:, inside].var() == pytest.approx(snr, rel=0.03)


def test_contrast_labels_and_latents(tmp_path: Path) -> None:
    simulate(tmp_path, BUILT_IN["presence"](2), _options(n_images=2000, contrast_sd=0.15))
    contrast = np.loadtxt(tmp_path / "gt" / "contrast.txt")
    labels = np.loadtxt(tmp_path / "gt" / "labels.txt", dtype=int)
    assert contrast.mean() == pytest.approx(1, abs=0.02) and contrast.std() == pytest.approx(0.15, rel=0.08)
    assert (labels == 0).mean() == pytest.approx(0.6, abs=0.04)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "gt" / "latent.txt"), 1 - labels)


def test_same_seed_same_set_and_noise_does_not_move_the_particles(tmp_path: Path) -> None:
    for name, options in (("a", _options()), ("b", _options()), ("c", _options(snr=1.0)), ("d", _options(seed=1))):
        simulate(tmp_path / name, BUILT_IN["ring"](4), options)
    stacks = {name: mrcfile.read(tmp_path / name / "particles.mrcs") for name in "abcd"}
    np.testing.assert_array_equal(stacks["a"], stacks["b"])
    for first, second in zip(_tables(tmp_path / "a"), _tables(tmp_path / "c"), strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.abs(np.corrcoef(stacks["a"].ravel(), stacks["d"].ravel())[0, 1]) < 0.1


def test_dark_particles_are_the_negative(tmp_path: Path) -> None:
    simulate(tmp_path / "bright", BUILT_IN["homogeneous"](1), _options())
    simulate(tmp_path / "dark", BUILT_IN["homogeneous"](1), _options(dark=True))
    bright, dark = (mrcfile.read(tmp_path / name / "particles.mrcs") for name in ("bright", "dark"))
    np.testing.assert_array_equal(bright, -dark)
    truth = [mrcfile.read(volume_path(tmp_path / name, 0)) for name in ("bright", "dark")]
    np.testing.assert_array_equal(*truth)


def test_files_are_valid_mrc(tmp_path: Path) -> None:
    simulate(tmp_path, BUILT_IN["homogeneous"](1), _options())
    for path in (tmp_path / "particles.mrcs", volume_path(tmp_path, 0)):
        assert mrcfile.validate(path)
        with mrcfile.open(path) as file:
            assert file.voxel_size.x == pytest.approx(8.0)


def test_states_from_volumes(tmp_path: Path) -> None:
    """A set made from another set's true volumes has those volumes, up to the scale."""
    simulate(tmp_path / "a", BUILT_IN["discrete"](3), _options())
    simulate(tmp_path / "b", from_files([volume_path(tmp_path / "a", i) for i in range(3)]), _options())
    for i in range(3):
        first, second = (mrcfile.read(volume_path(tmp_path / name, i)).ravel() for name in "ab")
        assert np.corrcoef(first, second)[0, 1] > 0.99999


def test_refusals(tmp_path: Path) -> None:
    ensemble = BUILT_IN["homogeneous"](1)
    simulate(tmp_path / "a", ensemble, _options())
    with pytest.raises(RefusedOutput, match="simulated set"):
        simulate(tmp_path / "a", ensemble, _options())
    (tmp_path / "a" / "thesis.txt").write_text("mine")
    with pytest.raises(RefusedOutput, match=r"thesis\.txt"):
        simulate(tmp_path / "a", ensemble, _options(), overwrite=True)
    with pytest.raises(InvalidInput, match="box of 33"):
        simulate(tmp_path / "b", ensemble, _options(box=33))
    with pytest.raises(InvalidInput, match="reaches"):
        simulate(tmp_path / "b", ensemble, _options(pixel_size_angstrom=2.0))
    far = Ensemble((Atoms(np.zeros((1, 3)), np.ones(1)),) * 100, np.full(100, 0.01), np.zeros((100, 1)))
    with pytest.raises(InvalidInput, match="60 images for 100 states"):
        simulate(tmp_path / "b", far, _options())
    assert not (tmp_path / "b").exists()
