"""From metadata and stacks to `Particles`: everything is checked against everything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.aberrations import HARMFUL_RAD, Aberration
from covaria.particles.bounds import PIXEL_SIZE, outside
from covaria.particles.expansion import expanded
from covaria.particles.independence import objects
from covaria.particles.metadata import Metadata, RowCheck, Shifts
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.read import Described, read_metadata, rows_of_file
from covaria.particles.row_files import read_halfsets
from covaria.particles.stacks.locate import LocatedStacks, locate_stacks
from covaria.request.model import IngestOptions

SMALLEST_BOX = 16


def read_particles(options: IngestOptions, *, roots: Roots = ANYWHERE) -> Particles:
    """Everything about the particles except their pixels, which `Particles.images` reads on demand.

    Raises InvalidInput (MissingFile for a file that is not there): file, row, column, what was found, the remedy.
    """
    return expanded(assemble(read_metadata(options, roots=roots), options, roots), options)


def assemble(described: Described, options: IngestOptions, roots: Roots = ANYWHERE) -> Particles:
    """Find the stacks and check everything against everything; symmetry is not expanded yet. Raises InvalidInput.

    The box may be odd: `working_box` says what it has to become.
    """
    metadata, used = described.metadata, described.used
    rotations, shifts = _required_poses(metadata)
    for check in metadata.checks:
        check.enforce(used)
    ctf = _required_ctf(metadata)
    stacks = described.stacks or locate_stacks(metadata, used, options, roots)
    box = checked_box(metadata, stacks)
    metadata = metadata.with_notes(*stacks.notes)
    pixel_size, metadata = _pixel_size(metadata, stacks, box)
    translations = shifts.pixels(box, pixel_size)
    _refuse_far_origins(translations, box, used, metadata)
    metadata = _look_at_aberrations(metadata, ctf, used, box, pixel_size, options)
    metadata = metadata.with_notes(*_modelled(metadata, ctf, used))
    half_set = metadata.half_set
    if options.halfsets is not None:
        of_file = read_halfsets(options.halfsets, rows_of_file(metadata), roots)
        half_set = of_file if metadata.file_row is None else of_file[metadata.file_row]
        _refuse_unassigned(half_set, used, options.halfsets)
    none = np.full(metadata.count, -1, dtype=np.int64)
    together, dependent = objects(metadata, stacks, used)
    return Particles(
        source=options.particles,
        box=box,
        pixel_size_angstrom=pixel_size,
        rotations=rotations,
        translations=translations,
        ctf=ctf,
        optics_group=metadata.optics_group if metadata.optics_group is not None else none + 1,
        half_set=half_set if half_set is not None else none.astype(np.int8),
        micrograph=metadata.micrograph if metadata.micrograph is not None else none,
        used=used,
        images=stacks.images(box, metadata.gain),
        together=together,
        particle=metadata.particle,
        by_stack=metadata.file_row is not None,
        notes=(*metadata.notes, *dependent),
    )


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
    if box < SMALLEST_BOX:
        raise InvalidInput(
            f"a box of {box} pixels: it must be at least {SMALLEST_BOX}",
            file=stacks.first,
            hint="extract larger images",
        )
    return box


def working_box(box: int, downsample: int | None) -> int:
    """The box that images of `box` pixels are worked on: even, and no larger than asked for."""
    even = box - box % 2
    return even if downsample is None else min(even, downsample)


def _pixel_size(metadata: Metadata, stacks: LocatedStacks, box: int) -> tuple[float, Metadata]:
    in_header = stacks.pixel_size_angstrom
    if metadata.pixel_size_angstrom is None:
        found = f"; the header of {stacks.first.name} says {in_header:g}" if in_header else ""
        raise InvalidInput(f"no pixel size{found}", file=metadata.source, hint="give --pixel-size ANGSTROM")
    pixel_size = metadata.pixel_size_angstrom
    outside(np.array([pixel_size]), PIXEL_SIZE, metadata.source, metadata.named("pixel_size_angstrom")).enforce(
        np.ones(1, dtype=bool)
    )
    if in_header and abs(in_header / pixel_size - 10) < 0.1:
        raise InvalidInput(
            f"a pixel size of {pixel_size:g} angstrom, but the header of {stacks.first.name} says {in_header:g}",
            file=metadata.source,
            column=metadata.named("pixel_size_angstrom"),
            hint="pixel sizes are in angstrom; one in nanometre is multiplied by 10",
        )
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
            hint="give --poses FILE.pkl, or a file that was refined (RELION Refine3D, cryoSPARC refinement)"
            + (", or the job's other .cs with --passthrough" if metadata.source.suffix.lower() == ".cs" else ""),
        )
    return metadata.rotations, metadata.shifts


def _required_ctf(metadata: Metadata) -> ContrastTransfer:
    missing = metadata.missing_ctf()
    if missing:
        raise InvalidInput(
            "CTF parameters are missing: " + ", ".join(missing),
            file=metadata.source,
            column=missing[0],
            hint=_ctf_hint(metadata),
        )
    columns = dict(metadata.ctf)
    columns.setdefault("phase_shift_rad", np.zeros(metadata.count))
    return ContrastTransfer(
        **columns,
        odd_phase=metadata.odd_phase,
        even_phase=metadata.even_phase,
        applied=metadata.applied,
        dose=metadata.dose,
    )


def _ctf_hint(metadata: Metadata) -> str:
    """What to do about a CTF that is not all there: what one option can say, or which kind of file has the rest."""
    defocus = [name for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_rad")
               if name not in metadata.ctf]  # fmt: skip
    if not defocus:
        return "give --voltage, --cs, --amplitude-contrast for what is the same in all images, or --ctf FILE.pkl"
    cs = metadata.source.suffix.lower() == ".cs"
    return (
        "defocus differs between images and only a file says it: give --ctf FILE.pkl"
        + (", the job's other .cs with --passthrough" if cs else "")
        + "; --no-ctf for images without a CTF"
    )


def _modelled(metadata: Metadata, ctf: ContrastTransfer, used: NDArray[np.bool_]) -> list[str]:
    """Notes on what was found beside a plain CTF and is taken into account."""
    notes = []
    for name, what in (("odd_phase", "is taken from"), ("even_phase", "is added to the CTF of")):
        values = getattr(ctf, name)
        rows = 0 if values is None else int(np.count_nonzero(np.any(values[used] != 0, axis=1)))
        if rows:
            notes.append(f"{metadata.named(name)}: a phase that {what} {rows} images")
    for number, what in enumerate(("phase-flipped", "multiplied by their CTF"), start=1):
        rows = 0 if ctf.applied is None else int(np.count_nonzero(ctf.applied[used] == number))
        if rows:
            notes.append(f"{rows} images are {what}, which is undone when they are read")
    return notes


def _look_at_aberrations(
    metadata: Metadata,
    ctf: ContrastTransfer,
    used: NDArray[np.bool_],
    box: int,
    pixel_size: float,
    options: IngestOptions,
) -> Metadata:
    """Notes on what the CTF leaves out. Raises InvalidInput where it is off by more than pi/4 at the box's Nyquist."""
    working, extent = working_box(box, options.downsample), pixel_size * box
    for aberration in metadata.aberrations:
        worst = aberration.worst(ctf.voltage_kv, ctf.spherical_aberration_mm, working, extent / working)
        what = f"a phase error of up to {worst[used].max():.2g} rad at the Nyquist frequency of {working} pixels"
        harmful = ~(worst <= HARMFUL_RAD) & used
        if harmful.any():
            row = int(np.argmax(np.where(used, np.nan_to_num(worst, nan=np.inf), -1)))
            hint = _box_hint(aberration, row, ctf, working, extent)
            found = f"{what}, which is not modelled (up to pi/4 is let pass)"
            RowCheck(harmful, metadata.source, aberration.column, found, hint).enforce(used)
        rows = int(np.count_nonzero(worst[used] > 0))
        if rows:
            metadata = metadata.with_notes(f"{aberration.column} is not modelled in {rows} images: {what}")
    return metadata


def _box_hint(aberration: Aberration, row: int, ctf: ContrastTransfer, working: int, extent_angstrom: float) -> str:
    """The largest box at which the worst row would be let pass."""
    one = replace(
        aberration, values=aberration.values[aberration.of_row[row]][None], of_row=np.zeros(1, dtype=np.int64)
    )
    voltage, cs = ctf.voltage_kv[[row]], ctf.spherical_aberration_mm[[row]]
    for box in range(working - 2, SMALLEST_BOX - 2, -2):
        if one.worst(voltage, cs, box, extent_angstrom / box)[0] <= HARMFUL_RAD:
            return f"give --downsample {box} or less, or leave these rows out with --ind"
    return "correct the images for it, or leave these rows out with --ind"


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
