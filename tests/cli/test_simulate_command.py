"""`covaria simulate`: each nuisance's option reaches the set, and impossible ones are refused before a file is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import InvalidInput
from covaria.simulation.truth import read_image_truth

ISSUE_OPTIONS = (
    "--pose-error 2,0.7 --bad-poses 0.1 --defocus-error 400 --empty 0.12 --carbon-edge 0.04 --blobs 0.02 "
    "--micrograph-noise 0.35 --views 0.3 --scale-spread 0.5 --gradient 2 --magnification-error 0.03"
)


def _simulate(*arguments: object):
    words = ["simulate", *(str(argument) for argument in arguments), "--box", "32"]
    result = CliRunner().invoke(covaria.cli.application(), words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_nuisance_by_its_option(tmp_path: Path) -> None:
    done = _simulate(tmp_path / "set", "--n-images", 100, "--states", "homogeneous", *ISSUE_OPTIONS.split())
    assert "images.txt" in done.stdout
    nuisances = json.loads((tmp_path / "set" / "gt" / "parameters.json").read_text())["nuisances"]
    assert nuisances == {
        "rotation_error_deg": 2.0, "shift_error_pixels": 0.7, "bad_pose_share": 0.1, "defocus_error_angstrom": 400.0,
        "empty_share": 0.12, "carbon_edge_share": 0.04, "blob_share": 0.02, "micrograph_noise_sd": 0.35,
        "kept_view_share": 0.3, "scale_sd": 0.5, "gradient_height": 2.0, "magnification_sd": 0.03,
    }  # fmt: skip
    truth = read_image_truth(tmp_path / "set")
    assert [truth.empty.sum(), truth.carbon_edge.sum(), truth.blob.sum(), truth.bad_pose.sum()] == [12, 4, 2, 10]


def test_a_pair_from_a_configuration_file(tmp_path: Path) -> None:
    for name, pair in (("list", "[2, 0.7]"), ("text", "2,0.7")):
        config = tmp_path / f"{name}.yaml"
        config.write_text(f"pose-error: {pair}\n")
        _simulate(tmp_path / name, "--n-images", 40, "--config", config)
        nuisances = json.loads((tmp_path / name / "gt" / "parameters.json").read_text())["nuisances"]
        assert (nuisances["rotation_error_deg"], nuisances["shift_error_pixels"]) == (2.0, 0.7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pose-error 2", "--pose-error '2'"),
        ("--pose-error 2,0.7,1", "--pose-error '2,0.7,1'"),
        ("--pose-error two,0.7", "--pose-error 'two,0.7'"),
        ("--pose-error -2,0.7", "rotation error deg of -2"),
        ("--empty 1.5", "empty share of 1.5"),
        ("--empty 0.9 --blobs 0.2", r"add up to 1\.1"),
        ("--gradient -1", "gradient height of -1"),
        ("--views 2", "kept view share of 2"),
    ],
)
def test_impossible_nuisances_are_refused_before_a_file_is_made(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        _simulate(tmp_path / "set", *options.split())
    assert not (tmp_path / "set").exists()
