"""The first stage: read, check, resolve, downsample; hand over `Particles`."""

from __future__ import annotations

from covaria.findings import Findings
from covaria.particles.assemble import assemble, working_box
from covaria.particles.expansion import expanded
from covaria.particles.halves import with_half_sets
from covaria.particles.read import read_metadata
from covaria.particles.store import save
from covaria.running.console import TOLD
from covaria.running.room import require_room_for
from covaria.stage import Context, Job
from covaria.tree import Tree, record
from covaria_ingest.ahead import refuse_many_coordinates, refuse_small_half_set, refuse_useless_masks
from covaria_ingest.images import leave_out_unusable, publish_downsampled


def run(job: Job, context: Context) -> None:
    """Write `downsampled/` (where asked for) and `.covaria/particles.npz`. Raises InvalidInput, Cancelled."""
    tree = Tree(job.request.out, context.pen)
    options = job.request.ingest
    refuse_many_coordinates(job.request)
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
        found = Findings(set_aside=dict(particles.set_aside)) if particles.set_aside else Findings()
        for note in particles.notes:
            context.log.info(note, extra=TOLD)
        record.write_notes(tree, "ingest", particles.notes)
        record.write_findings(tree, "ingest", found)
        save(tree.particles, particles, tree.pen)
