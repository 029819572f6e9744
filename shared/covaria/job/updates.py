"""An update of a growing set as a job: made in OUT/.covaria/next, put in OUT's place when its last stage is done.

At most one is under way. Of those that wait the newest wins: OUT's books say which, and an older one lets go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from covaria.errors import CovariaError, RefusedOutput
from covaria.job.books import Books
from covaria.job.promotion import note_version, promote
from covaria.request.model import Request
from covaria.tree import Tree, record
from covaria.tree.book import read_if_sound, write_book
from covaria.tree.shapes import PromotionShape, VersionShape, WantedShape
from covaria.tree.versions import becomes, next_of, version_numbers

LOOKED_AT = 20
"""Versions whose job's id is looked at: a message that comes so late is a new update, without news."""


@dataclass(frozen=True)
class Standing:
    """Where an update stands; of any other job, all of it is false.

    in_place: OUT has become it, or becomes it; behind: the later update that takes its place, "" where there is none;
    busy: the update that is under way, "" where it is this one or none
    """

    update: bool = False
    in_place: bool = False
    behind: str = ""
    busy: str = ""


NO_UPDATE = Standing()


def growing_set(made: Tree) -> Tree | None:
    """OUT, of OUT/.covaria/next; None of any other folder."""
    out = becomes(made.out)
    return None if out == made.out else Tree(out)


def standing(made: Tree, job_id: str, asked_at: str) -> Standing:
    """Where the update `job_id`, asked for at that time, stands. Raises DamagedBook, OSError."""
    tree = growing_set(made)
    if tree is None:
        return NO_UPDATE
    moving = read_if_sound(tree, tree.promotion, PromotionShape)
    if is_in_place(tree, job_id) or (moving is not None and moving["job_id"] == job_id):
        return Standing(update=True, in_place=True)
    holder = record.read_request(made)
    if holder is not None and holder["job_id"] == job_id:
        return Standing(update=True)
    newest = read_if_sound(tree, tree.wanted, WantedShape)
    if newest is not None and newest["job_id"] != job_id and _earlier(asked_at, newest["at"]):
        return Standing(update=True, behind=newest["job_id"])
    return Standing(update=True, busy=under_way(made))


def note_wanted(made: Tree, job_id: str, asked_at: str) -> None:
    """Write down that this update is the newest, where it is."""
    tree = growing_set(made)
    if tree is None or not tree.is_ours:
        return
    newest = read_if_sound(tree, tree.wanted, WantedShape)
    if newest is None or (newest["job_id"] != job_id and _earlier(newest["at"], asked_at)):
        write_book(tree, tree.wanted, {"job_id": job_id, "at": asked_at or record.now()})


def is_in_place(tree: Tree, job_id: str) -> bool:
    """Whether OUT is, or was, what this update made."""
    asked = record.read_request(tree)
    if asked is not None and asked["job_id"] == job_id:
        return True
    books = (read_if_sound(tree, tree.version(number), VersionShape) for number in version_numbers(tree)[-LOOKED_AT:])
    return any(book is not None and book["job_id"] == job_id for book in books)


def under_way(made: Tree) -> str:
    """The job of the services that is to be the next version; "" where none is, or it has failed or was cancelled."""
    asked = record.read_request(made)
    if asked is None or not made.submission.is_file():
        return ""
    books = Books(made, asked["job_id"])
    parked = any((books.read_delivery(stage) or {}).get("state") == "parked" for stage in asked["stages"])
    ended = parked or books.is_cancelled() or record.job_document(made)["status"] in ("failed", "cancelled")
    return "" if ended else str(asked["job_id"])


def refuse_no_update(request: Request) -> None:
    """Raise RefusedOutput for a job in OUT/.covaria/next that is no update of OUT."""
    made = Tree(request.out)
    tree = growing_set(made)
    if tree is None:
        return
    if request.ingest.grown_from is None or request.ingest.grown_from.absolute() != tree.growth_memory.absolute():
        raise RefusedOutput("is where OUT's next version is made", file=made.out, hint="give another folder with -o")
    if not tree.is_ours or record.job_document(tree)["status"] != "succeeded" or not tree.growth_memory.is_file():
        raise RefusedOutput("has no finished version to go on from", file=tree.out, hint="finish its run first")


def put_in_place(tree: Tree, job_id: str, command_line: str) -> None:
    """Make OUT what the finished update `job_id` made; nothing where that is done. `tree` is OUT, with the pen."""
    made = next_of(tree)
    asked = record.read_request(made)
    if is_in_place(tree, job_id) or asked is None or asked["job_id"] != job_id:
        return
    request = Request.model_validate(asked["request"], extra="ignore")
    ingest = request.ingest.model_copy(update={"grown_from": None})
    final = request.model_copy(update={"out": tree.out, "ingest": ingest, "overwrite": False})
    version = version_of(tree)
    note_version(tree, version)
    promote(tree, final, command_line, version + 1, job_id)


def version_of(tree: Tree) -> int:
    """Which version OUT is."""
    growth = record.read_findings(tree).growth
    if growth is None:
        raise RefusedOutput("does not say which version it is", file=tree.out, hint="was it made with --growing?")
    return growth.version


def note_refused(tree: Tree, particles: Path, error: CovariaError | Mapping[str, str]) -> None:
    """Write down in OUT why an update was refused."""
    said = record.error_record(error) if isinstance(error, CovariaError) else dict(error)
    write_book(tree, tree.refused, {"at": record.now(), "particles": str(particles), "error": said})


def _earlier(one: str, other: str) -> bool:
    """Whether the first was asked for before the second; what has no time has come now."""
    try:
        return datetime.fromisoformat(one) < datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return False
