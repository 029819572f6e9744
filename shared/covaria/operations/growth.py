"""`covaria grow`: the next version of a growing set, and what its versions were.

The update is made in OUT/.covaria/next; OUT is the version before, whole, until the next one is. Killed at any point,
the same call goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from covaria.errors import InvalidInput, RefusedOutput
from covaria.findings import Findings
from covaria.job.ownership import refuse_foreign
from covaria.job.promotion import finish, note_version, promote
from covaria.job.updates import note_refused, under_way
from covaria.operations.one_machine import holding, run_stages
from covaria.operations.updates import made_next, next_request
from covaria.particles.identity import read_rows
from covaria.request.identity import job_identity
from covaria.request.model import Request
from covaria.running.console import patient_console
from covaria.tree import Tree, record
from covaria.tree.book import read_if_sound
from covaria.tree.shapes import RefusedShape, VersionShape
from covaria.tree.versions import next_of, version_numbers


def grow(
    out: Path,
    particles: Path,
    *,
    command_line: str,
    device: str = "auto",
    gpus: str | None = None,
    memory_bytes: int | None = None,
    console: Console | None = None,
    verbose: bool = False,
) -> Tree:
    """The newest version of `particles` in OUT, with the options of the run that began it. OUT's lease is held.

    Images that OUT's version has read are not read again. Where the file is the one that OUT holds, nothing is done.
    Raises InvalidInput (a version that cannot be gone on with: OUT stays as it is, and says why in its history),
    RefusedOutput, Interrupted, and what the stages raise.
    """
    tree = Tree(out.absolute())
    refuse_foreign(tree)
    console = console or patient_console()
    with holding(tree, console) as held:
        final = next_request(held, particles)
        job_id = job_identity(final)
        if (record.read_request(held) or {}).get("job_id") == job_id:
            return tree
        version = int(read_rows(held.growth_rows).version)
        note_version(held, version)
        made = next_of(held)
        asked = _made_in(made, final, held)
        if not _is_finished(made, asked):
            try:
                run_stages(
                    asked, command="grow", command_line=command_line, device=device, gpus=gpus,
                    memory_bytes=memory_bytes, console=console, verbose=verbose,
                )  # fmt: skip
            except InvalidInput as error:
                held.pen.remove(made.out)
                note_refused(held, particles, error)
                raise
        promote(held, final, command_line, version + 1, job_id)
    return tree


def _made_in(made: Tree, final: Request, tree: Tree) -> Request:
    """The same request in the folder where the next version is made; what is there of another is removed."""
    asked = made_next(final)
    there = record.read_request(made) if made.is_ours else None
    if there is not None and (busy := under_way(made)):
        raise RefusedOutput(f"the services are at work on an update, job {busy}", file=tree.out, hint="wait for it")
    if made.out.exists() and (there is None or there["job_id"] != job_identity(asked)):
        tree.pen.remove(made.out)
    return asked


def _is_finished(made: Tree, asked: Request) -> bool:
    there = record.read_request(made) if made.is_ours else None
    return (
        there is not None
        and there["job_id"] == job_identity(asked)
        and record.job_document(made)["status"] == "succeeded"
    )


@dataclass(frozen=True)
class Version:
    """A line of the history. seconds: of the update, all its stages."""

    version: int
    at: str
    particles: int
    used: int
    seconds: float
    findings: Findings

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = self.findings
        return {
            "version": self.version,
            "at": self.at,
            "particles": self.particles,
            "used": self.used,
            "seconds": round(self.seconds, 1),
            "resolution_angstrom": found.resolution_angstrom,
            "confirmed": found.confirmed,
            "z_scores": [one.z_score for one in found.components],
            "refreshed": None if found.growth is None else found.growth.refreshed,
            "moved": None if found.growth is None else found.growth.moved,
            "populations": [
                {"name": one.name, "share": one.population, "low": one.low, "high": one.high}
                for one in found.states
                if one.population is not None
            ],
        }


def history(tree: Tree) -> list[Version]:
    """Every version on record, OUT's own last. Raises InvalidInput where OUT does not grow."""
    if not tree.growth_rows.is_file():
        raise InvalidInput("was not made to grow: it has one version", file=tree.out, hint="see covaria run --growing")
    found = []
    for number in version_numbers(tree):
        book = read_if_sound(tree, tree.version(number), VersionShape)
        if book is not None:
            found.append(_version(book))
    current = int(read_rows(tree.growth_rows).version)
    if not any(one.version == current for one in found):
        document, findings = record.job_document(tree), record.read_findings(tree)
        seconds = {stage: state["seconds"] for stage, state in document["stages"].items()}
        found.append(_version({
            "version": current, "at": document["timing"]["completed_at"] or record.now(), "seconds": seconds,
            "particles": findings.particles or 0, "used": findings.used or 0,
            "findings": findings.model_dump(mode="json", exclude_unset=True),
        }))  # fmt: skip
    return found


def refused(tree: Tree) -> str:
    """Why the last update was refused, "" where none was since the last version."""
    book = read_if_sound(tree, tree.refused, RefusedShape)
    return "" if book is None else f"{book['at']}: {book['particles']} was refused: {book['error']['message']}"


def _version(book: dict[str, Any]) -> Version:
    seconds = sum(value for value in (book.get("seconds") or {}).values() if value)
    found = Findings.model_validate(book["findings"])
    return Version(book["version"], book["at"], book["particles"], book["used"], seconds, found)


__all__ = ["Version", "finish", "grow", "history", "refused"]
