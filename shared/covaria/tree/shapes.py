"""What each book in OUT/.covaria must hold to be believed."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from covaria.feedback import PLACE_KINDS, Foreseen, Places
from covaria.request.options import MAX_NAME, MAX_PATH
from covaria.request.origin import Origin
from covaria.request.stages import StageName
from covaria.tree.book import Shape


def _instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without its zone")
    return text


def _file_name(text: str) -> str:
    parts = text.split("/")
    odd = "\0" in text or "" in parts[1:] or {".", ".."} & {*parts}
    if odd or text in ("", "/") or len(text) > MAX_PATH or any(len(os.fsencode(part)) > MAX_NAME for part in parts):
        raise ValueError("not the name of a file")
    return text


Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Word = Annotated[str, Field(max_length=4096)]
Instant = Annotated[str, Field(max_length=64), AfterValidator(_instant)]
"""A time with its zone, ISO 8601."""
Count = Annotated[int, Field(ge=0)]
MOST_MICROGRAPHS = 100_000
"""Of more, no names are kept."""
FileName = Annotated[str, AfterValidator(_file_name)]
"""Beneath OUT, its parts divided by /; the whole path of a file outside."""


class RequestShape(Shape):
    """request.json: what was asked for."""

    job_id: Annotated[str, Field(min_length=1, max_length=256)]
    command: Word
    command_line: Annotated[str, Field(max_length=1 << 20)]
    command_lines: list[str]
    stages: Annotated[list[StageName], Field(min_length=1)]
    submitted_at: Instant
    inputs: list[dict[str, Any]]
    request: dict[str, Any]
    generations: dict[StageName, Word] = Field(default_factory=dict)
    origin: Origin = Origin()


class DocumentShape(Shape):
    """job.json, read where request.json is damaged."""

    job_id: Annotated[str, Field(min_length=1, max_length=256)]
    command: Word
    command_line: Annotated[str, Field(max_length=1 << 20)]
    submitted_at: Instant
    parameters: dict[str, Any]
    inputs: list[dict[str, Any]]
    origin: Origin = Origin()
    stages: Annotated[dict[StageName, dict[str, Any]], Field(min_length=1)]


class FileSum(Shape):
    """A file that a stage made."""

    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ErrorShape(Shape):
    """Why a stage failed."""

    type: str
    message: str
    hint: str = ""


class StageShape(Shape):
    """state.json: what is known of a stage."""

    status: Status
    job_id: Word | None = None
    fingerprint: Word = ""
    generation: Word = ""
    started_at: Instant | None = None
    finished_at: Instant | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    peak_memory_bytes: Count | None = None
    preemptions: Count = 0
    """How often it has made room for live work."""
    device: Word | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    error: ErrorShape | None = None
    files: dict[FileName, FileSum] = Field(default_factory=dict)


class NotesShape(Shape):
    """notes.json: what a user should know of a stage's input or result."""

    notes: list[str]


class DocumentsShape(Shape):
    """documents.json: the sums of what is made from the books."""

    files: dict[FileName, FileSum] = Field(default_factory=dict)


class SubmissionShape(Shape):
    """submission.json: the job as it was submitted."""

    job_id: Word
    submitted_at: Word = ""
    traceparent: Word = ""
    data: dict[str, Any]


class SupersededShape(Shape):
    """superseded.json: the jobs that this one replaced."""

    job_ids: list[str]


class CleanedShape(Shape):
    """cleaned.json: what was removed to make room."""

    removed: list[dict[str, Any]]


class DeliveryShape(Shape):
    """delivery.json: what became of a stage's message."""

    job_id: Word
    state: Word
    at: Instant | None = None
    attempt: int | None = None
    worker: Word = ""
    reason: Word = ""
    error: str = ""


class PriorityShape(Shape):
    """priority.json: in which class the job's later stages wait."""

    job_id: Word
    job_class: Literal["live", "bulk"]
    at: Instant | None = None


class HandoverShape(Shape):
    """handover.json: the next stage's message is safe at the broker."""

    job_id: Word
    message_id: str | None = None


class ProgressShape(Shape):
    """progress.json: how far a stage is."""

    step: Word
    done: Count
    total: Count
    unit: Word = ""
    per_second: float | None = None
    seconds_left: float | None = None
    at: Instant | None = None


class PromotionShape(Shape):
    """promotion.json: a finished update that is being put in place."""

    moves: dict[str, int]
    command_line: Annotated[str, Field(max_length=1 << 20)]
    request: dict[str, Any]
    stages: Annotated[list[StageName], Field(min_length=1)]
    version: Count
    job_id: Word
    fingerprints: dict[str, Word]


class VersionShape(Shape):
    """version.json: what a version of a growing set found."""

    version: Count
    at: Instant
    job_id: Word
    particles: Count
    used: Count
    findings: dict[str, Any]


class WantedShape(Shape):
    """wanted.json: the newest update that was asked for."""

    job_id: Word
    at: Instant


class RefusedShape(Shape):
    """refused.json: the last update that was refused."""

    at: Instant
    particles: Word
    error: ErrorShape


class MicrographsShape(Shape):
    """micrographs.json: their names, in the order of their numbers."""

    names: Annotated[list[Word], Field(max_length=MOST_MICROGRAPHS)]


class PlacesShape(Shape):
    """places.json: how good the images of each place are."""

    kinds: Annotated[list[Places], Field(max_length=len(PLACE_KINDS))]


class ForeseenShape(Shape):
    """foreseen.json: what more images would show."""

    foreseen: Annotated[list[Foreseen], Field(max_length=8)]


SHAPES: dict[str, type[Shape]] = {
    "request.json": RequestShape,
    "state.json": StageShape,
    "notes.json": NotesShape,
    "documents.json": DocumentsShape,
    "submission.json": SubmissionShape,
    "superseded.json": SupersededShape,
    "delivery.json": DeliveryShape,
    "handover.json": HandoverShape,
    "progress.json": ProgressShape,
    "micrographs.json": MicrographsShape,
    "places.json": PlacesShape,
    "foreseen.json": ForeseenShape,
    "promotion.json": PromotionShape,
    "version.json": VersionShape,
    "wanted.json": WantedShape,
    "refused.json": RefusedShape,
    "cleaned.json": CleanedShape,
}
"""By the book's name; a copy has its book's."""
