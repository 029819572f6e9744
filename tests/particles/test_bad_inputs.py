"""Every broken input is refused: exit 2, a few lines that say what is wrong and where, nothing written, no code run."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from covaria import cli
from covaria.particles import load, read_particles
from covaria.request.model import IngestOptions
from covaria.tree import Tree

REFUSED = [
    "01_truncated_mrcs", "02_missing_column", "03_index_out_of_range", "04b_nan_poses_pkl", "05_wrong_lengths",
    "06_malicious_pickle", "08_duplicate_optics_groups", "09_zero_images", "10b_optics_size_is_not_stack_size",
    "20_missing_stack",
]  # fmt: skip


def ingest(monkeypatch, capfd, *arguments) -> tuple[int, str]:
    """The real command line in this process: (exit code, stderr)."""
    monkeypatch.setattr(sys, "argv", ["covaria", "ingest", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    return (code if isinstance(code, int) else 0 if code is None else 1), capfd.readouterr().err


@pytest.mark.parametrize("name", REFUSED)
def test_refused(shared_data, tmp_path, monkeypatch, capfd, name):
    folder = shared_data("bad", name)
    expected = json.loads((folder / "expected.json").read_text())
    options = [
        argument for key in ("poses", "ctf") if key in expected for argument in (f"--{key}", folder / expected[key])
    ]
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    code, message = ingest(monkeypatch, capfd, folder / expected["input"], "-o", out, *options)
    assert code == 2, message
    assert "Traceback" not in message
    assert 1 <= len(message.strip().splitlines()) <= 30
    for word in expected["mention"]:
        assert word in message.replace("\n", "")
    assert not Tree(out).particles.exists()
    assert not Tree(out).downsampled.exists()
    assert not (tmp_path / "PAYLOAD_RAN").exists()


def test_the_good_control_is_accepted(shared_data, tmp_path, monkeypatch, capfd):
    folder = shared_data("bad", "00_good_control")
    code, message = ingest(monkeypatch, capfd, folder / "particles.star", "-o", tmp_path / "out")
    assert code == 0, message
    particles = load(Tree(tmp_path / "out").particles)
    notes = json.loads(Tree(tmp_path / "out").job_json.read_text())["notes"]
    assert any("image stacks found" in note for note in notes)
    assert len(particles) == 20
    direct = read_particles(IngestOptions(particles=folder / "particles.star"))
    np.testing.assert_array_equal(particles.images.read(np.arange(20)), direct.images.read(np.arange(20)))


def test_every_bad_case_is_tried(shared_data):
    assert {path.name for path in shared_data("bad").iterdir()} == {*REFUSED, "00_good_control"}
