"""The first stage: read, check, resolve, downsample; hand over `Particles`."""

from __future__ import annotations

import numpy as np

from covaria.findings import Findings
from covaria.particles import Particles
from covaria.particles.assemble import assemble, working_box
from covaria.particles.expansion import expanded
from covaria.particles.growth import refuse_what_cannot_grow
from covaria.particles.halves import with_half_sets
from covaria.particles.read import Described, read_metadata
from covaria.particles.store import save
from covaria.plain import printable
from covaria.running.console import TOLD
from covaria.running.room import require_room_for
from covaria.stage import Context, Job
from covaria.tree import Tree, record
from covaria.tree.book import write_book
from covaria.tree.shapes import MOST_MICROGRAPHS
from covaria_ingest.ahead import refuse_many_coordinates, refuse_small_half_set, refuse_useless_masks
from covaria_ingest.growth import publish_version, read_version
from covaria_ingest.images import leave_out_unusable, publish_downsampled

LONGEST = 1000
"""Of a micrograph's name, its end."""


def run(job: Job, context: Context) -> None:
    """Write `downsampled/` (where asked for) and `.covaria/particles.npz`. Raises InvalidInput, Cancelled."""
    tree = Tree(job.request.out, context.pen)
    options = job.request.ingest
    refuse_many_coordinates(job.request)
    if options.growing:
        run_growing(job, tree, context)
        return
    context.progress("read metadata", 0, 1, "files")
    described = read_metadata(options, roots=context.roots)
    particles = assemble(described, options, context.roots)
    context.progress("read metadata", 1, 1, "files")
    context.log.info(
        "%d particles (%d in use), box %d, pixel size %.4g angstrom",
        len(particles), int(particles.used.sum()), particles.box, particles.pixel_size_angstrom,
    )  # fmt: skip
    box = working_box(particles.box, options.downsample)
    pixel_size = particles.pixel_size_angstrom * particles.box / box
    refuse_small_half_set(particles)
    refuse_useless_masks(job.request.reconstruction, box, pixel_size, context.roots)
    require_room_for("ingest", job.request, total=len(particles), box=box, downsampled=box < particles.box)
    with tree.staging("ingest") as staged:
        if box < particles.box:
            particles = with_half_sets(particles, job.request.seed)
            particles = publish_downsampled(particles, described, box, tree, staged, context)
        else:
            particles = leave_out_unusable(particles, context)
            particles = with_half_sets(particles, job.request.seed)
        particles = expanded(particles, options)
        _keep(tree, particles, described, context)


def run_growing(job: Job, tree: Tree, context: Context) -> None:
    """The same for a set that grows: what the version before has read is not read again."""
    options = job.request.ingest
    refuse_what_cannot_grow(job.request)
    context.progress("read metadata", 0, 1, "files")
    version = read_version(options, context.roots)
    context.progress("read metadata", 1, 1, "files")
    particles = version.particles
    box = working_box(particles.box, options.downsample)
    new = int((version.fresh & particles.used).sum())
    context.log.info(f"{len(particles):,} particles, {new:,} of them new, box {particles.box}", extra=TOLD)
    pixel_size = particles.pixel_size_angstrom * particles.box / box
    refuse_useless_masks(job.request.reconstruction, box, pixel_size, context.roots)
    require_room_for("ingest", job.request, total=max(new, 1), box=box, downsampled=True)
    with tree.staging("ingest") as staged:
        particles, rows = publish_version(version, job, tree, staged, context)
        refuse_small_half_set(particles)
        arrays = rows.arrays()
        tree.pen.write(tree.growth_rows, lambda file: np.savez(file, allow_pickle=False, **arrays))
        _keep(tree, particles, version.described, context)


def _keep(tree: Tree, particles: Particles, described: Described, context: Context) -> None:
    found = Findings(set_aside=dict(particles.set_aside)) if particles.set_aside else Findings()
    for note in particles.notes:
        context.log.info(note, extra=TOLD)
    record.write_notes(tree, "ingest", particles.notes)
    names = described.metadata.micrograph_names
    kept = [printable(name)[-LONGEST:] for name in names] if len(names) <= MOST_MICROGRAPHS else []
    write_book(tree, tree.micrographs, {"names": kept})
    record.write_findings(tree, "ingest", found)
    save(tree.particles, particles, tree.pen)
