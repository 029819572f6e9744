"""Several focus masks: whose motion lies where, how parts are named, what is written and said."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from covaria.findings import Component, Findings
from covaria.maps.masks import soft_edge
from covaria.request.model import ReconstructionOptions
from covaria_reconstruction.components import Components
from covaria_reconstruction.parts import motion_by_part, names_of, write_motion

BOX = 24


def halves() -> dict[str, np.ndarray]:
    left = np.zeros((BOX,) * 3, bool)
    left[:, :, : BOX // 2] = True
    return {"left": left.astype(np.float32), "right": (~left).astype(np.float32)}


def components(*volumes: np.ndarray) -> Components:
    unit = np.stack([volume / np.linalg.norm(volume) for volume in volumes]).astype(np.float32)
    many = np.zeros(len(unit))
    return Components(unit, np.array([9.0, 4.0])[: len(unit)], unit, unit, many, np.array(1), many, many)


def test_each_component_is_told_by_part(tmp_path: Path) -> None:
    """One moves on the left alone; the other three times as much energy on the right."""
    parts = halves()
    both = parts["left"] + np.sqrt(3) * parts["right"]
    motion = motion_by_part(components(parts["left"], both), parts)
    shares = {(one.component, one.part): one.share for one in motion}
    assert shares == pytest.approx({(0, "left"): 1, (0, "right"): 0, (1, "left"): 0.25, (1, "right"): 0.75})
    voxels = BOX**3 / 2
    assert motion[0].rms == pytest.approx(3 / np.sqrt(voxels)), "sqrt(9 / voxels): all of the motion of variance 9"
    write_motion(tmp_path / "motion.csv", motion, confirmed=1)
    rows = list(csv.DictReader((tmp_path / "motion.csv").read_text().splitlines()))
    assert [row["confirmed"] for row in rows] == ["yes", "yes", "no", "no"]
    assert float(rows[3]["share_of_motion"]) == pytest.approx(0.75)


def test_parts_that_overlap_both_count_what_they_share() -> None:
    ball = soft_edge(np.indices((BOX,) * 3).sum(0) < BOX)
    motion = motion_by_part(components(ball), {"one": np.ones_like(ball), "same": np.ones_like(ball)})
    assert [one.share for one in motion] == pytest.approx([1, 1])


def test_names_tell_parts_apart() -> None:
    assert names_of((Path("a/arm.mrc"), Path("head.mrc"))) == ["arm", "head"]
    assert names_of((Path("a/mask.mrc"), Path("b/mask.mrc"))) == ["a/mask", "b/mask"]
    assert len(set(names_of((Path("a/mask.mrc"), Path("x/a/mask.mrc"))))) == 2


def test_all_focus_masks_count_together() -> None:
    options = ReconstructionOptions(focus_mask=Path("a.mrc"), focus_parts=(Path("b.mrc"), Path("c.mrc")))
    assert options.focus_files == (Path("a.mrc"), Path("b.mrc"), Path("c.mrc"))
    assert ReconstructionOptions().focus_files == ()


def test_the_findings_say_where() -> None:
    found = Findings(tested=4, components=(Component(z_score=9, share=1, parts={"head": 0.1, "arm": 0.87}),))
    assert "Motion of component 1: 87 % in arm, 10 % in head." in found.lines()
