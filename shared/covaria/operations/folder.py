"""What is this folder? How far did a run come, is all of it there, what was found, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covaria.errors import MissingFile
from covaria.findings import Findings
from covaria.job.lease import latest
from covaria.tree import Tree, record
from covaria.tree.book import DamagedBook
from covaria.tree.readme import next_commands, stage_rows

WHOLE, NOT_WHOLE, FOREIGN = 0, 1, 2
MOST_NAMED = 3
STANDING = {"succeeded": "finished", "failed": "failed", "cancelled": "cancelled"}
NOBODY = "not finished, and nobody works on it"
SIGNS = (
    ("job.star", "a job of RELION"), ("run.out", "a job of RELION"), ("weights.*.pkl", "a run of cryoDRGN"),
    ("weights.pkl", "a run of cryoDRGN"), ("z.*.pkl", "a run of cryoDRGN"), ("*_particles.cs", "a job of cryoSPARC"),
    ("model/params.pkl", "a run of RECOVAR, or one of Covaria without its .covaria folder"),
    ("metadata.json", "a run of RECOVAR"),
)  # fmt: skip
"""What tells other programs' folders."""
PARTICLES = ("run_data.star", "*_data.star", "particles.star", "*.star", "*_particles.cs", "*.cs")
"""Particle files that may lie in a folder, the likeliest first."""


@dataclass(frozen=True)
class Described:
    """lines for people; exit_code WHOLE, NOT_WHOLE (unfinished, failed, files missing) or FOREIGN (nobody's run)."""

    kind: str
    status: str
    lines: tuple[str, ...]
    next: tuple[str, ...]
    exit_code: int

    def document(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def describe_folder(folder: Path) -> Described:
    """Of any folder; nothing is changed in it. Raises MissingFile."""
    if not folder.is_dir():
        raise MissingFile("is not there", file=folder, hint="give a particle file, or the output directory of a run")
    tree = Tree(folder)
    try:
        if tree.is_ours and record.read_request(tree) is not None:
            return _of_a_run(tree)
        document = record.read_folder_document(folder)
    except DamagedBook as damage:
        line = f"an output directory of Covaria whose records are damaged: {damage.message}"
        return Described("run", "damaged", (line,), (f"covaria verify {shlex.quote(str(folder))}",), NOT_WHOLE)
    if document is not None and "covaria_version" in document:
        return _of_a_part(folder, document)
    return _foreign(folder)


def _of_a_run(tree: Tree) -> Described:
    document = record.job_document(tree)
    document["parameters"]["out"] = str(tree.out.absolute())  # it may have been moved since
    status, lost, at_work = document["status"], list(_lost(tree)), _at_work(tree)
    lines = [f"an output directory of `covaria {document['command']}`: {at_work or STANDING.get(status, NOBODY)}"]
    rows = stage_rows(document)
    lines += [f"  {name:<16}{state:<11}{took:>12}  {rate}".rstrip() for name, state, took, rate, *_ in rows]
    if "findings" in document:
        lines += Findings.model_validate(document["findings"]).lines()
    if tree.early_mean_plot.is_file():
        lines.append(f"a first look at the mean map: {tree.early_mean_plot}")
    if "error" in document:
        lines += [f"why it {status}: {document['error']['message']}"]
        lines += [f"  -> {document['error']['hint']}"] if document["error"]["hint"] else []
    for stage, names, count in lost:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        lines.append(f"missing: {len(names)} of {count} files of {stage} ({', '.join(names[:MOST_NAMED])}{more})")
    following = [_again(document, lost[0][0])] if lost else [] if at_work else next_commands(document)
    exit_code = WHOLE if status == "succeeded" and not lost else NOT_WHOLE
    return Described("run", "incomplete" if lost else status, tuple(lines), tuple(following), exit_code)


def _at_work(tree: Tree) -> str:
    """Who works there, as far as this machine can tell; "" where nobody does."""
    lease = latest(tree)
    if lease is None or lease.released or (lease.process is not None and lease.process.is_gone):
        return ""
    return f"{lease.owner} is at work" if lease.process is not None else f"{lease.owner} is at work, or was cut off"


def _lost(tree: Tree) -> Iterator[tuple[str, list[str], int]]:
    """(stage, names of its files that are not there, how many it made) where some are not."""
    for stage in record.job_document(tree)["stages"]:
        files = (record.read_stage_state(tree, stage) or {}).get("files", {})
        names = [name for name in files if not (tree.out / name).is_file()]
        if names:
            yield stage, names, len(files)


def _again(document: dict[str, Any], stage: str) -> str:
    line = document["command_line"]
    again = line if "--overwrite" in line.split() else f"{line} --overwrite"
    return f"{again}     # makes {stage} and what follows anew"


def _of_a_part(folder: Path, document: dict[str, Any]) -> Described:
    """What one stage or command made, in a folder of its own."""
    files = [name for kind in document["outputs"].values() for name in kind]
    lost = [name for name in files if not (folder / name).is_file()]
    lines = [f"what `covaria {document['command']}` made: {document['status']}, {len(files)} files",
             f"  {document['command_line']}"]  # fmt: skip
    if lost:
        lines.append(f"missing: {len(lost)} of {len(files)} files ({', '.join(lost[:MOST_NAMED])})")
    following = [f"covaria inspect {shlex.quote(str(folder.parent))}"] if Tree(folder.parent).is_ours else []
    whole = document["status"] == "succeeded" and not lost
    return Described("part", document["status"], tuple(lines), tuple(following), WHOLE if whole else NOT_WHOLE)


def _foreign(folder: Path) -> Described:
    if not any(folder.iterdir()):
        line = "an empty folder: a run may write here"
        return Described("empty", "", (line,), (f"covaria run PARTICLES -o {shlex.quote(str(folder))}",), FOREIGN)
    what = next((words for pattern, words in SIGNS if any(folder.glob(pattern))), "")
    found = next((path for pattern in PARTICLES for path in sorted(folder.glob(pattern)) if path.is_file()), None)
    line = "no output directory of Covaria" + (f", but what looks like {what}" if what else "")
    following = (f"covaria inspect {shlex.quote(str(found))}",) if found is not None else ()
    return Described("foreign", "", (line,), following, FOREIGN)
