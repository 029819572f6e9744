"""A set that grows: images that were read stay as they are, only new ones are read and made smaller."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import Roots
from covaria.particles import Particles, StackImages
from covaria.particles.assemble import assemble, working_box
from covaria.particles.growth import Matched, lasting_half_sets
from covaria.particles.halves import with_half_sets
from covaria.particles.identity import Rows, micrograph_keys, moved_rows, read_rows, row_keys, rows_before, stack_keys
from covaria.particles.independence import objects
from covaria.particles.read import Described, read_metadata
from covaria.particles.stacks.downsample import downsample_images
from covaria.particles.stacks.locate import LocatedStacks, locate_stacks
from covaria.particles.stacks.scan import Spread, without_unusable, write_downsampled_stack
from covaria.particles.star.write import write_star_for
from covaria.particles.store import load
from covaria.request.model import IngestOptions
from covaria.stage import Context, Job
from covaria.tree import Tree
from covaria.tree.versions import version_before

LOOKED_AT = 8
"""Images of a stack that changed since it was read, which are compared with what was kept."""


@dataclass(frozen=True)
class Version:
    """A version of the file: what it says, its particles at the box of the file, and the version before, if any.

    fresh (N,) rows whose images are to be read; stacks: those that could be found
    """

    described: Described
    particles: Particles
    keys: NDArray[np.void]
    stacks: LocatedStacks
    matched: Matched | None

    @property
    def fresh(self) -> NDArray[np.bool_]:
        return np.ones(len(self.keys), bool) if self.matched is None else ~self.matched.kept


def read_version(options: IngestOptions, roots: Roots) -> Version:
    """Read the file and match its rows with those of the version before. Raises InvalidInput, MissingFile.

    Stacks of rows that were read before need not be there any more.
    """
    described = read_metadata(options, roots=roots)
    metadata, used = described.metadata, described.used
    if metadata.particle is not None:
        raise InvalidInput("a tilt series cannot grow", file=options.particles, hint="run without --growing")
    keys, matched, needed = row_keys(metadata), None, used
    if options.grown_from is not None:
        before = version_before(options.grown_from)
        rows = read_rows(before.growth_rows, roots)
        matched = Matched(load(before.particles, roots), rows, rows_before(keys, rows.key))
        matched.refuse_half_written(options)
        needed = used & ~matched.kept if (used & ~matched.kept).any() else used
    for check in metadata.checks:
        check.enforce(used)
    stacks = locate_stacks(metadata, needed, options, roots)
    particles = assemble(replace(described, used=needed, stacks=stacks), options, roots)
    together, notes = objects(metadata, stacks, used)
    particles = replace(particles, used=used, together=together, notes=tuple({*particles.notes, *notes}))
    if matched is not None:
        matched.refuse_other_scale(particles.box, particles.pixel_size_angstrom, options)
    return Version(described, particles, keys, stacks, matched)


def publish_version(version: Version, job: Job, tree: Tree, staged: Path, context: Context) -> tuple[Particles, Rows]:
    """Publish downsampled/ with the images of all rows, those that were kept as they are; particles on them, and what
    the next version needs to know."""
    options, seed = job.request.ingest, job.request.seed
    particles, matched = version.particles, version.matched
    box = working_box(particles.box, options.downsample)
    micrographs = micrograph_keys(version.described.metadata, len(particles))
    if matched is None:
        particles = with_half_sets(particles, seed)
    else:
        if matched.then.box != box:
            raise InvalidInput(f"images are to have {box} pixels, OUT's have {matched.then.box}",
                               file=options.particles, hint="leave --downsample as it was")  # fmt: skip
        _refuse_replaced(version, box, options)
        particles = lasting_half_sets(particles, matched, micrographs, seed)
    made = Tree(staged)
    made.downsampled.mkdir()
    pixel_size = particles.pixel_size_angstrom * particles.box / box
    kept = () if matched is None else _linked(matched.then, version_before(_given(options)), made)
    images, spread = _with_new_part(version, made, kept, box, pixel_size, context)
    small = particles.with_images(images, pixel_size)
    write_star_for(made.downsampled_star(box), version.described, small, images.paths[0])
    tree.publish(made.downsampled, tree.downsampled)
    paths = tuple(tree.downsampled / path.name for path in images.paths)
    small = without_unusable(replace(small, images=replace(images, paths=paths, headers={})), spread)
    moved = np.zeros(len(small), bool)
    if matched is not None:
        was = matched.then.used[matched.before]
        small = replace(small, used=np.where(matched.kept, version.described.used & was, small.used))
        moved = moved_rows(small, matched.then, matched.before)
    return small, _rows_of(version, spread, micrographs, moved)


def _given(options: IngestOptions) -> Path:
    assert options.grown_from is not None
    return options.grown_from


def _linked(then: Particles, before: Tree, made: Tree) -> tuple[Path, ...]:
    """The stacks of the version before, in the new folder as well: names of the same files where that is possible.

    Raises InvalidInput for a stack elsewhere: what a file of OUT names is a stranger's claim.
    """
    assert isinstance(then.images, StackImages)
    for path in then.images.paths:
        if path.parent.resolve() != before.downsampled or path.suffix != ".mrcs" or path.is_symlink():
            raise InvalidInput("is no stack that OUT keeps", file=path, hint="run into a new folder")
    links = tuple(made.downsampled / path.name for path in then.images.paths)
    for path, link in zip(then.images.paths, links, strict=True):
        try:
            os.link(path, link, follow_symlinks=False)
        except OSError:
            shutil.copyfile(path, link, follow_symlinks=False)
    return links


def _with_new_part(
    version: Version, made: Tree, kept: tuple[Path, ...], box: int, pixel_size: float, context: Context
) -> tuple[StackImages, Spread]:
    """The images of all rows, the new ones written as one more stack; and how grey levels vary in all of them."""
    fresh, count = np.flatnonzero(version.fresh), len(version.keys)
    file, index, spread = np.zeros(count, np.int64), np.zeros(count, np.int64), Spread.unknown(count)
    matched = version.matched
    if matched is not None:
        then = matched.then.images
        assert isinstance(then, StackImages)
        old, places = np.flatnonzero(matched.kept), matched.before[matched.kept]
        file[old], index[old] = then.file[places], then.index[places]
        for name in ("deviation", "peak", "clipped"):
            getattr(spread, name)[old] = getattr(matched.rows, name)[places]
    if not len(fresh):
        return StackImages(kept, file, index, box), spread
    number = len(kept)
    path = made.downsampled_part(box, number) if number else made.downsampled_stack(box)
    source = version.particles.images
    assert isinstance(source, StackImages)
    new = source.take(fresh)
    found = write_downsampled_stack(
        new, new.readable, box, pixel_size, path, lambda done, total: context.progress("new images", done, total)
    )
    for name in ("deviation", "peak", "clipped"):
        getattr(spread, name)[fresh] = getattr(found, name)
    file[fresh], index[fresh] = number, np.arange(len(fresh))
    return StackImages((*kept, path), file, index, box), spread


def _refuse_replaced(version: Version, box: int, options: IngestOptions) -> None:
    """Raise InvalidInput where a stack has another size or time than when it was read, and other images too."""
    matched, metadata = version.matched, version.described.metadata
    assert matched is not None
    assert metadata.stack_of_row is not None
    stamps, source, then = matched.rows.stamps, version.particles.images, matched.then.images
    assert isinstance(source, StackImages)
    current = _stamps(version)
    for number, key in enumerate(stack_keys(metadata)):
        known, now = stamps.get(key.tobytes()), tuple(current[number].tolist())
        if known is None or known[0] < 0 or now[0] < 0 or known == now:
            continue
        rows = np.flatnonzero(matched.kept & (metadata.stack_of_row == number) & source.readable)
        if not len(rows):
            continue
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(int))]
        here, kept = downsample_images(source.read(rows), box), then.read(matched.before[rows])
        differ = np.flatnonzero(~np.isclose(here, kept, 1e-3, 1e-3 * float(kept.std())).all((1, 2)) & kept.any((1, 2)))
        if len(differ):
            raise InvalidInput(
                f"{metadata.stack_names[number]} was replaced: this row's image is not the one that was read",
                file=options.particles, row=int(rows[differ[0]]) + 1,
                hint="give new images new names, or run into a new folder",
            )  # fmt: skip


def _stamps(version: Version) -> NDArray[np.int64]:
    """(M, 2) size and modification time of each stack that the file names, -1 where it is not there."""
    metadata, stacks = version.described.metadata, version.stacks
    assert metadata.stack_of_row is not None
    found = np.full((len(metadata.stack_names), 2), -1, np.int64)
    there = np.flatnonzero(stacks.stack_of_row >= 0)
    names, first = np.unique(metadata.stack_of_row[there], return_index=True)
    for number, row in zip(names.tolist(), there[first].tolist(), strict=True):
        status = stacks.headers[stacks.stack_of_row[row]].path.stat()
        found[number] = status.st_size, status.st_mtime_ns
    return found


def _rows_of(version: Version, spread: Spread, micrographs: NDArray[np.void], moved: NDArray[np.bool_]) -> Rows:
    matched, particles = version.matched, version.particles
    keys, stamps = stack_keys(version.described.metadata), _stamps(version)
    if matched is not None:  # of a stack that is gone, what was known
        known = matched.rows.stamps
        stamps = np.array([known.get(key.tobytes(), (-1, -1)) if now[0] < 0 else now
                           for key, now in zip(keys, stamps, strict=True)], np.int64).reshape(-1, 2)  # fmt: skip
    return Rows(
        key=version.keys,
        deviation=spread.deviation,
        peak=spread.peak,
        clipped=spread.clipped,
        micrograph_key=micrographs,
        stack_key=keys,
        stamp=stamps,
        box=np.array(particles.box),
        pixel_size_angstrom=np.array(particles.pixel_size_angstrom),
        version=np.array(1 if matched is None else int(matched.rows.version) + 1),
        before=np.full(len(version.keys), -1) if matched is None else matched.before,
        moved=moved,
    )
