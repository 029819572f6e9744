"""README.txt: what ran, how long, what each file is, how to open it, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from covaria.findings import Findings
from covaria.tree.inventory import KINDS

HOW_TO_OPEN = """\
How to open
  volumes (.mrc)    ChimeraX: open output/volumes/mean.mrc     (also Chimera, PyMOL, EMAN2)
  arrays (.npy)     python: numpy.load("model/zdim_4/latent_coords.npy")
  pickles (.pkl)    python: pickle.load(open("model/params.pkl", "rb"))     (builtins and numpy only)
  figures (.png)    any viewer
"""


def readme(document: Mapping[str, Any]) -> str:
    """The text for one job.json document."""
    version = document["covaria_version"]
    parts = [
        f"Covaria {version}: {document['command_line']}\n",
        *_found(document),
        _what_ran(document),
        _files(document),
    ]
    parts.append(HOW_TO_OPEN)
    return "\n".join([*parts, "Next\n" + "".join(f"  {line}\n" for line in next_commands(document))])


def next_commands(document: Mapping[str, Any]) -> list[str]:
    """One or two commands that make sense now."""
    out = document["parameters"]["out"]
    zdims = sorted(document["parameters"].get("reconstruction", {}).get("zdim", (10,)))
    zdim = max((z for z in zdims if z <= 10), default=zdims[0])
    stages = document["stages"]
    if document["status"] != "succeeded":
        error = document.get("error")
        again = f"{document['command_line']}     (the same command again resumes from the last finished step)"
        if error:
            return [error["hint"], again] if error["hint"] else [again]
        waiting = next((name for name, stage in stages.items() if stage["status"] == "queued"), None)
        alone = {"reconstruction": f"covaria reconstruct {out}", "density": f"covaria density {out}",
                 "analysis": f"covaria analyze {out} --zdim {zdim}"}  # fmt: skip
        return [alone.get(waiting or "", again)]
    if "analysis" in stages:
        clusters = document["parameters"]["analysis"]["n_clusters"]
        coordinates = f"{out}/analysis_{zdim}/kmeans/centers.txt"
        return [
            f"covaria state {out} --zdim {zdim} --points {coordinates} -o {out}-states     (volumes at any points)",
            f"covaria trajectory {out} --zdim {zdim} --from 0 --to {max(clusters - 1, 1)} -o {out}-path"
            "     (a path between two centres)",
        ]
    if "density" in stages or "reconstruction" in stages:
        return [f"covaria analyze {out} --zdim {zdim}"]
    return [f"covaria reconstruct {out}"]


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
    for name, stage in document["stages"].items():
        seconds, rate = stage.get("seconds"), stage.get("images_per_second")
        took = f"{duration(seconds)}" if seconds is not None else ""
        speed = f"{rate:,.0f} images/s" if rate else ""
        memory = f"{stage['peak_memory_bytes'] / 1e9:.1f} GB" if stage.get("peak_memory_bytes") else ""
        where = stage.get("device") or ""
        lines.append(f"  {name:<16}{stage['status']:<11}{took:>10}  {speed:>16}  {memory:>8}  {where}".rstrip())
    if document.get("error"):
        lines.append(fill(f"{document['error']['type']}: {document['error']['message']}", 110, initial_indent="  "))
    return "\n".join(lines) + "\n"


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
