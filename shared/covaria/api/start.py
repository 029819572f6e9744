"""A run from Python: the options, checks and records of `covaria run`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from typing_extensions import Unpack

from covaria.api.opened import Run
from covaria.api.options import RunOptions
from covaria.cli.request import checked
from covaria.cli.together import look_at_inputs, refuse_contradictions
from covaria.errors import InvalidInput
from covaria.operations.one_machine import run_stages
from covaria.reference.keywords import NOT_OF_A_WHOLE_RUN
from covaria.request.model import Request
from covaria.request.options import declared, keyword_of, option_of
from covaria.request.paths import INPUTS, absolute
from covaria.request.stages import STAGES


def run(
    particles: str | PathLike[str],
    out: str | PathLike[str],
    *,
    device: str = "auto",
    memory_gb: float | None = None,
    quiet: bool = False,
    **options: Unpack[RunOptions],
) -> Run:
    """Particles in, ensemble out: what `covaria run` does, resuming what an interrupted run left.

    particles  RELION STAR, cryoSPARC .cs, or .mrcs with poses= and ctf=
    device     auto, cpu, cuda, cuda:n
    memory_gb  budget (default: 60 % of what is free)
    quiet      show no progress
    options    those of docs/options.md by their long names: zdim=(1, 2, 4), n_clusters=6, density=False

    Raises InvalidInput for options or files that cannot be used, RefusedOutput for an `out` that is finished (without
    overwrite=True) or not Covaria's, Interrupted.

    >>> covaria.run("set/particles.star", "out", zdim=(1, 2), n_cluster=2)
    Traceback (most recent call last):
        ...
    covaria.errors.InvalidInput: n_cluster is no option
      -> did you mean n_clusters?
    """
    fields = keywords()
    unknown = [name for name in options if name not in fields]
    if unknown:
        raise InvalidInput(f"{unknown[0]} is no option", hint=_nearest(unknown[0], list(fields)))
    given: dict[str, Any] = {"out": Path(out).absolute(), "ingest.particles": Path(particles)}
    given |= {fields[name]: value for name, value in options.items()}
    flags = {field: name for name, field in fields.items()} | {"out": "out", "ingest.particles": "particles"}
    request = checked(Request, _nested(given), flags)
    refuse_contradictions(request, given, flags)
    request = absolute(request, INPUTS)
    look_at_inputs(request, flags)
    run_stages(
        request, command="run", command_line=command_line(given), device=device,
        memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
        console=Console(quiet=True) if quiet else None,
    )  # fmt: skip
    return Run(request.out)


def keywords() -> dict[str, str]:
    """Every keyword of `run` -> part.field."""
    known = {name: option for name, field in declared(Request).items() if (option := option_of(field)) is not None}
    return {keyword_of(name, option): name for name, option in known.items() if name not in NOT_OF_A_WHOLE_RUN}


def command_line(given: Mapping[str, Any]) -> str:
    """The shell's line that asks for the same."""
    words, known = ["covaria", "run", str(given["ingest.particles"]), "-o", str(given["out"])], declared(Request)
    for name, value in given.items():
        option = option_of(known[name])
        assert option is not None
        long = "--" + (option.name or name.rpartition(".")[2]).replace("_", "-")
        flag = option.flags[-1] if option.flags else long
        if name in ("out", "ingest.particles"):
            continue
        if isinstance(value, bool) or value is None:
            off = option.off or (f"--no-{long[2:]}" if known[name].default is True else "")
            words += [flag] if value and option.help else [off] if not value and off else []
        elif name == "ingest.passthrough":
            words += [word for path in value for word in (flag, str(path))]
        else:
            words += [flag, ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)]
    return shlex.join(words)


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {stage: {} for stage in STAGES}
    for name, value in given.items():
        part, _, field = name.rpartition(".")
        (document[part] if part else document)[field] = value
    return document


def _nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else "docs/options.md lists them"
