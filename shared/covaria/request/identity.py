"""What a stage's result depends on, as one short hash: changed options or inputs never meet old results."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from covaria.request.model import Request
from covaria.request.paths import input_files
from covaria.request.stages import STAGES


def stage_fingerprint(stage: str, request: Request) -> str:
    """Hash of the options that `stage` and all stages before it read, the seed, and the inputs' sizes and times."""
    values = request.model_dump(mode="json")
    upstream = STAGES[: STAGES.index(stage) + 1]
    facts: dict[str, Any] = {name: values[name] for name in upstream}
    facts["seed"] = values["seed"]
    facts["files"] = [_stamp(path) for path in _inputs(request, upstream)]
    return _hash(facts)


def job_identity(request: Request) -> str:
    """The job id of a request: the same inputs, options and resolved OUT are one job, however often submitted."""
    values = request.model_dump(mode="json", exclude={"overwrite"})
    values["out"] = str(request.out.resolve())
    values["files"] = [_stamp(path) for path in _inputs(request, STAGES)]
    return _hash(values)


def _inputs(request: Request, stages: tuple[str, ...]) -> list[Path]:
    """The input files of these stages, stage by stage; a mask comes after the focus mask, as in all finished runs."""
    named = [file for file in input_files(request) if file.part in stages]
    return [
        file.path for file in sorted(named, key=lambda f: (stages.index(f.part), f.option == "reconstruction.mask"))
    ]


def _stamp(path: Path) -> list[object]:
    """Path, size and modification time; a missing file is itself a fact (the stage will say so)."""
    try:
        status = path.stat()
    except OSError:
        return [str(path.absolute()), None, None]
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _hash(values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
