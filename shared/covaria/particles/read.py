"""From the options of one run to `Metadata`: every file named is checked, every contradiction is an error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.common_grid import common_shifts, settled
from covaria.particles.cryodrgn.tables import read_ctf, read_poses
from covaria.particles.cryosparc.group import group_description
from covaria.particles.cryosparc.particles import read_cryosparc
from covaria.particles.metadata import Metadata, Shifts, agreed, fill_from_options
from covaria.particles.par import read_par
from covaria.particles.row_files import read_index
from covaria.particles.stacks.locate import LocatedStacks, plain_stacks
from covaria.particles.stacks.mrc import COMPRESSED
from covaria.particles.star.relion import CLASS, read_relion
from covaria.particles.star.tomograms import read_tomograms
from covaria.particles.symmetry import symmetry_of
from covaria.particles.tilts import with_tilts
from covaria.request.model import IngestOptions

STACK_SUFFIXES = (".mrcs", ".mrc", ".txt")


def kind_of(path: Path) -> str:
    """ "star", "cs", "par" or "stack", from the name. Raises InvalidInput."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-1] if suffixes else ""
    if last == ".star":
        return "star"
    if last in (".cs", ".par"):
        return last[1:]
    if last in STACK_SUFFIXES or (last in COMPRESSED and len(suffixes) > 1 and suffixes[-2] in (".mrc", ".mrcs")):
        return "stack"
    raise InvalidInput(
        "this kind of file is not known", file=path, hint="give .star, .cs, .par, .mrcs, .mrc (also .gz, .bz2) or .txt"
    )


@dataclass(frozen=True)
class Described:
    """All that the metadata files say, which rows are in use, and the stacks as far as they were looked for."""

    metadata: Metadata
    used: NDArray[np.bool_]
    stacks: LocatedStacks | None
    star: Path | None = None
    """The RELION 3.1+ file that says all of it (nothing was filled in or overridden): its other columns can be kept."""


def read_metadata(options: IngestOptions, *, roots: Roots = ANYWHERE) -> Described:
    """Metadata, pickles and options merged; stacks are opened only where they are the input. Raises InvalidInput."""
    if options.particles.suffix.lower() == ".csg":
        raise group_description(options.particles, roots)
    symmetry_of(options)  # a wrong name is refused before anything is read
    kind = kind_of(options.particles)
    if kind != "star" and options.tomograms is not None:
        raise InvalidInput("tomograms belong to a .star file", file=options.particles, hint="leave --tomograms out")
    if kind != "cs" and options.passthrough:
        raise InvalidInput(
            "passthrough files belong to a .cs file", file=options.particles, hint="leave --passthrough out"
        )
    stacks = plain_stacks(options, roots) if kind == "stack" else None
    metadata = _of_kind(kind, options, roots, stacks)
    used = used_rows(metadata, options, roots)
    if stacks is not None:
        stacks = stacks.checked(used)
    metadata = _with_pickles(settled(metadata, used), used, options, roots, stacks)
    star = options.particles if kind == "star" and _says_all(metadata, options) else None
    metadata, used = with_tilts(fill_from_options(metadata, options), used, options)
    return Described(_of_classes(metadata, used, options), used, stacks, star)


def _of_kind(kind: str, options: IngestOptions, roots: Roots, stacks: LocatedStacks | None) -> Metadata:
    if kind == "star":
        tomograms = None if options.tomograms is None else read_tomograms(options.tomograms, roots)
        return read_relion(options.particles, roots, tomograms)
    if kind == "cs":
        return read_cryosparc(options.particles, options.passthrough, roots, class_number=options.class_number)
    if kind == "par":
        return read_par(options.particles, roots)
    assert stacks is not None
    names = {"rotations": "poses (--poses FILE.pkl)", "shifts": "translations"}
    return Metadata(source=options.particles, count=len(stacks), column_names=names)


def _says_all(metadata: Metadata, options: IngestOptions) -> bool:
    given = (options.poses, options.ctf, options.voltage, options.cs, options.amplitude_contrast, options.pixel_size)
    return metadata.in_optics_groups and not options.no_ctf and all(value is None for value in given)


def _of_classes(metadata: Metadata, used: NDArray[np.bool_], options: IngestOptions) -> Metadata:
    """A note where the rows in use belong to several classes, each aligned to its own map."""
    if metadata.class_of_row is None or options.class_number is not None or metadata.class_column != CLASS:
        return metadata
    numbers, counts = np.unique(metadata.class_of_row[used], return_counts=True)
    if len(numbers) < 2:
        return metadata
    shown = ", ".join(f"{count} in class {number}" for number, count in list(zip(numbers, counts, strict=True))[:8])
    return metadata.with_notes(
        f"the particles belong to {len(numbers)} classes ({shown}); poses of different classes may refer to "
        "different frames: --class NUMBER uses one"
    )


def used_rows(metadata: Metadata, options: IngestOptions, roots: Roots = ANYWHERE) -> NDArray[np.bool_]:
    """(N,) True for rows left by --ind, --class and --n-images. Raises InvalidInput when none is left."""
    used = np.ones(metadata.count, dtype=bool)
    if options.ind is not None:
        rows = read_index(options.ind, rows_of_file(metadata), roots)
        used = _of_images(np.isin(np.arange(rows_of_file(metadata)), rows), metadata)
        if not len(rows):
            raise InvalidInput("selects no particle", file=options.ind, hint="leave --ind out to use all")
    if options.class_number is not None:
        used &= _of_class(metadata, options.class_number)
        if not used.any():
            raise InvalidInput(
                f"no particle in use is of class {options.class_number}",
                file=metadata.source,
                column=metadata.class_column,
                hint="give another --class",
            )
    if options.n_images is not None:
        used[np.flatnonzero(used)[options.n_images :]] = False
    return used


def rows_of_file(metadata: Metadata) -> int:
    """How many rows the particle file has."""
    return metadata.count if metadata.file_row is None else int(metadata.file_row[-1]) + 1


def _of_images(of_file: NDArray[np.bool_], metadata: Metadata) -> NDArray[np.bool_]:
    """(N,) of what is true of rows of the file."""
    return of_file if metadata.file_row is None else of_file[metadata.file_row]


def _of_class(metadata: Metadata, number: int) -> NDArray[np.bool_]:
    if metadata.class_of_row is None:
        if metadata.rotations is not None and metadata.class_column:  # one class alone, which is the one asked for
            return np.ones(metadata.count, dtype=bool)
        raise InvalidInput("says nothing about classes", file=metadata.source, hint="leave --class out")
    of_class: NDArray[np.bool_] = metadata.class_of_row == number
    return of_class


def _with_pickles(
    metadata: Metadata,
    used: NDArray[np.bool_],
    options: IngestOptions,
    roots: Roots,
    stacks: LocatedStacks | None,
) -> Metadata:
    if options.poses is not None:
        metadata = _with_poses(metadata, options.poses, roots)
    return metadata if options.ctf is None else _with_ctf(metadata, used, options.ctf, roots, stacks)


def _with_poses(metadata: Metadata, path: Path, roots: Roots) -> Metadata:
    poses = read_poses(path, metadata.count, roots)
    notes = [f"poses come from {path.name}, not from the metadata"] if metadata.rotations is not None else []
    shifts = metadata.shifts
    if poses.fractions is not None:
        shifts = common_shifts(metadata, Shifts(poses.fractions, "box"))
    elif shifts is None or metadata.rotations is None:
        shifts = Shifts(np.zeros((metadata.count, 2)), "pixel")
        notes.append(f"{path.name} holds no translations: particles are taken as centred")
    kept = [check for check in metadata.checks if check.about != "poses"]
    return replace(
        metadata, rotations=poses.rotations, shifts=shifts, checks=(*kept, *poses.checks), class_of_row=None
    ).with_notes(*notes)


def _with_ctf(
    metadata: Metadata, used: NDArray[np.bool_], path: Path, roots: Roots, stacks: LocatedStacks | None
) -> Metadata:
    if len(used) != metadata.count:
        raise ValueError("rows in use are those of the metadata")
    ctf = read_ctf(path, used, roots)
    notes = [f"CTF parameters come from {path.name}, not from the metadata"] if metadata.ctf else []
    kept = [check for check in metadata.checks if check.about != "ctf"]
    box = metadata.box or (stacks.box if stacks else None)
    pixel_size = ctf.pixel_size_angstrom
    if ctf.box is not None and box is not None and ctf.box != box:
        pixel_size = ctf.pixel_size_angstrom * ctf.box / box
        notes.append(
            f"{path.name} was written for box {ctf.box}, the images have {box}: pixel size "
            f"{ctf.pixel_size_angstrom:g} became {pixel_size:g} angstrom"
        )
    box = box or ctf.box
    in_ctf = replace(metadata, source=path)
    pixel_size = (
        agreed(pixel_size, metadata.pixel_size_angstrom, f"{metadata.source.name}", "the pixel size", in_ctf)
        or pixel_size
    )
    return replace(
        metadata, ctf=ctf.columns, pixel_size_angstrom=pixel_size, box=box, checks=(*kept, *ctf.checks)
    ).with_notes(*notes)
