"""Runs that the page starts: `covaria run` in processes of their own, or `covaria submit` where there are services.

A run outlives the server: what it does stands in its folder, where the list of runs finds it. Here is kept only what a
process says that ends before it has a folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from covaria.errors import CovariaError, InvalidInput, RefusedOutput
from covaria.explorer.run_files import RunFiles
from covaria.operations.jobs_on_disk import cancel
from covaria.particles.symmetry import copies_of
from covaria.plain import printable
from covaria.selection.handoff import source_of, source_rows
from covaria.selection.model import Selection
from covaria.tree import atomic
from covaria.view.command import arguments, process, refuse_outside, stored
from covaria.view.folder import HERE, Folder
from covaria.view.subsets import rows_of

MOST_AT_ONCE = 2
NAME = re.compile(r"\w[\w.-]{0,99}")
LAST_BYTES = 2000
BROKER = "COVARIA_BROKER_URL"


@dataclass
class Started:
    """A process, the command line it runs, where its words go."""

    name: str
    line: str
    running: subprocess.Popen[bytes]
    words: int
    """A file without a name."""

    def state(self) -> dict[str, Any]:
        """As the page shows it."""
        code = self.running.poll()
        status = "running" if code is None else "succeeded" if code == 0 else "failed"
        return {"name": self.name, "line": self.line, "status": status, "said": self._said()}

    def _said(self) -> str:
        size = os.fstat(self.words).st_size
        last = os.pread(self.words, LAST_BYTES, max(0, size - LAST_BYTES))
        return printable(last.decode(errors="replace")).strip()


@dataclass
class Jobs:
    """What may be started beneath a folder of runs."""

    folder: Folder
    command: str = field(default_factory=lambda: "submit" if os.environ.get(BROKER) else "run")
    started: list[Started] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        if HERE in self.folder.names():
            raise InvalidInput(
                "is one run: new ones have no place in it", file=self.folder.path,
                hint="give the folder that holds it, or leave out --allow-jobs",
            )  # fmt: skip

    def line(self, particles: Path, name: str, said: Mapping[str, str]) -> list[str]:
        """The words after `covaria`. Raises InvalidInput, OutsideRoots, RefusedOutput."""
        refuse_outside(particles, self.folder.roots)
        return [self.command, *arguments(particles, self._new(name), said, self.folder.roots)]

    def start(self, particles: Path, name: str, said: Mapping[str, str]) -> dict[str, Any]:
        """Start a run with the options of a form; what `state` will say of it. Raises as `line`, and CovariaError."""
        return self._start(name, self.line(particles, name, said))

    def again(self, run: RunFiles, name: str, selection: Selection, *, only_mean: bool) -> dict[str, Any]:
        """The same run with the selected particles alone: its mean map, or everything."""
        ingest = source_of(run.tree, roots=self.folder.roots)
        keep = source_rows(rows_of(run, selection), copies_of(ingest))
        if not keep.any():
            raise InvalidInput("no particle is selected", hint="draw a larger region")
        rows = self._new(name).with_name(f"{name}.indices.pkl")
        said = stored(run.request) | {"ingest.ind": str(rows)}
        said.pop("ingest.n_images", None)  # no other row is ever selected
        if only_mean:
            said["reconstruction.only_mean"] = "true"
        line = self.line(ingest.particles, name, said)
        atomic.write_pickle(rows, np.flatnonzero(keep))
        return self._start(name, line)

    def cancel(self, name: str) -> None:
        """Put the cancel file into a run's folder."""
        cancel(self.folder.out(name))

    def state(self) -> list[dict[str, Any]]:
        """What was started from here, latest first."""
        return [one.state() for one in reversed(self.started)]

    def _start(self, name: str, line: list[str]) -> dict[str, Any]:
        with self.lock:
            if self.command == "run" and sum(one.running.poll() is None for one in self.started) >= MOST_AT_ONCE:
                raise CovariaError(f"{MOST_AT_ONCE} runs are going on here", hint="wait for one to end")
            words, name_of_words = tempfile.mkstemp()
            Path(name_of_words).unlink()
            # No shell; the words are a command of ours with its options, checked when the request was read.
            running = subprocess.Popen(  # nosec B603
                process(line[0], line[1:]), stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT,
                cwd=self.folder.path, start_new_session=True,
            )  # fmt: skip
            self.started.append(Started(name, shlex.join(["covaria", *line]), running, words))
            return self.started[-1].state()

    def _new(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidInput(f"no name for a run: {name!r}", hint="letters, digits, _ - and .")
        out = self.folder.path / name
        if out.exists():
            raise RefusedOutput("is there already", file=out, hint="choose another name")
        return out
