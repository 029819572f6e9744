"""`covaria run --dry-run`: the stages, what each makes, and what that takes of memory, disk and time."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from covaria.request.disk import disk_bytes, volumes
from covaria.request.duration import stage_seconds
from covaria.request.model import Request
from covaria.request.stages import WITHOUT_DEVICE, StageName, planned_stages

KEPT_SHARE = 3
"""The images take a third of the memory, else they go to a scratch file."""


@dataclass(frozen=True)
class Facts:
    """What is known before anything is computed. `box` is that of the file."""

    total: int
    used: int
    box: int
    pixel_size_angstrom: float
    memory_bytes: int
    cores: int
    device: str


@dataclass(frozen=True)
class Step:
    """One stage: what it makes, the bytes that stay on disk, seconds (None: nothing was measured)."""

    stage: StageName
    makes: str
    disk_bytes: int
    seconds: float | None


def plan(request: Request, facts: Facts) -> list[Step]:
    """The stages that would run, in their order."""
    seconds = stage_seconds(request, used=facts.used, box=_box(request, facts), cores=facts.cores)
    return [_step(stage, request, facts, seconds[stage]) for stage in planned_stages(request)]


def describe(request: Request, facts: Facts) -> tuple[list[str], bool]:
    """The plan as a person reads it, and whether the disks have room."""
    steps = plan(request, facts)
    box = _box(request, facts)
    pixel = facts.pixel_size_angstrom * facts.box / box
    lines = [
        f"{facts.used:,} of {facts.total:,} particles, {facts.box} pixels of {facts.pixel_size_angstrom:.4g} A"
        + (f" -> {box} pixels of {pixel:.4g} A" if box != facts.box else "")
    ]
    lines += [
        f"{step.stage:<15}{step.makes:<72}{_bytes(step.disk_bytes):>9}{_about(step.seconds):>14}" for step in steps
    ]
    where, scratch = _image_store(facts, box)
    lines.append(f"memory         {_bytes(facts.memory_bytes)} to be kept to; the images lie in {where}")
    room = True
    for what, folder, needed in (
        ("disk", _existing(request.out.absolute()), sum(step.disk_bytes for step in steps)),
        ("scratch", Path(tempfile.gettempdir()), scratch),
    ):
        free = shutil.disk_usage(folder).free
        if needed:
            verdict = "" if needed < free else ": too little"
            lines.append(f"{what:<15}{_bytes(needed)} needed, {_bytes(free)} free at {folder}{verdict}")
            room = room and needed < free
    seconds = None if facts.device != "cpu" else sum(step.seconds or 0 for step in steps)
    lines.append(f"time           {_about(seconds).strip() or 'less than on the CPU; not measured on this device'}")
    return lines, room


def in_short(request: Request, facts: Facts) -> str:
    """Time, memory and disk in one line."""
    steps = plan(request, facts)
    seconds = None if facts.device != "cpu" else sum(step.seconds or 0 for step in steps)
    time = _about(seconds) or f"not measured on {facts.device}"
    where, _ = _image_store(facts, _box(request, facts))
    disk = sum(step.disk_bytes for step in steps)
    return f"{time} on {facts.cores} cores, images in {where}, {_bytes(disk)} of disk"


def _step(stage: StageName, request: Request, facts: Facts, seconds: float) -> Step:
    box, zdims = _box(request, facts), request.reconstruction.zdim
    components = max(zdims)
    if stage == "ingest":
        small = box != facts.box
        makes = f"a stack of {facts.total:,} x {box} x {box}" if small else "checks every image; no new stack"
    elif stage == "reconstruction" and request.reconstruction.only_mean:
        makes = f"mean and half-maps, {box}^3"
    elif stage == "reconstruction":
        makes = f"mean, {components} components of {box}^3, {facts.total:,} coordinates at zdim {_words(zdims)}"
    elif stage == "density":
        dim = request.density.dim or min(2, request.density.zdim or components)
        makes = f"a density in {dim} dimension{'s' if dim > 1 else ''}"
    else:
        options = request.analysis
        paths = f"{options.n_trajectories} path{'s' if options.n_trajectories != 1 else ''}"
        made = f"{volumes(request)} volumes of {box}^3"
        makes = f"{options.n_clusters} centres, {paths} of {options.n_vols_along_path}: {made}"
    disk = disk_bytes(stage, request, total=facts.total, box=box, downsampled=box != facts.box)
    measured = facts.device == "cpu" or stage in WITHOUT_DEVICE
    return Step(stage, makes, disk, seconds if measured else None)


def _box(request: Request, facts: Facts) -> int:
    asked = request.ingest.downsample
    return asked if asked is not None and asked < facts.box else facts.box


def _image_store(facts: Facts, box: int) -> tuple[str, int]:
    """Where the images' pixels will lie, and the bytes of the scratch file."""
    pixels = round(math.pi * (box // 2 - 1) ** 2 / 2)
    half = 2 * 2 * pixels * facts.used
    for precision, needed in (("single precision", 2 * half), ("half precision", half)):
        if needed <= facts.memory_bytes // KEPT_SHARE:
            return f"memory in {precision}, {_bytes(needed)}", 0
    return "a scratch file", half


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.is_dir())


def _words(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _about(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
