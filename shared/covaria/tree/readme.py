"""README.txt: what ran, how long, what each file is, how to open it, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from covaria.errors import CovariaError
from covaria.findings import Findings
from covaria.opening import ANYWHERE
from covaria.request.model import Request
from covaria.tree.folders import AnalysisTree
from covaria.tree.inventory import KINDS

HOW_TO_OPEN = (
    (".html", "report", "any browser: {}"),
    (".mrc", "volumes", "ChimeraX: open {}     (also Chimera, PyMOL, EMAN2)"),
    (".npy", "arrays", 'python: numpy.load("{}")'),
    (".pkl", "pickles", 'python: pickle.load(open("{}", "rb"))     (builtins and numpy only)'),
    (".png", "figures", "any viewer: {}"),
    (".gif", "movies", "any browser: {}"),
    (".cxc", "ChimeraX", "chimerax {}"),
)
"""Ending, what it is, how it is opened."""
SHOWN_FIRST = (
    "mean_filt.mrc",
    "center000.mrc",
    "state000.mrc",
    "postprocess.mrc",
    "latent_coords.npy",
    "params.pkl",
    "mean_fsc.png",
)
"""The best examples, where they are there."""


MOST_OF_CENTRES = 1 << 20
"""Bytes of their table."""


def readme(document: Mapping[str, Any]) -> str:
    """The text for one job.json document."""
    version = document["covaria_version"]
    parts = [f"Covaria {version}: {document['command_line']}\n", *_found(document), _what_ran(document)]
    return "\n".join([*parts, _files(document), *_how_to_open(document), *_next(document)])


def next_commands(document: Mapping[str, Any]) -> list[str]:
    """The commands that make sense now, as a shell takes them: each does what its comment says when it is given."""
    if "ingest" not in document["parameters"]:  # no stage: a command that makes one folder
        return []
    request = Request.model_validate(document["parameters"], extra="ignore")
    out, zdim = request.out.absolute(), request.analysis_zdim
    if document["status"] != "succeeded":
        if document["command"] == "submit":
            return [f"covaria status {_shell(out)} --follow"]
        return [f"{document['command_line']}     # the same again: it resumes from the last finished step"]
    if request.reconstruction.only_mean and "reconstruction" in document["stages"]:
        return [f"covaria reconstruct {_shell(out)} --no-only-mean --overwrite     # the motion too"]
    if "analysis" in document["stages"]:
        name = "" if request.analysis.name is None else f"_{request.analysis.name}"
        return list(_more_volumes(out, zdim, AnalysisTree(request.analysis.output or out / f"analysis_{zdim}{name}")))
    if "density" in document["stages"] or "reconstruction" in document["stages"]:
        return [f"covaria analyze {_shell(out)} --zdim {zdim}"]
    return [f"covaria reconstruct {_shell(out)}"]


def _more_volumes(out: Path, zdim: int, analysis: AnalysisTree) -> Iterator[str]:
    centers = analysis.centers_txt.absolute()
    try:
        with ANYWHERE.open(centers, most_bytes=MOST_OF_CENTRES) as file:
            known = sum(1 for line in file if line.strip())
    except (CovariaError, OSError):
        return
    states, path = f"{_shell(f'{out}-states')}     # volumes at any points", f"{_shell(f'{out}-path')}"
    yield f"covaria state {_shell(out)} --zdim {zdim} --points {_shell(centers)} -o {states}"
    if known > 1 and analysis.root.absolute() == out / f"analysis_{zdim}":
        ends = f"--zdim {zdim} --from 0 --to {known - 1}"
        yield f"covaria trajectory {_shell(out)} {ends} -o {path}     # a path between two centres"
        cluster = _shell(f"{out}-cluster0")
        yield f"covaria subset {_shell(out)} --cluster 0 -o {cluster}     # its particles, for RELION or cryoSPARC"


def _shell(path: Path | str) -> str:
    return shlex.quote(str(path))


def _how_to_open(document: Mapping[str, Any]) -> Iterator[str]:
    """Nothing but files that are there."""
    paths = [path for kind in document["outputs"].values() for path in kind]
    lines = []
    for ending, what, how in HOW_TO_OPEN:
        these = sorted(path for path in paths if path.endswith(ending))
        first = next(
            (path for name in SHOWN_FIRST for path in these if f"/{path}".endswith(f"/{name}")), *these[:1] or [""]
        )
        if these:
            lines.append(f"  {f'{what} ({ending})':<18}{how.format(first)}\n")
    if lines:
        yield "How to open\n" + "".join(lines)


def _next(document: Mapping[str, Any]) -> Iterator[str]:
    lines = next_commands(document)
    hint = document.get("error", {}).get("hint")
    if lines or hint:
        yield "Next\n" + "".join(f"  {line}\n" for line in ([f"({hint})"] if hint else []) + lines)


def _found(document: Mapping[str, Any]) -> list[str]:
    """What was found, first of all."""
    if "findings" not in document:
        return []
    lines = Findings.model_validate(document["findings"]).lines()
    return [
        "What was found\n"
        + "".join(fill(line, 110, initial_indent="  ", subsequent_indent="    ") + "\n" for line in lines)
    ]


def _what_ran(document: Mapping[str, Any]) -> str:
    lines = [f"What ran (status: {document['status']})"]
    for name, status, took, speed, memory, where in stage_rows(document):
        lines.append(f"  {name:<16}{status:<11}{took:>10}  {speed:>16}  {memory:>8}  {where}".rstrip())
    if document.get("error"):
        lines.append(fill(f"{document['error']['type']}: {document['error']['message']}", 110, initial_indent="  "))
    return "\n".join(lines) + "\n"


def stage_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str, str, str]]:
    """(stage, status, time, rate, memory, device) of each stage, for people."""
    rows = []
    for name, stage in document["stages"].items():
        seconds, rate, memory = stage.get("seconds"), stage.get("images_per_second"), stage.get("peak_memory_bytes")
        rows.append(
            (
                name,
                stage["status"],
                duration(seconds) if seconds is not None else "",
                f"{rate:,.0f} images/s" if rate else "",
                f"{memory / 1e9:.1f} GB" if memory else "",
                stage.get("device") or "",
            )
        )
    return rows


def _files(document: Mapping[str, Any]) -> str:
    lines = ["What each file is"]
    for kind in KINDS:
        paths = document["outputs"].get(kind.name)
        if not paths:
            continue
        shown = paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths)} files)"
        lines += [f"  {shown}", fill(kind.meaning, 110, initial_indent="      ", subsequent_indent="      ")]
    if len(lines) == 1:
        lines.append("  nothing yet")
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """For a person: 12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
