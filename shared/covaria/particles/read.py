"""From the options of one run to `Particles`: every file named is checked, every contradiction is an error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.cryodrgn.tables import read_ctf, read_halfsets, read_index, read_poses
from covaria.particles.cryosparc.particles import read_cryosparc
from covaria.particles.metadata import Metadata, Shifts, agreed, fill_from_options
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.paths import PathGuard, checked_file
from covaria.particles.stacks.locate import LocatedStacks, locate_stacks, plain_stacks
from covaria.particles.stacks.mrc import COMPRESSED
from covaria.particles.star.relion import read_relion
from covaria.particles.symmetry import expand, point_group
from covaria.request.model import IngestOptions

STACK_SUFFIXES = (".mrcs", ".mrc", ".txt")


def kind_of(path: Path) -> str:
    """ "star", "cs" or "stack", from the name. Raises InvalidInput."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last == ".star":
        return "star"
    if last == ".cs":
        return "cs"
    if last in STACK_SUFFIXES or (last in COMPRESSED and len(suffixes) > 1 and suffixes[-2] in (".mrc", ".mrcs")):
        return "stack"
    raise InvalidInput(
        "this kind of file is not known", file=path, hint="give .star, .cs, .mrcs, .mrc (also .gz, .bz2) or .txt"
    )


@dataclass(frozen=True)
class Described:
    """All that the metadata files say, and the stacks as far as they were looked for."""

    metadata: Metadata
    stacks: LocatedStacks | None
    star: Path | None = None
    """The RELION 3.1+ file that says all of it (nothing was filled in or overridden): its other columns can be kept."""


def read_metadata(options: IngestOptions, *, guard: PathGuard | None = None) -> Described:
    """Metadata, pickles and options merged; stacks are opened only where they are the input. Raises InvalidInput."""
    path = checked_file(options.particles, guard, what="the particle file")
    if options.symmetry:
        point_group(options.symmetry)  # a wrong name is refused before anything is read
    stacks = None
    kind = kind_of(options.particles)
    if kind == "star":
        metadata = read_relion(path, source=options.particles)
    elif kind == "cs":
        passthrough = [
            (given, checked_file(given, guard, what="the passthrough file")) for given in options.passthrough
        ]
        metadata = read_cryosparc(path, passthrough, source=options.particles)
    else:
        stacks = plain_stacks(path, options, guard)
        metadata = Metadata(
            source=options.particles, count=len(stacks), column_names={"rotations": "poses", "shifts": "translations"}
        )
    if kind != "cs" and options.passthrough:
        raise InvalidInput(
            "passthrough files belong to a .cs file", file=options.particles, hint="leave --passthrough out"
        )
    metadata = _with_pickles(metadata, options, guard, stacks)
    star = path if kind == "star" and _says_all(metadata, options) else None
    return Described(fill_from_options(metadata, options), stacks, star)


def _says_all(metadata: Metadata, options: IngestOptions) -> bool:
    given = (options.poses, options.ctf, options.voltage, options.cs, options.amplitude_contrast, options.pixel_size)
    return metadata.in_optics_groups and all(value is None for value in given)


def read_particles(options: IngestOptions, *, guard: PathGuard | None = None) -> Particles:
    """Everything about the particles except their pixels, which `Particles.images` reads on demand.

    Raises InvalidInput (MissingFile for a file that is not there): file, row, column, what was found, the remedy.
    """
    particles = assemble(read_metadata(options, guard=guard), options, guard)
    return expand(particles, options.symmetry) if options.symmetry else particles


def assemble(described: Described, options: IngestOptions, guard: PathGuard | None = None) -> Particles:
    """Find the stacks and check everything against everything; symmetry is not expanded yet. Raises InvalidInput."""
    metadata = described.metadata
    stacks = described.stacks or locate_stacks(metadata, options, guard)
    box = checked_box(metadata, stacks)
    metadata = metadata.with_notes(*stacks.notes)
    pixel_size, metadata = _pixel_size(metadata, stacks, box)
    rotations, shifts = _required_poses(metadata)
    ctf = _required_ctf(metadata)
    used = used_rows(metadata.count, options, guard)
    for check in metadata.checks:
        check.enforce(used)
    translations = shifts.pixels(box, pixel_size)
    _refuse_far_origins(translations, box, used, metadata)
    half_set = metadata.half_set
    if options.halfsets is not None:
        half_path = checked_file(options.halfsets, guard, what="the half-set file")
        half_set = read_halfsets(half_path, metadata.count, shown=options.halfsets)
        _refuse_unassigned(half_set, used, options.halfsets)
    return Particles(
        source=options.particles,
        box=box,
        pixel_size_angstrom=pixel_size,
        rotations=rotations,
        translations=translations,
        ctf=ctf,
        optics_group=metadata.optics_group
        if metadata.optics_group is not None
        else np.zeros(metadata.count, dtype=np.int64),
        half_set=half_set if half_set is not None else np.full(metadata.count, -1, dtype=np.int8),
        micrograph=metadata.micrograph
        if metadata.micrograph is not None
        else np.full(metadata.count, -1, dtype=np.int64),
        used=used,
        images=stacks.images(box),
        notes=metadata.notes,
    )


def used_rows(count: int, options: IngestOptions, guard: PathGuard | None = None) -> NDArray[np.bool_]:
    """(count,) True for rows left by --ind and --n-images. Raises InvalidInput when none is left."""
    used = np.ones(count, dtype=bool)
    if options.ind is not None:
        rows = read_index(checked_file(options.ind, guard, what="the index file"), count, shown=options.ind)
        used[:] = False
        used[rows] = True
        if not len(rows):
            raise InvalidInput("selects no particle", file=options.ind, hint="leave --ind out to use all")
    if options.n_images is not None:
        used[np.flatnonzero(used)[options.n_images :]] = False
    return used


def _with_pickles(
    metadata: Metadata, options: IngestOptions, guard: PathGuard | None, stacks: LocatedStacks | None
) -> Metadata:
    if options.poses is not None:
        poses = read_poses(
            checked_file(options.poses, guard, what="the pose file"), metadata.count, shown=options.poses
        )
        notes = (
            [f"poses come from {options.poses.name}, not from the metadata"] if metadata.rotations is not None else []
        )
        shifts = metadata.shifts
        if poses.fractions is not None:
            shifts = Shifts(poses.fractions, "box")
        elif shifts is None:
            shifts = Shifts(np.zeros((metadata.count, 2)), "pixel")
            notes.append(f"{options.poses.name} holds no translations: particles are taken as centred")
        kept = [check for check in metadata.checks if not _is_about_poses(check.column)]
        metadata = replace(
            metadata, rotations=poses.rotations, shifts=shifts, checks=(*kept, *poses.checks)
        ).with_notes(*notes)
    if options.ctf is not None:
        ctf = read_ctf(checked_file(options.ctf, guard, what="the CTF file"), metadata.count, shown=options.ctf)
        notes = [f"CTF parameters come from {options.ctf.name}, not from the metadata"] if metadata.ctf else []
        kept = [check for check in metadata.checks if check.column not in metadata.column_names.values()]
        box = metadata.box or (stacks.box if stacks else None)
        pixel_size = ctf.pixel_size_angstrom
        if ctf.box is not None and box is not None and ctf.box != box:
            pixel_size = ctf.pixel_size_angstrom * ctf.box / box
            notes.append(
                f"{options.ctf.name} was written for box {ctf.box}, the images have {box}: pixel size "
                f"{ctf.pixel_size_angstrom:g} became {pixel_size:g} angstrom"
            )
        box = box or ctf.box
        in_ctf = replace(metadata, source=options.ctf)
        pixel_size = (
            agreed(pixel_size, metadata.pixel_size_angstrom, f"{metadata.source.name}", "the pixel size", in_ctf)
            or pixel_size
        )
        metadata = replace(
            metadata, ctf=ctf.columns, pixel_size_angstrom=pixel_size, box=box, checks=(*kept, *ctf.checks)
        )
        metadata = metadata.with_notes(*notes)
    return metadata


def _is_about_poses(column: str) -> bool:
    return column.startswith(("_rlnAngle", "_rlnOrigin", "alignments"))


def checked_box(metadata: Metadata, stacks: LocatedStacks) -> int:
    """The images' box. Raises InvalidInput where the metadata contradict the stacks, or the box cannot be worked on."""
    box = stacks.box
    if metadata.box is not None and metadata.box != box:
        raise InvalidInput(
            f"says {metadata.box} x {metadata.box} pixels, but the images in {stacks.first.name} are {box} x {box}",
            file=metadata.source,
            column=metadata.named("box"),
            hint="give the stack that belongs to this file, or correct the image size",
        )
    if box % 2 or box < 16:
        raise InvalidInput(
            f"a box of {box} pixels: it must be even and at least 16", file=stacks.first, hint="crop or pad the images"
        )
    return box


def _pixel_size(metadata: Metadata, stacks: LocatedStacks, box: int) -> tuple[float, Metadata]:
    in_header = stacks.pixel_size_angstrom
    if metadata.pixel_size_angstrom is None:
        found = f"; the header of {stacks.first.name} says {in_header:g}" if in_header else ""
        raise InvalidInput(f"no pixel size{found}", file=metadata.source, hint="give --pixel-size ANGSTROM")
    pixel_size = metadata.pixel_size_angstrom
    if in_header and abs(in_header - pixel_size) > 0.01 * pixel_size:
        metadata = metadata.with_notes(
            f"pixel size {pixel_size:g} angstrom is used, but the header of {stacks.first.name} says {in_header:g}"
        )
    return pixel_size, metadata


def _required_poses(metadata: Metadata) -> tuple[NDArray[np.float64], Shifts]:
    if metadata.rotations is None or metadata.shifts is None:
        raise InvalidInput(
            "no poses: the file lacks " + " and ".join(metadata.missing_pose()),
            file=metadata.source,
            column=metadata.missing_pose()[0].split(", ")[0],
            hint="give --poses FILE.pkl, or a file that was refined (RELION Refine3D, cryoSPARC refinement)",
        )
    return metadata.rotations, metadata.shifts


def _required_ctf(metadata: Metadata) -> ContrastTransfer:
    missing = metadata.missing_ctf()
    if missing:
        raise InvalidInput(
            "CTF parameters are missing: " + ", ".join(missing),
            file=metadata.source,
            column=missing[0],
            hint="give --ctf FILE.pkl, or --voltage, --cs, --amplitude-contrast for what is the same in all images",
        )
    columns = dict(metadata.ctf)
    columns.setdefault("phase_shift_rad", np.zeros(metadata.count))
    return ContrastTransfer(**columns)


def _refuse_far_origins(
    translations: NDArray[np.float64], box: int, used: NDArray[np.bool_], metadata: Metadata
) -> None:
    far = np.flatnonzero((np.abs(translations).max(axis=1, initial=0.0) > box) & used)
    if len(far):
        row = int(far[0])
        raise InvalidInput(
            f"an origin of {np.abs(translations[row]).max():g} pixels lies outside a box of {box}",
            file=metadata.source,
            row=row + 1,
            column=metadata.named("shifts"),
            hint="check the unit of the origins (pixels or angstrom) and the pixel size",
        )


def _refuse_unassigned(half_set: NDArray[np.int8], used: NDArray[np.bool_], path: Path) -> None:
    rows = np.flatnonzero((half_set < 0) & used)
    if len(rows):
        raise InvalidInput(
            f"{len(rows)} rows in use are in neither half-set",
            file=path,
            row=int(rows[0]) + 1,
            hint="assign them, or leave them out with --ind",
        )
