import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.maps import load_focus_mask, soft_edge, solvent_mask, sphere_mask, write_volume
from covaria.maps.masks import margin_px, otsu_threshold, radius_px


def ball(box, radius, centre=(0, 0, 0)):
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis - centre[0], axis - centre[1], axis - centre[2], indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


def test_mask_from_halfmaps_covers_the_truth_and_little_else(noisy_pair):
    pair = noisy_pair(48, 0.01)
    masks = solvent_mask("from_halfmaps", pair.half1, pair.half2, 2.0)
    assert np.sum((pair.truth * masks.mask) ** 2) / np.sum(pair.truth**2) > 0.995
    assert (masks.mask > 0.5).mean() < 0.25
    assert np.all(masks.dilated_mask >= masks.mask)
    grown = np.count_nonzero(masks.dilated_mask == 1) - np.count_nonzero(masks.mask == 1)
    assert grown > 0
    assert masks.mask.min() == 0 and masks.mask.max() == 1


def test_mask_from_halfmaps_fills_holes_and_drops_dust():
    box = 48
    shell = ball(box, 12) & ~ball(box, 7)
    dust = ball(box, 2, (0, 0, 19))
    volume = (shell * 1.0 + dust).astype(np.float32)
    mask = solvent_mask("from_halfmaps", volume, volume, 1.0).mask
    assert mask[24, 24, 24] == 1
    assert mask[24, 24, 24 + 19] == 0


def test_empty_halfmaps_are_refused_with_a_way_out():
    with pytest.raises(InvalidInput, match="no mask can be made") as caught:
        solvent_mask("from_halfmaps", np.zeros((16,) * 3), np.zeros((16,) * 3), 1.0)
    assert "--mask sphere" in caught.value.hint


def test_sphere_and_none_cover_the_ball_and_the_box():
    empty = np.zeros((32,) * 3)
    sphere = solvent_mask("sphere", empty, empty, 1.0).mask
    assert np.array_equal(sphere, sphere_mask(32))
    assert sphere[radius_px(32) >= 15].max() == 0 and sphere[radius_px(32) <= 12].min() == 1
    assert solvent_mask("none", empty, empty, 1.0).dilated_mask.min() == 1


def test_soft_edge_is_half_a_cosine():
    edge = soft_edge(np.arange(10)[:, None, None] * np.ones((1, 3, 3)) < 4, 3)[:, 1, 1]
    assert edge[3:8] == pytest.approx([1, 0.75, 0.25, 0, 0])


def test_otsu_splits_two_classes():
    values = np.concatenate(
        [np.random.default_rng(0).normal(0, 0.1, 5000), np.random.default_rng(1).normal(3, 0.1, 300)]
    )
    assert 0.3 < otsu_threshold(values) < 2.8


@pytest.mark.parametrize(("side", "pixel_size"), [(48, 2.0), (24, 4.0), (96, 1.0), (96, 2.0), (24, 2.0)])
def test_mask_files_come_to_our_grid(tmp_path, side, pixel_size):
    """A ball of 16 A radius, whatever the file's grid: same extent is resampled, same voxel is cropped or padded."""
    path = tmp_path / "mask.mrc"
    write_volume(path, ball(side, 16 / pixel_size).astype(np.float32), pixel_size)
    particle = ball(48, 6).astype(np.float32)
    masks = solvent_mask(path, particle, particle, 2.0)
    inside, expected = masks.mask == 1, ball(48, 8)
    assert np.count_nonzero(inside ^ expected) < 0.25 * np.count_nonzero(expected)
    assert inside[24, 24, 24]
    assert np.array_equal(masks.dilated_mask == 1, masks.dilated_mask >= 1)
    assert np.count_nonzero(masks.dilated_mask == 1) > np.count_nonzero(inside)
    assert np.array_equal(load_focus_mask(path, 48, 2.0), masks.mask)


def test_mask_files_are_dilated_as_asked(tmp_path):
    path = tmp_path / "mask.mrc"
    write_volume(path, ball(32, 6).astype(np.float32), 2.0)
    empty = np.zeros((32,) * 3)
    plain, more = (solvent_mask(path, empty, empty, 2.0, dilate_iterations=n).mask == 1 for n in (0, 2))
    assert more[16, 16, 16 + 8] and not plain[16, 16, 16 + 8]


def test_wrong_mask_files_say_what_to_do(tmp_path):
    empty = np.zeros((32,) * 3)
    with pytest.raises(MissingFile):
        solvent_mask(tmp_path / "absent.mrc", empty, empty, 1.0)
    write_volume(tmp_path / "low.mrc", np.full((32,) * 3, 0.3), 1.0)
    with pytest.raises(InvalidInput, match="no voxel of the mask exceeds"):
        solvent_mask(tmp_path / "low.mrc", empty, empty, 1.0)
    write_volume(tmp_path / "other.mrc", np.ones((20,) * 3), 3.0)
    with pytest.raises(InvalidInput, match="20 voxels of 3 angstrom"):
        solvent_mask(tmp_path / "other.mrc", empty, empty, 1.0)
    write_volume(tmp_path / "pixel.mrc", ball(32, 6).astype(np.float32), 1.5)
    with pytest.raises(InvalidInput, match=r"pixel\.mrc: the mask's voxels are of 1\.5 angstrom"):
        solvent_mask(tmp_path / "pixel.mrc", empty, empty, 1.2)
    solvent_mask(tmp_path / "pixel.mrc", empty, empty, 1.46)
    write_volume(tmp_path / "unset.mrc", ball(32, 6).astype(np.float32), 1.0)
    solvent_mask(tmp_path / "unset.mrc", empty, empty, 1.5)


def test_margin_follows_the_box():
    assert [margin_px(box) for box in (32, 64, 128, 256)] == [2, 3, 6, 12]


def test_a_mask_that_does_not_touch_the_particle_is_refused(tmp_path):
    particle = ball(48, 6).astype(np.float32)
    corner = np.zeros((48,) * 3, np.float32)
    corner[1:4, 1:4, 1:4] = 1
    write_volume(tmp_path / "corner.mrc", corner, 2.0)
    with pytest.raises(InvalidInput, match=r"corner\.mrc: the mask does not touch"):
        solvent_mask(tmp_path / "corner.mrc", particle, particle, 2.0)
