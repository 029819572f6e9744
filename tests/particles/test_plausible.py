"""What `inspect` doubts, and its verdict: each unlikely value is named, and a usual set raises no doubt."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covaria.particles.gallery import bar_length, low_passed
from covaria.particles.metadata import Metadata
from covaria.particles.plausible import doubts
from covaria.particles.verdict import verdict
from covaria.particles.views import views_of

COUNT = 400


def usual() -> Metadata:
    rng = np.random.default_rng(0)
    ctf = {
        "defocus_u_angstrom": rng.uniform(8e3, 25e3, COUNT),
        "defocus_angle_rad": rng.uniform(0, np.pi, COUNT),
        "voltage_kv": np.full(COUNT, 300.0),
        "spherical_aberration_mm": np.full(COUNT, 2.7),
        "amplitude_contrast": np.full(COUNT, 0.1),
        "phase_shift_rad": np.zeros(COUNT),
    }
    ctf["defocus_v_angstrom"] = ctf["defocus_u_angstrom"] - 200
    return Metadata(Path("p.star"), COUNT, ctf=ctf, half_set=np.arange(COUNT).astype(np.int8) % 2)


def test_a_usual_set_raises_no_doubt() -> None:
    assert doubts(usual(), np.ones(COUNT, bool)) == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("voltage_kv", 250.0, "voltage 250 kV is that of no common microscope"),
        ("spherical_aberration_mm", 5.0, "Cs 5 mm is that of no common microscope"),
        ("amplitude_contrast", 0.4, "amplitude contrast 0.4"),
        ("defocus_u_angstrom", 120_000.0, "defocus outside 0.2 to 5 micrometres in 400 particles"),
        ("defocus_v_angstrom", 1_000.0, "astigmatism above 20 % of the defocus in 400 particles"),
        ("phase_shift_rad", 0.05, "phase shifts of 2.86 degrees in the median"),
    ],
)
def test_each_unlikely_value_is_named(column: str, value: float, words: str) -> None:
    metadata = usual()
    ctf = metadata.ctf | {column: np.full(COUNT, value)}
    found = doubts(replace(metadata, ctf=ctf), np.ones(COUNT, bool))
    assert any(line.startswith(words) for line in found), found
    rows = np.zeros(COUNT, bool)
    rows[:200] = True
    mixed = metadata.ctf | {column: np.where(rows, metadata.ctf[column], value)}
    assert doubts(replace(metadata, ctf=mixed), rows) == [], "rows that are left out may hold anything"


def test_mixed_phase_shifts_one_defocus_and_half_sets() -> None:
    metadata, used = usual(), np.ones(COUNT, bool)
    some = metadata.ctf | {"phase_shift_rad": np.where(np.arange(COUNT) < 100, 1.5, 0.0)}
    assert "a phase shift in 100 particles and none in 300" in doubts(replace(metadata, ctf=some), used)[0]
    same = metadata.ctf | {"defocus_u_angstrom": np.full(COUNT, 1e4), "defocus_v_angstrom": np.full(COUNT, 1e4)}
    assert "was the CTF estimated?" in doubts(replace(metadata, ctf=same), used)[0]
    for first, words in (
        (0, "half-set 2 is empty"),
        (5, "half-set 2 has 5 particles"),
        (100, "half-sets of 300 and 100"),
    ):
        halves = np.zeros(COUNT, np.int8)
        halves[:first] = 1
        assert words in doubts(replace(metadata, half_set=halves), used)[0]


def test_views_even_one_sided_and_opposite() -> None:
    rng = np.random.default_rng(1)
    even = np.linalg.qr(rng.standard_normal((4000, 3, 3)))[0]
    assert views_of(even).unseen < 0.02 and views_of(even).densest < 0.2 and views_of(even).doubt == ""
    one = even.copy()
    one[:3500, 2] = [0.0, 0.0, 1.0]
    assert "may be smeared" in views_of(one).doubt and views_of(one).densest > 0.85
    opposite = even * np.array([1, 1, -1.0])[:, None]
    assert views_of(opposite) == views_of(even), "a projection and its mirror are one view"


def test_the_verdict_names_what_is_needed() -> None:
    summary = {
        "in_use": 400, "doubts": [], "missing": {"stacks": [], "poses": [], "ctf": []},
        "stacks": {"named": 3, "missing": 0},
    }  # fmt: skip
    assert verdict(summary) == {"ready": True, "needs": [], "text": "ready to run"}
    assert verdict(summary | {"doubts": ["x"]})["text"] == "ready to run; look at 1 doubt below first"
    lacking = summary | {"missing": {"stacks": ["a/b.mrcs"], "poses": ["_rlnAngleRot"], "ctf": ["_rlnVoltage"]}}
    lacking["stacks"] = {"named": 3, "missing": 1}
    text = verdict(lacking)["text"]
    assert text.startswith("needs --datadir FOLDER: 1 of 3 image stacks are not found (the first: a/b.mrcs); and poses")
    assert "a CTF, by --ctf FILE.pkl" in text and not verdict(lacking)["ready"]
    assert "needs more particles: 12 in use" in verdict(summary | {"in_use": 12})["text"]


def test_the_picture_keeps_what_is_coarse_and_its_bar_is_round() -> None:
    x = np.arange(64)
    coarse, fine = np.sin(2 * np.pi * x / 32), np.sin(2 * np.pi * x / 4)
    images = np.stack([np.tile(wave, (64, 1)) for wave in (coarse, fine)]).astype(np.float32)
    kept = low_passed(images, 8.0)
    np.testing.assert_allclose(kept[0], images[0] * 0.5 ** (8 / 32) ** 2, atol=1e-6)
    np.testing.assert_allclose(kept[1], images[1] * 0.5 ** (8 / 4) ** 2, atol=1e-6)
    assert bar_length(64, 4.0) == 100 and bar_length(256, 1.0) == 100 and bar_length(16, 1.0) == 10


def test_a_million_particles_are_looked_at_in_a_second() -> None:
    rng = np.random.default_rng(2)
    rotations = np.zeros((1_000_000, 3, 3))
    rotations[:, 2] = rng.standard_normal((1_000_000, 3))
    rotations[:, 2] /= np.linalg.norm(rotations[:, 2], axis=1)[:, None]
    began = time.process_time()
    found = views_of(rotations)
    assert found.unseen == 0 and found.densest == pytest.approx(0.1, abs=0.02)
    assert time.process_time() - began < 5
