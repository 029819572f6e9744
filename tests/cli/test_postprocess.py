"""The command: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile
from scipy import ndimage
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput, RefusedOutput
from covaria.maps import read_volume, write_volume
from covaria.maps.masks import radius_px
from covaria.tree import PostprocessTree

BOX, PIXEL = 32, 4.0


def invoke(*words: object) -> str:
    result = CliRunner().invoke(application(), ["postprocess", *map(str, words)])
    if isinstance(result.exception, CovariaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(name="halves")
def halves_fixture(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    signal = ndimage.gaussian_filter(rng.standard_normal((BOX,) * 3), 1.2) * (radius_px(BOX) < 9) + (radius_px(BOX) < 9)
    paths = [tmp_path / f"half{half}.mrc" for half in (1, 2)]
    for path in paths:
        write_volume(path, signal + 0.1 * rng.standard_normal(signal.shape), PIXEL)
    return paths


def test_everything_is_written_and_relions_form_is_kept(halves: list[Path], tmp_path: Path) -> None:
    said = invoke(*halves, "--low", 40, "-o", tmp_path / "out")
    tree = PostprocessTree(tmp_path / "out")
    tables = starfile.read(tree.star)
    resolution = float(tables["general"]["rlnFinalResolution"])
    assert f"resolution {resolution:.2f} A" in said
    curves = np.loadtxt(tree.fsc_csv, delimiter=",", skiprows=1)
    np.testing.assert_allclose(tables["fsc"]["rlnFourierShellCorrelationCorrected"], curves[:, 3], atol=1e-5)
    assert len(curves) == BOX // 2
    masked, pixel = read_volume(tree.masked_map)
    np.testing.assert_allclose(masked, read_volume(tree.map)[0] * read_volume(tree.mask)[0], atol=1e-5)
    assert pixel == pytest.approx(PIXEL)
    for path in (tree.local_resolution, tree.fsc_plot, tree.job_json, tree.readme, tree.command_txt, tree.run_log):
        assert path.stat().st_size > 0
    assert "postprocess.mrc" in tree.readme.read_text()
    with pytest.raises(RefusedOutput, match="not empty"):
        invoke(*halves, "-o", tmp_path / "out")
    invoke(*halves, "--Bfactor", 80, "-o", tmp_path / "out", "--overwrite")
    assert float(starfile.read(tree.star)["general"]["rlnBfactorUsedForSharpening"]) == -80


def test_halves_that_do_not_belong_together_are_refused(halves: list[Path], tmp_path: Path) -> None:
    write_volume(tmp_path / "other.mrc", np.ones((24,) * 3), PIXEL)
    with pytest.raises(InvalidInput, match=r"other\.mrc: has 24 voxels of 4 A a side, the other half 32"):
        invoke(halves[0], tmp_path / "other.mrc", "-o", tmp_path / "out")
    write_volume(tmp_path / "blank.mrc", np.zeros((BOX,) * 3), PIXEL)
    with pytest.raises(InvalidInput, match=r"blank\.mrc: no voxel of the mask exceeds"):
        invoke(*halves, "--mask", tmp_path / "blank.mrc", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
