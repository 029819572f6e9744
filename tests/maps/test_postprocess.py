"""Postprocessing against what was planted, and against RELION's own (skipped where it is not installed)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import starfile

from covaria.maps import fsc, radial_filter, read_volume, shell_average, soft_edge, write_volume
from covaria.maps.masks import radius_px
from covaria.maps.postprocess import fit_guinier, fsc_curves, random_phases, sharpened

BOX, PIXEL, TRUE_B = 64, 3.0, 600.0


@pytest.fixture(scope="module", name="maps")
def maps_fixture():
    """Texture blurred by B = 600, and two half-maps with white noise, which it sinks into at about 8 A."""
    rng = np.random.default_rng(4)
    inside = radius_px(BOX) < 14
    signal = radial_filter(rng.standard_normal((BOX,) * 3) * inside, np.ones(BOX // 2))
    frequency = np.arange(BOX // 2) / (BOX * PIXEL)
    signal = radial_filter(signal, np.exp(-TRUE_B * frequency**2 / 4)) * inside
    level = 0.3 * signal[inside].std()
    halves = [(signal + level * rng.standard_normal(signal.shape)).astype(np.float32) for _ in range(2)]
    return signal, halves, soft_edge(radius_px(BOX) < 15, 6)


def test_random_phases_keep_amplitudes_and_what_lies_below(maps) -> None:
    _, (half, _), _ = maps
    before, after = (scipy.fft.rfftn(v) for v in (half, random_phases(half, 10, np.random.SeedSequence(1))))
    np.testing.assert_allclose(np.abs(after[1:31, 1:31, 1:31]), np.abs(before[1:31, 1:31, 1:31]), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(after[:5, :5, :5], before[:5, :5, :5], rtol=1e-4, atol=1e-3)
    assert abs(np.vdot(after[15:25, 15:25, 15:25], before[15:25, 15:25, 15:25])) < 0.2 * np.linalg.norm(before) ** 2


def test_the_corrected_curve_is_that_of_the_truth(maps) -> None:
    """The expected FSC is SNR / (1 + SNR) inside the mask, and the SNR of each shell is known here."""
    signal, halves, mask = maps
    curves = fsc_curves(*halves, mask, PIXEL, seed=3)
    power, noise = (np.abs(scipy.fft.rfftn(v * mask)) ** 2 for v in (signal, halves[0] - signal))
    snr = shell_average(power, BOX) / shell_average(noise, BOX)
    expected = snr / (1 + snr)
    rise = curves.corrected[2:26] - expected[2:26]
    assert np.abs(rise).mean() < 0.05


def test_pure_noise_has_no_resolution_however_tight_the_mask() -> None:
    rng = np.random.default_rng(0)
    halves = [rng.standard_normal((BOX,) * 3).astype(np.float32) for _ in range(2)]
    mask = soft_edge(radius_px(BOX) < 6, 3)
    curves = fsc_curves(*halves, mask, PIXEL)
    assert np.abs(curves.corrected[8:]).mean() < 0.12
    assert curves.last_shell < 8


def test_the_b_factor_is_found_and_undone(maps) -> None:
    _, halves, mask = maps
    curves = fsc_curves(*halves, mask, PIXEL)
    average = 0.5 * (halves[0] + halves[1])
    plot = fit_guinier(average * mask, curves, low_angstrom=40)
    assert plot.fitted
    assert plot.b_factor == pytest.approx(TRUE_B, rel=0.35)
    flat = fit_guinier(sharpened(average * mask, curves, plot.b_factor), curves, low_angstrom=40)
    assert abs(flat.b_factor) < 0.35 * plot.b_factor
    assert fit_guinier(average, curves, b_factor=50.0).b_factor == 50


@pytest.mark.skipif(shutil.which("relion_postprocess") is None, reason="relion is not installed")
def test_relion_agrees(maps, tmp_path: Path) -> None:
    _, halves, mask = maps
    for name, volume in (("half1", halves[0]), ("half2", halves[1]), ("mask", mask)):
        write_volume(tmp_path / f"{name}.mrc", volume, PIXEL)
    arguments = ["--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--angpix", str(PIXEL), "--o", "pp"]
    curves = fsc_curves(*halves, mask, PIXEL)
    limits = ["--autob_lowres", "40", "--autob_highres", str(curves.resolution_angstrom)]
    (tmp_path / "pp").mkdir()
    done = subprocess.run(
        ["relion_postprocess", *arguments, "--auto_bfac", *limits],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = starfile.read(tmp_path / "pp.star")
    table = theirs["fsc"]
    for ours, column in (
        (curves.unmasked, "rlnFourierShellCorrelationUnmaskedMaps"),
        (curves.masked, "rlnFourierShellCorrelationMaskedMaps"),
        (curves.corrected, "rlnFourierShellCorrelationCorrected"),
    ):
        difference = table[column].to_numpy()[1:30] - ours[1:30]
        assert np.abs(difference).mean() < 0.03, column
    assert abs(curves.last_shell - BOX * PIXEL / float(theirs["general"]["rlnFinalResolution"])) <= 2
    average = 0.5 * (halves[0] + halves[1])
    plot = fit_guinier(average, curves, low_angstrom=40)
    assert plot.b_factor == pytest.approx(-float(theirs["general"]["rlnBfactorUsedForSharpening"]), rel=0.25)
    found, _ = read_volume(tmp_path / "pp.mrc")
    ours = sharpened(average, curves, -float(theirs["general"]["rlnBfactorUsedForSharpening"]))
    inner = slice(1, curves.last_shell - 3)
    assert fsc(found, ours)[inner].min() > 0.999
    ratio = np.sqrt(shell_average(np.abs(scipy.fft.rfftn(found)) ** 2, BOX)[inner])
    ratio /= np.sqrt(shell_average(np.abs(scipy.fft.rfftn(ours)) ** 2, BOX)[inner])
    assert np.ptp(ratio) < 0.05 * ratio.mean()
