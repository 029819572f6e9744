"""The analysis stage: clusters, their volumes, trajectories and plots, in one folder that appears whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

import numpy as np

from covaria import particles as particle_files
from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.estimation.density.basins import Basins, find_basins
from covaria.estimation.populations.intervals import Populations
from covaria.explorer.embedded import embedded
from covaria.figures.analysis import AnalysisFigures
from covaria.figures.drawing import Drawing
from covaria.figures.movies import movies, write_component_maps
from covaria.findings import Findings, State
from covaria.job.ownership import refuse_anothers
from covaria.request.model import AnalysisOptions, Request
from covaria.results.analysis import read_state_resolution
from covaria.results.basins import load_basins
from covaria.results.confirmed import Array, ConfirmedLatents, load_latents, passage_of
from covaria.results.density import density_of
from covaria.results.foreseen import write_foreseen
from covaria.results.populations import write_populations
from covaria.selection.handoff import source_of, write_parts
from covaria.stage import Context, Job
from covaria.trajectory import DensityGrid, Trajectory, estimate_density, find_trajectory, lift_point
from covaria.tree import AnalysisTree, DensityTree, Tree, record
from covaria.tree.artifacts import KMeansResult, TrajectoryEndpoints, read_kmeans, write_endpoints, write_kmeans
from covaria.tree.atomic import save_npy, write_json, write_pickle
from covaria.tree.components import read_component_sizes
from covaria.tree.versions import version_before
from covaria_analysis.clusters import Clusters, find_clusters, one_cluster
from covaria_analysis.endpoints import choose_endpoints
from covaria_analysis.flat_map import embed_flat
from covaria_analysis.populations import populations_of

MOST_DENSITY_DIMENSIONS = 3

USED_LATE = (
    "umap", "sklearn.cluster", "scipy.cluster.hierarchy",
    "scipy.ndimage", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
)  # fmt: skip
"""What is imported on use: a worker imports it before the first job comes."""


def run(job: Job, context: Context) -> None:
    """Write OUT/analysis_<zdim>/ (or request.analysis.output). Returns at once where only the mean was asked for."""
    request = job.request
    if request.reconstruction.only_mean:
        context.log.info("only the mean was asked for: nothing to analyse")
        return
    tree = Tree(request.out, context.pen)
    target = request.analysis.output or tree.analysis(request.analysis_zdim, request.analysis.name)
    _refuse_wrong(target, job, tree)
    latents = load_latents(tree, request.analysis_zdim)
    density = density_of(request, tree, latents.confirmed, context.roots)
    with tree.staging("analysis") as staged:
        _analyse(request, tree, AnalysisTree(staged), latents, density, context)
        _refuse_wrong(target, job, tree)  # hours have passed
        tree.publish(staged, target, AnalysisTree)


def _analyse(
    request: Request,
    tree: Tree,
    out: AnalysisTree,
    latents: ConfirmedLatents,
    density: DensityGrid | None,
    context: Context,
) -> None:
    options = request.analysis
    if latents.confirmed == 0:
        _nothing_found(tree, out, latents, context)
        return
    context.progress("k-means", 0, 1, "runs")
    count = _cluster_count(options.n_clusters, latents, context)
    clusters = find_clusters(latents, count, request.seed, centers_before(request, latents, count))
    context.progress("k-means", 1, 1, "runs")
    trajectories = find_trajectories(clusters, options.n_trajectories, latents, density, context)
    write_tables(tree, out, clusters, trajectories, options)
    populations = populations_of(tree, latents, clusters, request.seed, context)
    write_populations(out, clusters.counts, populations)
    if not options.skip_umap:
        _lay_flat(out, latents, request.seed, context)
    basins = basins_of(tree, request, density)
    peaks = peaks_of(basins, latents)
    make_volumes(tree, out, latents.zdim, clusters, peaks, list(trajectories.values()), request, context)
    hand_out(tree, out, latents, clusters, basins, context)
    figures = AnalysisFigures(tree, out, latents.zdim, density)
    write_component_maps(figures, out)
    draw([*figures.drawings(out), *movies(figures, out), *embedded(figures, request.ingest, out)], context)
    record.write_findings(tree, "analysis", Findings(states=states_of(out, clusters, populations)))
    if tree.foreseen.is_file():  # an older version's reconstruction foresaw nothing
        write_foreseen(tree, out)


def centers_before(request: Request, latents: ConfirmedLatents, count: int) -> Array | None:
    """The centres of a growing set's version before, whose numbers are kept; None where they do not fit this one."""
    if request.ingest.grown_from is None:
        return None
    before = version_before(request.ingest.grown_from)
    files = AnalysisTree(before.analysis(request.analysis_zdim, request.analysis.name))
    if not files.kmeans_result.is_file():
        return None
    centers = read_kmeans(files).centers
    known = read_component_sizes(before).confirmed
    fits = centers.shape == (count, latents.zdim) and known == latents.confirmed
    return centers if fits else None


def basins_of(tree: Tree, request: Request, density: DensityGrid | None) -> Basins | None:
    """The stable states: as the density stage found them, else those of the density that is used; None without one."""
    own = DensityTree(tree.density)
    if density is None:
        return None
    kept = request.analysis.density is None and own.basins.is_file()
    found = load_basins(own) if kept else find_basins(density)
    return found if found.grid.dim == density.dim else find_basins(density)


def peaks_of(basins: Basins | None, latents: ConfirmedLatents) -> Array:
    """(B, k) latent points at their peaks."""
    if basins is None:
        return np.zeros((0, latents.zdim))
    used = latents.coordinates[latents.rows]
    return np.stack([lift_point(peak, used) for peak in basins.peaks])


def hand_out(
    tree: Tree,
    out: AnalysisTree,
    latents: ConfirmedLatents,
    clusters: Clusters,
    basins: Basins | None,
    context: Context,
) -> None:
    """The particles of each cluster and basin in the format of their file; a note where that is not as it was."""
    groups = [(clusters.labels, {number: out.center_particles(number) for number in range(len(clusters.centers))})]
    if basins is not None:
        labels = np.where(latents.used, basins.of(latents.coordinates), -1)
        groups.append((labels, {number: out.basin_particles(number) for number in range(len(basins))}))
    notes = []
    try:
        ingest, particles = source_of(tree, roots=context.roots), particle_files.load(tree.particles, context.roots)
        for labels, parts in groups:
            write_parts(ingest, particles.in_source(labels), parts, context.roots)
    except (InvalidInput, MissingFile) as error:
        notes = [f"the clusters' particles were not written: {error}"]
        context.log.warning("%s", notes[0])
    record.write_notes(tree, "analysis", notes)


def states_of(out: AnalysisTree, clusters: Clusters, populations: Populations) -> tuple[State, ...]:
    """What is known of the map at each centre."""
    counts = clusters.counts
    return tuple(
        State(
            name=out.center(number).stem,
            particles=int(count),
            share=float(count / counts.sum()),
            population=float(populations.share[number]),
            low=float(populations.low[number]),
            high=float(populations.high[number]),
            resolution_angstrom=read_state_resolution(out.center_files(number).params),
        )
        for number, count in enumerate(counts)
    )


def draw(drawings: Sequence[Drawing], context: Context) -> None:
    """Every figure, with progress."""
    for number, drawing in enumerate(drawings):
        context.progress("figures", number, len(drawings), "figures")
        drawing.make()
    context.progress("figures", len(drawings), len(drawings), "figures")


def _nothing_found(tree: Tree, out: AnalysisTree, latents: ConfirmedLatents, context: Context) -> None:
    """The documented files with what is true: one centre, the mean. No path, no UMAP, no maps of noise."""
    context.log.warning("no component is confirmed: one centre, the mean map; no clusters, no path")
    write_tables(tree, out, one_cluster(latents), {}, AnalysisOptions())
    draw(list(AnalysisFigures(tree, out, latents.zdim, None).drawings(out)), context)
    for source, target in (
        (tree.mean_filtered, out.center(0)),
        (tree.mean, out.center_files(0).unfiltered),
        (tree.mean_half(1), out.center_files(0).half(1)),
        (tree.mean_half(2), out.center_files(0).half(2)),
    ):
        copyfile(source, target)


def _cluster_count(asked: int, latents: ConfirmedLatents, context: Context) -> int:
    """As asked, or as many as there are particles."""
    count = min(asked, len(latents.rows))
    if count < asked:
        context.log.warning("%d clusters asked for, %d particles are in use: %d clusters", asked, count, count)
    return count


def find_trajectories(
    clusters: Clusters, count: int, latents: ConfirmedLatents, density: DensityGrid | None, context: Context
) -> dict[tuple[int, int], Trajectory]:
    """The cheapest path for each chosen pair of centres; without a density, through that of the estimates."""
    pairs = choose_endpoints(latents.in_deviations(clusters.centers), count)
    if not pairs:
        return {}
    used = latents.coordinates[latents.rows]
    ground = density if density is not None else estimate_density(used, min(latents.confirmed, MOST_DENSITY_DIMENSIONS))
    found = {}
    for number, (first, second) in enumerate(pairs):
        context.progress("trajectories", number, len(pairs), "paths")
        found[first, second] = find_trajectory(ground, clusters.centers[first], clusters.centers[second], used)
    context.progress("trajectories", len(pairs), len(pairs), "paths")
    return found


def write_tables(
    tree: Tree,
    out: AnalysisTree,
    clusters: Clusters,
    trajectories: dict[tuple[int, int], Trajectory],
    options: AnalysisOptions,
) -> None:
    """Everything that is numbers: clusters, centres, endpoints, paths."""
    write_kmeans(out, KMeansResult(clusters.centers, clusters.labels))
    write_endpoints(out, TrajectoryEndpoints(clusters.centers, tuple(trajectories)))
    for number, trajectory in enumerate(trajectories.values()):
        passage = passage_of(tree, clusters.centers.shape[1], trajectory)
        document = trajectory.as_json(options.n_vols_along_path, options.path_spacing, passage)
        folder = out.trajectory(number)
        write_json(folder.path_json, document)
        np.savetxt(folder.latent_coords, trajectory.targets(options.n_vols_along_path, options.path_spacing))


def make_volumes(
    tree: Tree,
    out: AnalysisTree,
    zdim: int,
    clusters: Clusters,
    peaks: Array,
    trajectories: list[Trajectory],
    request: Request,
    context: Context,
) -> None:
    """Volumes at all centres, at the basins' peaks and along all trajectories, in the same passes over the images."""
    from covaria.states import StateGroup, compute_state_groups

    groups = [StateGroup(out.kmeans, "center", clusters.centers)]
    if len(peaks):
        groups.append(StateGroup(out.basins, "state", peaks))
    for number, trajectory in enumerate(trajectories):
        targets = trajectory.targets(request.analysis.n_vols_along_path, request.analysis.path_spacing)
        groups.append(StateGroup(out.trajectory(number).root, "state", targets))
    compute_state_groups(tree, zdim, groups, b_factor=request.analysis.b_factor, context=context)


def _lay_flat(out: AnalysisTree, latents: ConfirmedLatents, seed: int, context: Context) -> None:
    context.progress("UMAP", 0, 1, "maps")
    flat = embed_flat(latents, seed)
    context.progress("UMAP", 1, 1, "maps")
    if flat is None:
        context.log.info(
            "no UMAP: %d particles on %d confirmed components; the density shows them",
            len(latents.rows),
            latents.confirmed,
        )
        return
    out.umap_embedding.parent.mkdir(parents=True, exist_ok=True)
    save_npy(out.umap_embedding, flat.astype(np.float32))
    write_pickle(out.umap_pickle, flat.astype(np.float32))


def _refuse_wrong(target: Path, job: Job, tree: Tree) -> None:
    """Publishing replaces `target`: only an analysis may be replaced, and none of another job."""
    if job.request.analysis.output is not None:
        refuse_anothers(target, job, tree)
    if target.exists() and not (
        target.is_dir() and (not any(target.iterdir()) or AnalysisTree(target).kmeans_result.is_file())
    ):
        raise RefusedOutput("exists and is not an analysis", file=target, hint="give another folder with -o")
