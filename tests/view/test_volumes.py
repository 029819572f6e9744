"""What the page adds is the map: packed to bytes and back, cropped to the mask, compared with the states."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.explorer.run_files import RunFiles
from covaria.explorer.volumes import agreement
from covaria.maps import read_volume, resample_volume, write_volume
from covaria.tree import AnalysisTree, Tree


def added(run: RunFiles, z: list[float], sampling: int) -> np.ndarray:
    """The sum as the page makes it, from the bytes alone."""
    level = next(one for one in run.described["maps"]["levels"] if one["sampling"] == sampling)
    shape = tuple(level["size"][::-1])
    groups = [np.frombuffer(run.read(name), np.uint8).reshape(*shape, 4) for name in level["files"]]
    maps = np.concatenate(groups, axis=-1).astype(float) / 255
    read = [low + span * maps[..., k] for k, (low, span) in enumerate(level["ranges"])]
    return read[0] + sum(value * read[k + 1] for k, value in enumerate(z))


def test_the_sum_of_textures_is_the_map_at_a_centre(finished: Tree) -> None:
    run = RunFiles(finished.out)
    for number, point in enumerate(run.figures.centers):
        found = added(run, list(point), 64)
        made, _ = read_volume(AnalysisTree(finished.analysis(3)).center(number))
        made = resample_volume(made, 64)[run.maps.crop(64)]
        inside = resample_volume(run.maps.mask, 64)[run.maps.crop(64)] > 0.5
        assert np.corrcoef(found[inside], made[inside])[0, 1] > 0.9995
        assert np.sqrt(((found - made)[inside] ** 2).mean()) < 0.01 * made.max()
        assert agreement(run.figures, run.maps, number)["maps"] > 0.99999
        assert agreement(run.figures, run.maps, number)["differences"] > 0.9999


def test_agreement_sees_a_map_that_is_not_the_state(copied: Tree) -> None:
    run = RunFiles(copied.out)
    path = AnalysisTree(copied.analysis(3)).center(0)
    volume, pixel = read_volume(path)
    write_volume(path, run.maps.whole[0] + np.roll(volume - run.maps.whole[0], 6, axis=1), pixel)
    assert agreement(run.figures, run.maps, 0)["differences"] < 0.7


def test_the_crop_holds_the_mask(finished: Tree) -> None:
    run = RunFiles(finished.out)
    crop = run.maps.crop(32)
    outside = run.maps.mask.copy()
    outside[crop] = 0
    assert outside.max() == 0
    assert np.prod([axis.stop - axis.start for axis in crop]) < 32**3


def test_a_map_of_another_size_is_named(copied: Tree) -> None:
    write_volume(copied.eigenvolume(1), np.zeros((16, 16, 16)), 8.0)
    run = RunFiles(copied.out)
    with pytest.raises(InvalidInput, match=r"eigen_pos0001.*16 voxels a side, the mean map has 32"):
        _ = run.maps.whole
    told = run.described["problems"]
    assert told[0]["part"] == "maps" and "eigen_pos0001" in told[0]["message"]
    assert run.described["columns"], "the cloud is shown all the same"
