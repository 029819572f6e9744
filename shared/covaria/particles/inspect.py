"""What is in a particle file, said before anything runs: also where the stacks are missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.opening import ANYWHERE, Roots
from covaria.particles.assemble import assemble, checked_box
from covaria.particles.cryodrgn.export import Exported, export_pickles, missing_for_ctf, missing_for_poses
from covaria.particles.metadata import CTF_FIELDS, Metadata
from covaria.particles.plausible import doubts
from covaria.particles.read import read_metadata
from covaria.particles.stacks.locate import LocatedStacks, locate_stacks, search_stacks
from covaria.particles.stacks.mrc import read_header
from covaria.particles.verdict import verdict
from covaria.particles.views import views_of
from covaria.request.model import IngestOptions

COMPLETE, INCOMPLETE = 0, 1


@dataclass(frozen=True)
class Inspection:
    """`summary` is ready for JSON; `exit_code` 0: complete, 1: something is missing (2, refused, is an exception)."""

    summary: dict[str, Any]
    exit_code: int


def inspect(options: IngestOptions, *, roots: Roots = ANYWHERE, export: Path | None = None) -> Inspection:
    """Describe the input; with `export`, write poses.pkl and ctf.pkl there. Raises InvalidInput for what is broken.

    Missing stacks are listed. They make the input incomplete, but not the pickles, which do not need them.
    """
    described = read_metadata(options, roots=roots)
    metadata, used, stacks = described.metadata, described.used, described.stacks
    if export is not None:  # the pickles say nothing about what our CTF leaves out
        metadata = replace(metadata, aberrations=())
    for check in metadata.checks:
        check.enforce(used)
    absent: list[str] = []
    box = metadata.box
    if stacks is None:
        search = search_stacks(metadata, used, options, roots)
        absent = search.absent
        if not absent:
            stacks = locate_stacks(metadata, used, options, roots)
        elif box is None:
            found = next((path for path in search.paths if path is not None), None)
            box = read_header(found, roots).width if found is not None else None
    if stacks is not None:
        box = checked_box(metadata, stacks)
        metadata = metadata.with_notes(*stacks.notes)
    poses_missing, ctf_missing = missing_for_poses(metadata, box), missing_for_ctf(metadata, box)
    if stacks is not None and not poses_missing and not ctf_missing:
        particles = assemble(replace(described, metadata=metadata, stacks=stacks), options, roots)
        metadata = replace(metadata, notes=tuple(dict.fromkeys(particles.notes)))
    summary = describe(metadata, used, box=box, stacks=stacks, absent=absent)
    views = None if metadata.rotations is None else views_of(metadata.rotations[used])
    summary["views"] = None if views is None else {"text": str(views), **asdict(views)}
    doubtful = [views.doubt] if views is not None and views.doubt else []
    summary["doubts"] = [*doubts(metadata, used, no_ctf=options.no_ctf), *doubtful]
    summary["verdict"] = verdict(summary)
    complete = not (poses_missing or ctf_missing or absent)
    if export is not None:
        exported = export_pickles(metadata, box, export)
        beyond = [name for name in metadata.ctf if name not in CTF_FIELDS]
        beyond += [name for name in ("odd_phase", "even_phase", "applied") if getattr(metadata, name) is not None]
        if beyond:
            summary["notes"].append(f"ctf.pkl has no column for what the file says of {', '.join(beyond)}")
        summary["export"] = _export_summary(exported)
        complete = not exported.missing
    return Inspection(summary, COMPLETE if complete else INCOMPLETE)


def describe(
    metadata: Metadata,
    used: NDArray[np.bool_],
    *,
    box: int | None,
    stacks: LocatedStacks | None,
    absent: list[str],
) -> dict[str, Any]:
    """A summary ready for JSON: counts, ranges, optics groups, half-sets, stacks, what is missing, notes.

    All but the number of particles and of stacks is of the rows in use.
    """
    return {
        "source": str(metadata.source),
        "particles": metadata.count,
        "in_use": int(used.sum()),
        "box_pixels": box,
        "pixel_size_angstrom": metadata.pixel_size_angstrom,
        "nyquist_angstrom": 2 * metadata.pixel_size_angstrom if metadata.pixel_size_angstrom else None,
        "poses": _describe_poses(metadata, used, box),
        "ctf": {name: _range(values[used]) for name, values in _readable_ctf(metadata).items()},
        "optics_groups": _describe_groups(metadata, used),
        "half_sets": None
        if metadata.half_set is None
        else [int(np.sum(metadata.half_set[used] == half)) for half in (0, 1)],
        "micrographs": None if metadata.micrograph is None else len(np.unique(metadata.micrograph[used])),
        "stacks": _describe_stacks(metadata, stacks, absent),
        "missing": {
            "poses": missing_for_poses(metadata, box),
            "ctf": missing_for_ctf(metadata, box),
            "stacks": absent,
        },
        "notes": list(metadata.notes),
    }


def _export_summary(exported: Exported) -> dict[str, Any]:
    return {"written": [str(path) for path in exported.written], "missing": exported.missing}


def _describe_poses(metadata: Metadata, used: NDArray[np.bool_], box: int | None) -> dict[str, Any] | None:
    if metadata.rotations is None or metadata.shifts is None:
        return None
    summary: dict[str, Any] = {"shift_unit_in_file": metadata.shifts.unit}
    if box is not None and (metadata.pixel_size_angstrom is not None or metadata.shifts.unit != "angstrom"):
        pixels = metadata.shifts.pixels(box, metadata.pixel_size_angstrom or 1.0)[used]
        summary["shift_pixels"] = _range(np.hypot(pixels[:, 0], pixels[:, 1]))
    return summary


def _readable_ctf(metadata: Metadata) -> dict[str, NDArray[np.float64]]:
    """Angles in degrees, as people read them."""
    columns = {}
    for name, values in metadata.ctf.items():
        if name.endswith("_rad"):
            columns[name.removesuffix("_rad") + "_degree"] = np.rad2deg(values)
        else:
            columns[name] = values
    return columns


def _range(values: NDArray[np.float64]) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {}
    return {"lowest": float(finite.min()), "median": float(np.median(finite)), "highest": float(finite.max())}


def _describe_groups(metadata: Metadata, used: NDArray[np.bool_]) -> list[dict[str, Any]]:
    if metadata.optics_group is None:
        return []
    groups = []
    for code in np.unique(metadata.optics_group[used]):
        rows = (metadata.optics_group == code) & used
        entry: dict[str, Any] = {"name": metadata.optics_names[code], "particles": int(rows.sum())}
        for name in ("voltage_kv", "spherical_aberration_mm", "amplitude_contrast"):
            if name in metadata.ctf:
                values = np.unique(metadata.ctf[name][rows])
                entry[name] = float(values[0]) if len(values) == 1 else [float(values[0]), float(values[-1])]
        groups.append(entry)
    return groups


def _describe_stacks(metadata: Metadata, stacks: LocatedStacks | None, absent: list[str]) -> dict[str, Any]:
    named = len(metadata.stack_names) or (len(stacks.headers) if stacks else 0)
    summary: dict[str, Any] = {"named": named, "missing": len(absent)}
    if stacks is not None:
        summary["images"] = sum(header.count for header in stacks.headers)
        summary["bytes"] = sum(header.count * header.image_bytes for header in stacks.headers)
        summary["number_types"] = sorted({str(header.dtype) for header in stacks.headers})
        summary["first"] = str(stacks.first)
    return summary
