"""A new folder of volumes, made whole or not at all, with job.json, command.txt, run.log and README.txt."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covaria.errors import RefusedOutput

if TYPE_CHECKING:
    from covaria.running.context import StageContext
    from covaria.tree import Documents


@dataclass(frozen=True)
class NewFolder:
    """What a command is to make, and from what. `inputs` are the files that it read."""

    command: str
    out: Path
    directory: Path
    overwrite: bool
    device: str
    memory_gb: float | None
    parameters: Mapping[str, Any]
    inputs: tuple[Path, ...] = ()
    kind: type[Documents] | None = None
    """Which table lists its files; None: that of chosen states."""
    mark: str = "state*.mrc"
    """What every such folder holds: only one that holds it is ever replaced."""

    @contextlib.contextmanager
    def filled(self) -> Iterator[tuple[Path, StageContext]]:
        """A folder to fill, which becomes `directory` when all went well; a context with progress and a way to stop.

        Raises RefusedOutput for a directory that holds something, unless it is to be replaced and holds states.
        """
        from covaria.running.console import patient_console
        from covaria.running.context import bookless_context
        from covaria.running.devices import reset_peak_memory, resolve_device
        from covaria.running.stopper import Stopper
        from covaria.tree import ChosenStatesTree, Tree, record
        from covaria.tree.integrity import check_for
        from covaria.tree.publish import publish, refuse_unlisted, staging

        self._refuse_full()
        without_sums = check_for(Tree(self.out), "analysis")
        place = self.directory.absolute().parent
        place.mkdir(parents=True, exist_ok=True)
        console = patient_console()
        with staging(place, f".{self.directory.name}") as folder, Stopper(console) as stopper:
            reset_peak_memory()
            started, began = record.now(), time.monotonic()
            device = resolve_device(self.device)
            memory_bytes = None if self.memory_gb is None else int(self.memory_gb * 1e9)
            log_file = ChosenStatesTree(folder).run_log
            with bookless_context(Tree(self.out), self.command, log_file, device=device, memory_bytes=memory_bytes,
                                  console=console, stopper=stopper) as context:  # fmt: skip
                for stage in without_sums:
                    context.log.warning("%s was made before sums were kept: its files are used as they are", stage)
                yield folder, context
            log = log_file.read_bytes()
            record.write_folder_record(folder, self._document(folder, context, started, time.monotonic() - began), log)
            refuse_unlisted(folder, self.kind or ChosenStatesTree, "")
            publish(folder, self.directory, place)

    def _refuse_full(self) -> None:
        if self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
            if not self.overwrite:
                raise RefusedOutput("is not empty", file=self.directory, hint="give a new folder, or --overwrite")
            if not self.directory.is_dir() or not list(self.directory.glob(self.mark)):
                raise RefusedOutput(
                    f"holds no {self.mark}, so it is not replaced", file=self.directory, hint="give a new folder"
                )

    def _document(self, folder: Path, context: StageContext, started: str, seconds: float) -> dict[str, Any]:
        """job.json of the folder, in the form of a job's."""
        import covaria
        from covaria.running import devices
        from covaria.tree import Tree, record
        from covaria.tree.inventory import inventory
        from covaria.tree.sums import describe_file

        asked = record.read_request(Tree(self.out))
        stage = {
            "status": "succeeded",
            "started_at": started,
            "finished_at": record.now(),
            "seconds": round(seconds, 3),
            "images_per_second": round(context.report.images / seconds, 2) if context.report.images else None,
            "peak_memory_bytes": devices.peak_memory_bytes(),
            "device": context.device,
        }
        return {
            "covaria_version": covaria.__version__,
            "schema_version": record.SCHEMA_VERSION,
            "job_id": asked["job_id"] if asked else "",
            "command": self.command,
            "command_line": shlex.join(["covaria", *sys.argv[1:]]),
            "submitted_at": started,
            "parameters": {"out": str(self.out.absolute()), **self.parameters},
            "inputs": [describe_file(path) for path in self.inputs],
            "status": "succeeded",
            "stages": {self.command: stage},
            "timing": {
                "started_at": started,
                "completed_at": stage["finished_at"],
                "duration_seconds": stage["seconds"],
            },
            "provenance": {"pipeline_result_dir": str(self.out.absolute())},
            "environment": devices.environment(context.device),
            "outputs": inventory(folder),
        }
