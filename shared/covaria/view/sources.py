"""Particle files from which a run can be started, and what `covaria inspect` says of one."""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covaria.errors import CovariaError
from covaria.opening import Roots
from covaria.particles.gallery import gallery
from covaria.particles.inspect import inspect
from covaria.plain import explain
from covaria.request.model import IngestOptions
from covaria.tree.own_state import STATE
from covaria.view.command import refuse_outside

SUFFIXES = (".star", ".cs", ".par")
DEPTH, MOST = 4, 300


def particle_files(folders: tuple[Path, ...]) -> list[str]:
    """STAR and .cs files beneath the folders, not inside runs; MOST at most."""
    found: list[str] = []
    for folder in folders:
        for path in _search(folder, DEPTH):
            if len(found) == MOST:
                return found
            found.append(str(path))
    return found


def verdict(particles: Path, roots: Roots) -> dict[str, Any]:
    """`covaria inspect`'s summary, and some images as a picture, where they are there. Raises CovariaError."""
    refuse_outside(particles, roots)
    asked = IngestOptions(particles=particles)
    found = inspect(asked, roots=roots)
    answer: dict[str, Any] = {"summary": found.summary, "complete": found.exit_code == 0, "picture": None, "why": ""}
    with tempfile.TemporaryDirectory(prefix="covaria-view-") as folder:
        picture = Path(folder) / "images.png"
        try:
            gallery(asked, picture, count=12, roots=roots)
        except (CovariaError, OSError) as error:  # the verdict is the answer
            answer["why"] = explain(error).message
        else:
            answer["picture"] = f"data:image/png;base64,{b64encode(picture.read_bytes()).decode()}"
    return answer


def _search(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if any(entry.name == STATE for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_file() and entry.name.endswith(SUFFIXES):
            yield Path(entry.path)
        elif depth > 0 and entry.is_dir():
            yield from _search(Path(entry.path), depth - 1)
