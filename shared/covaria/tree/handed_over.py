"""Folders that a command makes of a finished run for another program."""

from __future__ import annotations

from covaria.tree.entry import Entry, Numbered
from covaria.tree.folders import Documents, Folder


class RecovarTree(Folder, Documents):
    """What `covaria export --layout recovar-0.4.5` writes."""

    params = Entry("model/params.pkl", "", "exported", "as RECOVAR 0.4.5 has it, `s` in its units")
    embeddings = Entry("model/embeddings.pkl", "", "exported", "{zs, cov_zs, contrasts} by zdim and <zdim>_noreg")
    halfsets = Entry("model/halfsets.pkl", "", "exported", "two arrays of rows")
    particle_halfsets = Entry("model/particles_halfsets.pkl", "", "exported", "the same")
    mean = Entry("output/volumes/mean.mrc", "", "exported", "the mean map")
    mean_filtered = Entry("output/volumes/mean_filt.mrc", "", "exported", "filtered to its local resolution")
    mean_half = Numbered("output/volumes/mean_half{}_unfil.mrc", "", "exported", "its half-maps")
    mask = Entry("output/volumes/mask.mrc", "", "exported", "the soft solvent mask")
    dilated_mask = Entry("output/volumes/dilated_mask.mrc", "", "exported", "the mask that was used")
    eigenvolume = Numbered("output/volumes/eigen_pos{:04d}.mrc", "", "exported", "components, sum of squares 1 / D^3")
    variance = Numbered("output/volumes/variance{}.mrc", "", "exported", "variance from the first n components")
