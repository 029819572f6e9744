"""The particles that went in, with refined poses."""

from __future__ import annotations

from covaria.tree.entry import Entry, Numbered
from covaria.tree.folders import Folder


class RefinedFiles(Folder):
    """All of a run's particles with refined poses, in the format of their source."""

    star = Entry(
        "refined_particles.star", "", "refined", "the source with refined angles and origins, all else as it was"
    )
    cs = Entry("refined_particles.cs", "", "refined", "the source with refined poses and shifts, all else as it was")
    passthrough = Numbered("refined_particles_passthrough_{}.cs", "", "refined", "a passthrough file, likewise")
    csg = Entry("refined_particles.csg", "", "refined", "the result group that cryoSPARC imports")
    pkl = Entry("refined_poses.pkl", "", "refined", "of a run with --poses: refined ones, in the same form")
