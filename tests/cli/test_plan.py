"""`covaria run --dry-run` says what a run takes and leaves no trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.cli.plan import Facts, describe, plan
from covaria.errors import CovariaError
from covaria.request.model import Request
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN


def _request(out: Path, **parts: object) -> Request:
    return Request.model_validate({"out": out, "ingest": {"particles": out / "p.star"}} | parts)


FACTS = Facts(100_000, 90_000, 320, 1.0, 10**10, 2, "cpu")


def test_the_plan_follows_the_request(tmp_path: Path) -> None:
    steps = {step.stage: step for step in plan(_request(tmp_path / "out"), FACTS)}
    assert list(steps) == ["ingest", "reconstruction", "density", "analysis"]
    assert steps["ingest"].disk_bytes == pytest.approx(100_000 * 256**2 * 4, rel=0.01)
    assert "100,000 x 256 x 256" in steps["ingest"].makes and "26 volumes of 256^3" in steps["analysis"].makes
    kept = {step.stage: step for step in plan(_request(tmp_path / "out", ingest={
        "particles": tmp_path / "p", "downsample": None}), FACTS)}  # fmt: skip
    assert "no new stack" in kept["ingest"].makes
    ratio = (kept["reconstruction"].seconds or 0) / (steps["reconstruction"].seconds or 1)
    assert 1.3 < ratio < (320 / 256) ** 3, "components are first looked for at a fixed number of shells"
    mean = plan(_request(tmp_path / "out", reconstruction={"only_mean": True}), FACTS)
    assert [step.stage for step in mean] == ["ingest", "reconstruction"]
    assert mean[1].disk_bytes < steps["reconstruction"].disk_bytes


@pytest.mark.parametrize(("images", "zdim", "measured"), [(4_000, (1, 2, 4, 10, 20), 111), (8_000, (4, 10), 138)])
def test_times_are_near_what_was_measured_on_two_cores(
    tmp_path: Path, images: int, zdim: tuple[int, ...], measured: float
) -> None:
    """docs/performance.md: whole runs of 64 pixels."""
    request = _request(tmp_path / "out", reconstruction={"zdim": zdim})
    found = sum(step.seconds or 0 for step in plan(request, Facts(images, images, 64, 4.0, 3 * 10**9, 2, "cpu")))
    assert found == pytest.approx(measured, rel=0.25)


def test_a_full_disk_and_a_scratch_file_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, room = describe(_request(tmp_path / "out"), Facts(10**8, 10**8, 320, 1.0, 10**9, 2, "cpu"))
    text = "\n".join(lines)
    assert not room and "too little" in text and "scratch file" in text and "scratch " in text
    assert not (tmp_path / "out").exists()


def _dry(*words: object):
    return CliRunner().invoke(covaria.cli.application(), ["run", *map(str, words), "--dry-run"])


def test_a_dry_run_reads_what_the_run_would_and_writes_nothing(tmp_path: Path) -> None:
    simulate(tmp_path / "set", BUILT_IN["presence"](2), SimulationOptions(n_images=40, box=32, pixel_size_angstrom=8.0))
    done = _dry(tmp_path / "set" / "particles.star", "-o", tmp_path / "out", "--device", "cpu", "--n-images", 30)
    assert done.exit_code == 0, done.output
    assert "30 of 40 particles, 32 pixels of 8 A" in done.output
    assert re.search(r"disk .* needed, .* free at ", done.output) and re.search(r"time .*about", done.output)
    assert not (tmp_path / "out").exists()
    (tmp_path / "bad.star").write_text("data_\n")
    assert isinstance(_dry(tmp_path / "bad.star", "-o", tmp_path / "out").exception, CovariaError)
    assert not (tmp_path / "out").exists()
