"""Folders that a command makes of a finished run: some of its particles, or all of it, for another program."""

from __future__ import annotations

from covaria.tree.entry import Entry, Mount, Numbered
from covaria.tree.folders import Documents, Folder, ParticleFiles


class SubsetTree(Folder, Documents):
    """What `covaria subset` writes: some of a run's particles in the format of its source."""

    _particles = Mount("", ParticleFiles)
    indices_pkl = Entry("indices.pkl", "", "selected", "row numbers of the source, from 0: what --ind takes")
    indices_txt = Entry("indices.txt", "", "selected", "the same as text")
    selection = Entry("selection.json", "", "selected", "the conditions: what --selection takes")


class OutliersTree(SubsetTree):
    """What `covaria outliers` writes: the particles that are kept, who is set aside, and what depends on what."""

    set_aside_txt = Entry("set_aside.txt", "", "outliers", "row numbers of the particles set aside, from 0")
    micrographs = Entry("micrographs.csv", "", "outliers", "of each micrograph: particles, set aside, means")
    optics_groups = Entry("optics_groups.csv", "", "outliers", "the same of each optics group")
    covariates = Entry(
        "covariates.csv", "", "outliers", "each latent coordinate tested against micrograph, defocus, view, contrast"
    )
    covariates_plot = Entry("plots/covariates.{form}", "", "plots", "the dependences that are confirmed")
    half_sets = Entry(
        "half_sets.csv", "", "outliers", "--half-sets: of each particle, what both half-sets' models say of it, P(junk)"
    )


class MaskTree(Folder, Documents):
    """What `covaria mask` makes."""

    mask = Entry("mask.mrc", "", "masks", "the soft mask: for --mask, --focus-mask")
    weights = Entry("weights.mrc", "", "masks", "less than 1 inside it, 1 elsewhere: for --motion-weights")
    segment = Numbered("segment{:03d}.mrc", "", "masks", "a part of it, the largest first")
    plot = Entry("mask.{form}", "", "plots", "the mask and its parts over the map")


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


class DepositTree(Folder, Documents):
    """What `covaria deposit` writes."""

    emdb = Entry("emdb.json", "", "exported", "what EMDB asks for: maps, microscopy, processing, resolution")
    empiar = Entry("empiar.json", "", "exported", "a deposition of the particle images by EMPIAR's schema")
    fsc = Entry("fsc.xml", "", "exported", "the FSC curve in EMDB's form")
    to_fill = Entry("TO_FILL.txt", "", "exported", "the fields that a person must fill")


class NewcomersTree(Folder, Documents):
    """What `covaria embed` writes: other particles in the coordinates of a run, rows as in their own file."""

    latent_coords = Entry("latent_coords.npy", "", "newcomers", "(N, zdim) latent coordinates, as the run's")
    latent_coords_noreg = Entry("latent_coords_noreg.npy", "", "newcomers", "the same without a prior")
    latent_precision = Entry(
        "latent_precision.npy", "", "newcomers", "(N, zdim, zdim) inverse covariances of their errors"
    )
    latent_precision_noreg = Entry("latent_precision_noreg.npy", "", "newcomers", "the same without a prior")
    contrasts = Entry("contrast.npy", "", "newcomers", "(N,) contrasts")
    populations = Entry(
        "populations.csv", "", "newcomers",
        "share of the run's particles and of these at each k-means centre, with 90 % intervals and the difference's p",
    )  # fmt: skip
    comparison = Entry(
        "comparison.json", "", "newcomers", "how far the two means agree, who lies where no particle of the run does"
    )
    plot = Entry("newcomers.{form}", "", "plots", "the particles of the run and these, on the same axes")
