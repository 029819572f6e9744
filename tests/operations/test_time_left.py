"""How long is left: right within 30 % after the first tenth, at any pace, and whatever a run leaves out."""

from __future__ import annotations

import io
import json
import threading
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from covaria.request.duration import Leg, legs_of
from covaria.request.model import Request
from covaria.running import run_line
from covaria.running.run_line import RunLine
from covaria.running.time_left import TimeLeft


def request(**parts: object) -> Request:
    return Request.model_validate({"out": "out", "ingest": {"particles": "p.star"}} | parts)


def played(legs: list[Leg], pace: float) -> list[tuple[float, float]]:
    """(share of the time, foreseen total over the true one) in a run of pace x what was planned."""
    total, left, began = pace * sum(leg.seconds for leg in legs), TimeLeft(legs), 0.0
    told = []
    for leg in legs:
        for share in (0.0, 0.25, 0.5, 0.75):
            now = began + share * pace * leg.seconds
            left.hear(leg.stage, leg.step, share if leg.counted else 0.0, now)
            told.append((now / total, (now + (left.left(now) or 0.0)) / total))
        began += pace * leg.seconds
    return told


RECORDED = json.loads((Path(__file__).parent / "golden" / "time_left.json").read_text())
"""Whole runs of two cores, not those that the constants were fitted to: [when, stage, step, share of it]."""


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_run_is_foreseen_within_thirty_percent_after_a_tenth(name: str) -> None:
    """More is known when the density begins: how many dimensions it has."""
    run = RECORDED[name]
    asked, total = request(reconstruction={"zdim": run["zdim"]}), run["seconds"]
    legs = partial(legs_of, asked, used=run["used"], box=run["box"], cores=2)
    left = TimeLeft(legs())
    for (began, stage, step, share), (ended, *_) in pairwise([*run["heard"], [total]]):
        if stage == "density" and not step:
            left.plan(legs(confirmed=run["confirmed"]))
        left.hear(stage, step, share, began)
        for now in (began, (began + ended) / 2):
            foreseen = now + (left.left(now) or 0.0)
            if now > total / 10:
                assert 0.7 < foreseen / total < 1.3, (now, foreseen)


def test_the_density_takes_as_long_as_it_has_dimensions() -> None:
    """As many as components are confirmed; none where nothing is, and then no states either."""

    def seconds(confirmed: int | None, **density: object) -> float:
        asked = request(density=density)
        return sum(leg.seconds for leg in legs_of(asked, used=4000, box=64, cores=2, confirmed=confirmed))

    assert seconds(4) - seconds(1) > 300 and seconds(5) == seconds(4)
    assert seconds(None) == seconds(2)
    assert seconds(4, dim=1) == seconds(1)
    assert seconds(0) < seconds(1) - 15


def test_refined_poses_cost_a_second_mean_and_fit() -> None:
    refined = {"reconstruction": {"refine_poses": True}}
    plain, longer = (
        [leg.step for leg in legs_of(request(**parts), used=4000, box=64, cores=2)] for parts in ({}, refined)
    )
    first = plain.index("components")
    added = longer[first : first + len(longer) - len(plain)]
    assert added[:5] == ["components", "confirmation", "components", "confirmation", "poses"]
    assert added[5:] == plain[first - len(added[5:]) : first] and longer[first + len(added) :] == plain[first:]


def test_what_is_compiled_at_first_use_does_not_slow_the_rest() -> None:
    legs = [Leg("reconstruction", "reading images", 1.0), Leg("reconstruction", "mean", 4.0), Leg("density", "", 100.0)]
    left = TimeLeft(legs)
    for now, step in ((0.0, "reading images"), (6.0, "mean")):
        left.hear("reconstruction", step, 0.0, now)
    left.hear("density", "", 0.0, 15.0)
    assert left.left(15.0) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("pace", [1.0, 4.0, 0.25])
def test_after_a_tenth_the_total_is_right_within_thirty_percent(pace: float) -> None:
    legs = legs_of(request(), used=20_000, box=128, cores=2)
    for share, ratio in played(legs, pace):
        if share > 0.1:
            assert 0.7 < ratio < 1.3, (share, ratio)


def test_what_a_run_leaves_out_counts_no_more() -> None:
    legs = [Leg("reconstruction", "", 1.0), Leg("reconstruction", "components", 10.0),
            Leg("reconstruction", "embedding", 5.0), Leg("density", "", 100.0), Leg("analysis", "", 2.0)]  # fmt: skip
    left = TimeLeft(legs)
    left.hear("reconstruction", "components at 8 shells", 0.1, 1.0)
    assert left.left(1.0) == pytest.approx(117, rel=0.01)
    left.hear("analysis", "", 0.0, 11.0)
    assert left.left(11.0) == pytest.approx(2, rel=0.5)


def test_the_plan_grows_with_the_set_and_stops_with_the_mean() -> None:
    def seconds(parts: dict[str, object], **facts: int) -> float:
        return sum(leg.seconds for leg in legs_of(request(**parts), **{"used": 10_000, "box": 64, "cores": 2} | facts))

    assert seconds({}, used=20_000) > 1.3 * seconds({})
    assert 2 < seconds({}, box=128) / seconds({}) < 8
    assert seconds({"reconstruction": {"only_mean": True}}) < 0.3 * seconds({})


def test_a_plain_line_breaks_the_silence_and_says_all() -> None:
    said = io.StringIO()
    legs = [Leg("ingest", "", 10.0), Leg("density", "", 10.0)]
    with RunLine(Console(file=said, width=200), ("ingest", "density"), legs, renew_s=0.01, silence_s=0.1) as line:
        line.begin("ingest")
        line.hear("ingest", "check images", 5, 40, "images")
        time.sleep(0.5)
    lines = said.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[0].startswith("stage 1/2 ingest, check images 5 of 40 images: 0.") and " left, " in lines[0]
    assert lines[0].endswith(" GB") and threading.active_count() >= 1


def test_nothing_is_printed_while_others_print_and_nothing_when_quiet() -> None:
    for console, own in ((Console(file=io.StringIO(), width=200), True), (Console(quiet=True), False)):
        with RunLine(console, ("ingest",), renew_s=0.01, silence_s=0.1) as line:
            line.begin("ingest")
            for _ in range(10):
                time.sleep(0.03)
                if own:
                    line.said()
        if own:
            assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_terminal_sees_one_line(tmp_path: Path) -> None:
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=120)
    with RunLine(console, ("ingest", "density"), [Leg("ingest", "", 1.0)], renew_s=0.01) as line:
        line.begin("density")
        time.sleep(0.1)
    assert "stage 2/2 density" in said.getvalue() and "left" not in said.getvalue().split("density")[0]


def test_a_command_that_is_no_run_breaks_the_silence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_line, "SILENCE_S", 0.1)
    monkeypatch.setattr(run_line, "RENEW_S", 0.01)
    with run_line.at_work("simulate") as line:
        line.hear("simulate", "", 5, 40, "images")
        time.sleep(0.3)
    assert "simulate 5 of 40 images: 0." in capsys.readouterr().err
