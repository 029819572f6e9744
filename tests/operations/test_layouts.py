"""Which of the files that RELION, cryoSPARC, EPU and SerialEM leave are sets, and what rules make of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sets import star_text, write_cs, write_passthrough, write_star

from covaria.errors import InvalidInput
from covaria.messages.envelope import Message
from covaria.operations.watching.places import Pattern
from covaria.operations.watching.rules import Rule, read_rules
from covaria.operations.watching.watcher import Watcher

SUCCESS = "RELION_JOB_EXIT_SUCCESS"


def watcher(root: Path, **facts: Any) -> Watcher:
    values = {"name": "m01", "folder": root, "into": f"{root}-out/{{name}}", "settle_s": 0.0} | facts
    return Watcher(Rule.model_validate(values), root.parent / "spool")


def taken(looking: Watcher) -> list[str]:
    return [str(message.work.request.ingest.particles.relative_to(looking.rule.folder)) for message in looking.look()]


def refine3d(folder: Path, *, final: bool = True, iterations: int = 2) -> Path:
    """A folder of RELION's Refine3D: ten STARs or more, one of which is the result."""
    write_star(folder / "run_it000_data.star")
    for name in ("job", "job_pipeline", "default_pipeline", "run_model", "run_it000_half1_model"):
        (folder / f"{name}.star").write_text("data_\n")
    for number in range(iterations + 1):
        for kind in ("optimiser", "model", "sampling"):
            (folder / f"run_it{number:03d}_{kind}.star").write_text("data_\n")
        write_star(folder / f"run_it{number:03d}_data.star", psi=number)
    if final:
        write_star(folder / "run_data.star", psi=9)
    return folder


def done(folder: Path, sign: str = SUCCESS) -> None:
    (folder / sign).touch()
    os.utime(folder / sign, (4e9, 4e9))


def test_one_of_the_stars_of_a_refinement(tmp_path: Path) -> None:
    folder = refine3d(tmp_path / "p" / "Refine3D" / "job010")
    assert len(list(folder.glob("*.star"))) > 10
    looking = watcher(tmp_path / "p")
    assert taken(looking) == [], "the job has not finished"
    done(folder)
    assert taken(looking) == ["Refine3D/job010/run_data.star"]
    assert taken(looking) == []


def test_what_finished_is_taken_at_once(tmp_path: Path) -> None:
    folder = refine3d(tmp_path / "p" / "job010")
    done(folder)
    assert taken(watcher(tmp_path / "p", settle_s=60.0)) == ["job010/run_data.star"]


def test_the_last_iteration_of_a_classification(tmp_path: Path) -> None:
    folder = refine3d(tmp_path / "p" / "Class3D" / "job011", final=False, iterations=12)
    done(folder)
    assert taken(watcher(tmp_path / "p")) == ["Class3D/job011/run_it012_data.star"]


@pytest.mark.parametrize("sign", ["RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED"])
def test_no_failed_job_of_relion(tmp_path: Path, sign: str) -> None:
    done(refine3d(tmp_path / "p" / "job010"), sign)
    looking = watcher(tmp_path / "p")
    assert taken(looking) == []
    assert not looking.states["waiting"] and not looking.states["refused"]


def test_a_refinement_without_the_pipeliner(tmp_path: Path) -> None:
    folder = refine3d(tmp_path / "p" / "run1")
    (folder / "job.star").unlink()
    assert taken(watcher(tmp_path / "p")) == ["run1/run_data.star"]


def test_a_scheme_lets_its_star_grow(tmp_path: Path) -> None:
    """RELION takes the sign away, runs the job again on more particles, and puts it back."""
    folder = tmp_path / "p" / "Select" / "job020"
    path = write_star(folder / "particles.star", 3)
    (folder / "job.star").write_text("data_job\n")
    done(folder)
    looking = watcher(tmp_path / "p")
    assert taken(looking) == ["Select/job020/particles.star"]
    (folder / SUCCESS).unlink()
    write_star(path, 5)
    os.utime(path, (3e9, 3e9))
    assert taken(looking) == [] and looking.states["waiting"] == 1
    done(folder)
    assert taken(looking) == ["Select/job020/particles.star"]


def test_particles_without_poses_are_refused_and_other_tables_passed_over(tmp_path: Path) -> None:
    write_star(tmp_path / "p" / "Extract" / "particles.star").write_text(
        star_text(3).replace("_rlnAngle", "_rlnNobodys")
    )
    (tmp_path / "p" / "micrographs_ctf.star").write_text("data_micrographs\n\nloop_\n_rlnMicrographName #1\na.mrc\n")
    (tmp_path / "p" / "coords.star").write_text("data_\n\nloop_\n_rlnCoordinateX #1\n1\n")
    looking = watcher(tmp_path / "p")
    assert taken(looking) == []
    assert dict(looking.states) == {"refused": 1, "ignored": 2}


def cryosparc_job(folder: Path, status: str) -> Path:
    for number in range(3):
        write_cs(folder / f"J12_{number:03d}_particles.cs", images=False)
    write_passthrough(folder / "J12_passthrough_particles.cs")
    (folder / "job.json").write_text(json.dumps({"uid": "J12", "status": status}))
    return folder


def one_job(looking: Watcher) -> Message:
    (message,) = looking.look()
    return message


def test_a_finished_job_of_cryosparc_with_its_passthrough(tmp_path: Path) -> None:
    folder = cryosparc_job(tmp_path / "p" / "J12", "running")
    looking = watcher(tmp_path / "p", pattern="**/*.cs")
    assert looking.look() == []
    assert looking.states["waiting"] == 1
    (folder / "job.json").write_text(json.dumps({"uid": "J12", "status": "completed"}))
    ingest = one_job(looking).work.request.ingest
    assert ingest.particles == folder / "J12_002_particles.cs"
    assert ingest.passthrough == (folder / "J12_passthrough_particles.cs",)
    assert looking.look() == []


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_no_failed_job_of_cryosparc(tmp_path: Path, status: str) -> None:
    cryosparc_job(tmp_path / "p" / "J12", status)
    looking = watcher(tmp_path / "p", pattern="**/*.cs")
    assert looking.look() == [] and not looking.states["waiting"]


def test_an_export_of_cryosparc_live(tmp_path: Path) -> None:
    """A session's export is one table with everything in it; it is written again as the session goes on."""
    path = write_cs(tmp_path / "p" / "exports" / "S1_particles" / "S1_particles_exported.cs", 3)
    looking = watcher(tmp_path / "p", pattern="**/*.cs")
    assert one_job(looking).work.request.ingest.particles == path
    write_cs(path, 6)
    os.utime(path, (3e9, 3e9))
    assert one_job(looking).work.request.overwrite


def test_epu_and_serialem_sessions_name_outputs_and_raw_data_are_not_walked(tmp_path: Path) -> None:
    root = tmp_path / "m01"
    epu, serial = root / "cm1-2" / "Supervisor_20260101", root / "cm1-3" / "grid4"
    movies = epu / "Images-Disc1" / "GridSquare_7" / "Data"
    movies.mkdir(parents=True)
    write_star(movies / "not_looked_for.star")
    (epu / "EpuSession.dm").touch()
    write_star(epu / "relion" / "run_data.star")
    serial.mkdir(parents=True)
    (serial / "map.nav").touch()
    write_star(serial / "processing" / "deep" / "particles.star")
    looking = watcher(root, pattern="{visit}/**/*.star", into=f"{tmp_path}/{{visit}}/{{session}}/covaria/{{stem}}")
    found = {message.work.request.out.relative_to(tmp_path): message.work.origin.visit for message in looking.look()}
    assert found == {
        Path("cm1-2/Supervisor_20260101/covaria/run_data"): "cm1-2",
        Path("cm1-3/grid4/covaria/particles"): "cm1-3",
    }


RULES = """
rules:
  - name: m01-refinements
    folder: {root}/m01
    pattern: "{{visit}}/processing/**/*.star"
    into: "{root}/m01/{{visit}}/processed/covaria/{{stem}}"
    class: live
    origin: {{instrument: m01}}
    options: {{downsample: 32, zdim: [1, 2], no-density: true}}
  - name: m02
    folder: {root}/m02
    into: "{root}/out/{{name}}"
    class: bulk
    again: beside
"""


def test_rules_by_instrument(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.format(root=tmp_path))
    first, second = read_rules(tmp_path / "rules.yaml")
    for job in ("job1", "job2"):
        write_star(tmp_path / "m01" / "cm1-2" / "processing" / job / "run_data.star")
    looking = Watcher(first.model_copy(update={"settle_s": 0.0}), tmp_path / "spool")
    work = [message.work for message in looking.look()]
    folder = tmp_path / "m01" / "cm1-2" / "processed" / "covaria"
    assert {job.request.out.parent for job in work} == {folder}
    assert len({job.request.out for job in work}) == 2, "no two sets share a folder"
    assert (work[0].job_class, work[0].origin.words) == ("live", {"visit": "cm1-2", "instrument": "m01"})
    request = work[0].request
    assert (request.ingest.downsample, request.reconstruction.zdim, request.density.enabled) == (32, (1, 2), False)
    assert (second.job_class, second.again) == ("bulk", "beside")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("m02\n", "m01-refinements\n"), "two rules are called 'm01-refinements'"),
        (("{{stem}}", "{{session_name}}"), "{session_name} is none of"),
        (("downsample: 32", "downsampel: 32"), "'downsampel' is no option"),
        (("downsample: 32", "downsample: 33"), "multiple of 2"),
        (("downsample: 32", "box: 32"), "'box' is no option of a stream"),
        (("class: live", "class: urgent"), "'live' or 'bulk'"),
        (("{root}/m02", "m02"), "not an absolute path"),
        (("{{visit}}/processing", "../processing"), "leads out of the folder"),
        (("instrument: m01", "microscope: m01"), "'microscope' is none of"),
        (("rules:", "rules: ["), "no valid YAML"),
        (("rules:", "rule:"), "rules: Field required"),
    ],
)
def test_a_wrong_rule_is_refused_by_name(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = RULES.replace(*change).format(root=tmp_path)
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(InvalidInput) as refused:
        read_rules(tmp_path / "rules.yaml")
    assert said in str(refused.value) and str(tmp_path / "rules.yaml") in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_fits"),
    [
        ("**/*.star", ["a.star", "x/y/a.star"], ["a.starr", "a.cs"]),
        ("*/particles.star", ["x/particles.star"], ["particles.star", "x/y/particles.star"]),
        ("{visit}/job[0-9]?/*.cs", ["v/job12/a.cs"], ["v/jobx2/a.cs", "job12/a.cs"]),
        ("a.(b)*.star", ["a.(b)c.star"], ["aX(b)c.star"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], not_fits: list[str]) -> None:
    expression = Pattern(pattern).expression
    assert all(expression.fullmatch(name) for name in fits)
    assert not any(expression.fullmatch(name) for name in not_fits)
