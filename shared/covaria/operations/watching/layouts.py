"""Which of the files that programs write is the set: RELION's final iteration, a finished job of cryoSPARC.

A Refine3D folder holds ten STARs, and one of them is wanted. What a program's own records say counts: RELION's
exit files, cryoSPARC's job.json; without them a file counts once it is still.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covaria.opening import Roots

BOOKKEEPING = re.compile(
    r"(.*_)?(model|optimiser|sampling|pipeline)\.star|job\.star|.*micrographs.*\.star|movies\.star|.*autopick.*\.star"
    r"|backup_selection\.star|class_averages\.star|job_pipeline\.star|.*_(optics|tilts)\.star"
)
"""RELION's files about itself and about micrographs."""
RELION_ITERATION = re.compile(r"(?P<stem>.*)_it(?P<number>\d{3,})_data\.star")
CRYOSPARC_ITERATION = re.compile(r"(?P<stem>.*)_(?P<number>\d{3,})_particles(?P<rest>.*)\.cs")
EXITS = {"RELION_JOB_EXIT_FAILURE": "failed", "RELION_JOB_EXIT_ABORTED": "was aborted"}
SUCCESS = "RELION_JOB_EXIT_SUCCESS"
MOST_BYTES = 64 * 2**20
HEAD = 2**16


@dataclass(frozen=True)
class Standing:
    """What is to be done about a file that fits the pattern."""

    verdict: Literal["take", "wait", "pass"]
    why: str = ""
    finished: Path | None = None
    """A program's own sign that it is done with the file."""
    passthrough: tuple[Path, ...] = ()
    """Files of cryoSPARC that hold its other columns."""


def standing(path: Path) -> Standing:
    """Of a particle file. Raises OSError."""
    if path.suffix.lower() == ".cs":
        return _of_cryosparc(path)
    if BOOKKEEPING.fullmatch(path.name):
        return Standing("pass", "it is no table of particles")
    return _of_relion(path)


def _of_relion(path: Path) -> Standing:
    names = {other.name for other in path.parent.iterdir()}
    for sign, what in EXITS.items():
        if sign in names:
            return Standing("pass", f"its job of RELION {what}")
    if "job.star" in names and SUCCESS not in names:  # the pipeliner's; whoever calls relion_refine has no such files
        return Standing("wait", "its job of RELION has not finished")
    iteration = RELION_ITERATION.fullmatch(path.name)
    if iteration is not None:
        if f"{iteration['stem']}_data.star" in names:
            return Standing("pass", "it is an iteration, the final one lies beside it")
        if SUCCESS not in names:
            return Standing("wait", "it is an iteration of a job that has not finished")
        others = [match for name in names if (match := RELION_ITERATION.fullmatch(name))]
        last = max(int(other["number"]) for other in others if other["stem"] == iteration["stem"])
        if int(iteration["number"]) < last:
            return Standing("pass", f"it is an iteration, the last one is {last}")
    if not _declares(path, b"_rlnImageName"):
        return Standing("pass", "it has no column _rlnImageName")
    return Standing("take", finished=path.parent / SUCCESS if SUCCESS in names else None)


def _of_cryosparc(path: Path) -> Standing:
    if "passthrough" in path.name:
        return Standing("pass", "it holds further columns of another file")
    others = list(path.parent.iterdir())
    iteration = CRYOSPARC_ITERATION.fullmatch(path.name)
    if iteration is not None:
        alike = [match for other in others if (match := CRYOSPARC_ITERATION.fullmatch(other.name))]
        alike = [other for other in alike if (other["stem"], other["rest"]) == (iteration["stem"], iteration["rest"])]
        last = max(int(other["number"]) for other in alike)
        if int(iteration["number"]) < last:
            return Standing("pass", f"it is an iteration, the last one is {last}")
    record = path.parent / "job.json"
    status = _status(record) if record in others else ""
    if status in ("failed", "killed"):
        return Standing("pass", f"its job of cryoSPARC is {status}")
    if record in others and status != "completed":
        return Standing("wait", f"its job of cryoSPARC is {status or 'not readable now'}")
    passthrough = tuple(sorted(other for other in others if _goes_with(other.name, path.name)))
    if not _declares(path, b"'blob/path'") and not any(_declares(other, b"'blob/path'") for other in passthrough):
        return Standing("pass", "it names no images")
    return Standing("take", finished=record if record in others else None, passthrough=passthrough)


def _goes_with(name: str, main: str) -> bool:
    """Whether `name` is a passthrough file of particles of the same job: J12_passthrough_particles.cs, J12_003_..."""
    match = re.fullmatch(r"(?P<job>.+?)_passthrough_particles(?P<rest>.*)\.cs", name)
    return match is not None and main.startswith(f"{match['job']}_") and main.endswith(f"_particles{match['rest']}.cs")


def _status(record: Path) -> str:
    """What cryoSPARC's record of a job says of it; "" where it is being written."""
    with Roots().open(record, most_bytes=MOST_BYTES) as file:
        try:
            return str(json.loads(file.read()).get("status", ""))
        except (ValueError, AttributeError, RecursionError):
            return ""


def _declares(path: Path, column: bytes) -> bool:
    """Whether a table's head names the column. What is longer than a head, or of a kind unknown here, is read whole."""
    with Roots().open(path) as file:
        head = file.read(HEAD + 1)
    if column in head or len(head) > HEAD:
        return True
    return path.suffix.lower() == ".cs" and not head.startswith(b"\x93NUMPY")
