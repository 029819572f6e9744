import numpy as np
import pytest
import torch

from covaria.maps import fsc, fsc_area, local_filter, radial_filter, solvent_mask
from covaria.maps.fourier import resized_transform
from covaria.maps.local import band_pass, radial_bands, spread, windowed_sums


def error(estimate, truth, mask):
    return float(np.sum((mask * (estimate - truth)) ** 2) / np.sum((mask * truth) ** 2))


@pytest.mark.parametrize("box", [16, 32, 48, 50])
def test_bands_and_windows_are_partitions_of_unity(box):
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(0))
    transform = torch.fft.rfftn(volume)
    total = torch.zeros_like(transform)
    for band in radial_bands(box):
        piece = band_pass(transform, band)
        ones = torch.ones((band.windows.shape[1],) * 3)
        total += resized_transform(torch.fft.rfftn(piece * spread(ones, band.windows)), box)
    limited = torch.fft.rfftn(torch.as_tensor(radial_filter(volume.numpy(), np.ones(box // 2))))
    assert (total - limited).abs().max() < 1e-4 * transform.abs().max()


def test_cropping_and_padding_transforms_keep_grey_levels():
    volume = torch.randn(24, 24, 24)
    smooth = torch.as_tensor(radial_filter(volume.numpy(), (np.arange(12) < 5) * 1.0))
    transform = torch.fft.rfftn(smooth)
    small = resized_transform(transform, 12)
    assert torch.allclose(torch.fft.irfftn(small, s=(12,) * 3), smooth[::2, ::2, ::2], atol=1e-5)
    assert torch.allclose(resized_transform(small, 24), transform, atol=1e-3)


def test_windowed_sums_add_up_and_are_the_adjoint_of_spreading():
    band = radial_bands(32)[-1]
    field = torch.randn(2, band.grid, band.grid, band.grid)
    sums = windowed_sums(field, band.windows)
    assert sums.sum((-3, -2, -1)).numpy() == pytest.approx(field.sum((-3, -2, -1)).numpy(), rel=1e-3, abs=1e-2)
    values = torch.randn(sums.shape[1:])
    through = float((spread(values, band.windows) * field[0]).sum())
    assert through == pytest.approx(float((values * sums[0]).sum()), rel=1e-3, abs=1e-2)


def test_local_filter_is_nearer_to_the_truth_than_any_global_weight(noisy_pair):
    pair = noisy_pair(48, 0.01)
    mask = solvent_mask("from_halfmaps", pair.half1, pair.half2, 2.0).dilated_mask
    filtered, _ = local_filter(pair.half1, pair.half2, mask, 2.0)
    average = (pair.half1 + pair.half2) / 2
    curve = np.clip(fsc(pair.half1, pair.half2, mask), 0, 1)
    wiener = radial_filter(average, 2 * curve / (1 + curve))
    root = radial_filter(average, np.sqrt(2 * curve / (1 + curve)))
    errors = [error(v, pair.truth, mask) for v in (filtered, wiener, root, average)]
    assert errors == sorted(errors)
    assert errors[0] < 0.9 * errors[1]
    areas = [fsc_area(fsc(v * mask, pair.truth * mask)) for v in (filtered, wiener, root, average)]
    assert areas[0] > max(areas[1:]) + 0.02
    assert np.all(filtered[mask == 0] == 0)


def test_local_resolution_tells_the_sharp_side_from_the_smeared_one(noisy_pair):
    pair = noisy_pair(48, 0.01)
    mask = solvent_mask("from_halfmaps", pair.half1, pair.half2, 2.0).dilated_mask
    _, resolution = local_filter(pair.half1, pair.half2, mask, 2.0)
    sharp = np.median(resolution[pair.sharp > 0.3 * pair.sharp.max()])
    smeared = np.median(resolution[pair.smeared > 0.3 * pair.smeared.max()])
    assert sharp < 0.95 * smeared
    assert resolution.min() >= 4.0 and resolution.max() <= 48 * 2.0
    assert resolution.dtype == np.float32


def test_equal_halves_come_back_unchanged_and_unrelated_ones_vanish():
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(2, 32, 32, 32)).astype(np.float32)
    mask = np.ones((32,) * 3, np.float32)
    same, _ = local_filter(first, first, mask, 1.0)
    assert same == pytest.approx(radial_filter(first, np.ones(16)), abs=1e-2)
    unrelated, resolution = local_filter(first, second, mask, 1.0)
    assert np.sum(unrelated**2) < 0.1 * np.sum(((first + second) / 2) ** 2)
    assert np.median(resolution) > 8


def test_unbiased_counterparts_undo_an_unknown_gain(noisy_pair):
    """Halves shrunk shell by shell on their way: the gain measured against unbiased halves restores the scale."""
    pair = noisy_pair(48, 0.01)
    mask = solvent_mask("from_halfmaps", pair.half1, pair.half2, 2.0).dilated_mask
    shrink = 1 / (1 + (np.arange(24) / 10) ** 2)
    shrunk = [radial_filter(h, shrink) for h in (pair.half1, pair.half2)]
    plain, _ = local_filter(*shrunk, mask, 2.0)
    restored, _ = local_filter(*shrunk, mask, 2.0, unbiased1=pair.half1, unbiased2=pair.half2)
    best, _ = local_filter(pair.half1, pair.half2, mask, 2.0)
    assert error(restored, pair.truth, mask) < 1.15 * error(best, pair.truth, mask)
    assert error(restored, pair.truth, mask) < 0.5 * error(plain, pair.truth, mask)
    with pytest.raises(ValueError, match="both halves"):
        local_filter(*shrunk, mask, 2.0, unbiased1=pair.half1)
