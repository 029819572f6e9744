"""Sums of files, read in pieces."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from covaria.opening import ANYWHERE
from covaria.request.model import Request
from covaria.request.paths import input_files

PIECE = 1 << 22
MOST_SUMMED = 4 << 30
"""An input file larger than this is named by its size alone: its sum would hold up whoever records the job."""


def sum_of(path: Path) -> dict[str, Any]:
    """{size, sha256} of a regular file."""
    with ANYWHERE.open(path) as file:
        return sum_of_open(file)


def sum_of_open(file: BinaryIO) -> dict[str, Any]:
    """{size, sha256} of what is left to read of a file."""
    size, digest = 0, hashlib.sha256()
    while piece := file.read(PIECE):
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def sum_of_bytes(content: bytes) -> dict[str, Any]:
    """The same of a file that is about to be written."""
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def describe_file(path: Path) -> dict[str, Any]:
    """path, size and sha256 of an input file (not of maps and image stacks: they are large)."""
    entry: dict[str, Any] = {"path": str(path.absolute())}
    if path.is_file():
        entry["size"] = path.stat().st_size
        if path.suffix not in (".mrcs", ".mrc") and entry["size"] <= MOST_SUMMED:
            entry |= sum_of(path)
    return entry


def inputs_of(request: Request) -> list[dict[str, Any]]:
    """Each file that the request names as its input."""
    return [describe_file(file.path) for file in input_files(request)]
