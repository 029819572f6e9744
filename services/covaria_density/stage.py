"""The density stage: latent estimates and their precisions in, the deconvolved conformational density out."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from covaria.errors import MissingFile
from covaria.estimation.density.basins import DRAWS, find_basins, resample
from covaria.estimation.density.blur import Blur, LatentGrid, build_blur
from covaria.estimation.density.choice import FOLDS, Knee, choose_alpha, l_curve_corner
from covaria.estimation.density.extent import find_grid
from covaria.estimation.density.latents import UncertainPoints
from covaria.estimation.density.solver import Array, Deconvolution, solve_path
from covaria.figures.density import DensityFigures
from covaria.figures.drawing import draw_all
from covaria.findings import Findings
from covaria.results.basins import basin_table, write_basins
from covaria.results.latents import read_latents
from covaria.stage import Context, Job
from covaria.trajectory import DensityGrid, write_density
from covaria.tree import DensityTree, Tree, record
from covaria.tree.atomic import write_json
from covaria.tree.components import read_component_sizes
from covaria_density.latents import FEWEST_PARTICLES, choose_dimensions, load_points

ALPHAS = tuple(10.0**power for power in range(1, -10, -1))

USED_LATE = ("scipy.ndimage", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg")
"""What is imported on use: a worker imports it before the first job comes."""


def run(job: Job, context: Context) -> None:
    """Write OUT/density/. Returns at once where the request asks for no density or for the mean only."""
    request = job.request
    if not request.density.enabled or request.reconstruction.only_mean:
        context.log.info("no density asked for")
        return
    tree = Tree(request.out, context.pen)
    if not tree.zdims():
        raise MissingFile("holds no latent coordinates", file=tree.model, hint="run `covaria reconstruct` first")
    sizes = read_component_sizes(tree)
    if sizes.confirmed == 0:
        context.log.warning("no component is confirmed: a density would show noise, none is made")
        return
    dim, zdim = choose_dimensions(request.density, sizes.confirmed, tree)
    if request.density.dim is not None and dim < request.density.dim:
        context.log.warning("a density in %d dimensions: no more components are confirmed", dim)
    latents = load_points(tree, zdim, dim)
    if len(latents.coordinates) < FEWEST_PARTICLES:
        context.log.warning(
            "%d particles are too few for a density (needed: %d)", len(latents.coordinates), FEWEST_PARTICLES
        )
        return
    grid = find_grid(latents, request.seed)
    blur = build_blur(grid, latents.coordinates, latents.covariances, request.seed)
    context.log.info(
        "%d-dimensional density from zdim %d: %d particles, %d least precise left out, %d noise classes, %d^%d points",
        dim, zdim, len(latents.coordinates), latents.rejected, len(blur.kernels), grid.points, dim,
    )  # fmt: skip
    total = (FOLDS + 1) * len(ALPHAS) + DRAWS

    def report(done: int) -> None:
        context.progress("deconvolve", done, total, "solutions")

    # Thousands of products of small matrices: threads cost more than they give, 20 times more on a busy machine.
    with threadpool_limits(limits=1, user_api="blas"):
        choice = choose_alpha(blur, ALPHAS, request.seed, on_step=report)
        answers = solve_path(grid, blur.observe(), ALPHAS, lambda done: report(FOLDS * len(ALPHAS) + done))
        chosen = answers[choice.knee]
        drawn = resample(blur, chosen, request.seed, lambda done: report(total - DRAWS + done))
    basins = find_basins(_grid(grid, chosen), resampled=drawn)
    context.log.info("alpha %.0e chosen by cross-validation", ALPHAS[choice.knee])
    with tree.staging("density") as staged:
        made = DensityTree(staged)
        write_results(made, latents, blur, answers, choice)
        everyone = np.asarray(read_latents(tree, zdim).coordinates, dtype=float)
        table = basin_table(basins, everyone, sizes.deviations)
        write_basins(made, table, basins)
        context.log.info("%d stable states: %s", len(basins), ", ".join(f"{p:.0%}" for p in basins.populations))
        context.progress("figures", 0, 1, "files")
        draw_all(DensityFigures(tree, made).drawings(made))
        tree.publish(staged, tree.density)
    record.write_findings(tree, "density", Findings(basins=table.findings()))


def write_results(
    tree: DensityTree,
    latents: UncertainPoints,
    blur: Blur,
    answers: list[Deconvolution],
    choice: Knee,
) -> None:
    """Every density, the chosen one, the curve as numbers."""
    grid = blur.grid
    for number, answer in enumerate(answers):
        write_density(tree.density(number), _grid(grid, answer), answer.alpha)
    roughness = np.array([answer.roughness for answer in answers])
    log_likelihood = np.array([answer.log_likelihood for answer in answers])
    corner = l_curve_corner(roughness, log_likelihood)
    chosen = answers[choice.knee]
    indices = {"alpha_index": choice.knee, "l_curve_knee_index": corner}
    write_density(tree.knee, _grid(grid, chosen), chosen.alpha, indices)
    write_json(
        tree.l_curve,
        {
            "alpha": [answer.alpha for answer in answers],
            "roughness": roughness,
            "log_likelihood": log_likelihood,
            "held_out_loss": choice.held_out_loss,
            "held_out_standard_error": choice.standard_error,
            "chosen": choice.knee,
            "l_curve_knee": corner,
            "zdim": latents.zdim,
            "particles": len(latents.coordinates),
            "rejected_as_imprecise": latents.rejected,
            "outside_the_grid": len(latents.coordinates) - round(blur.observe().particles),
        },
    )


def as_density(grid: LatentGrid, mass: Array) -> Array:
    """Probability for each unit of latent volume; sums to 1 when multiplied by the cell."""
    return mass / grid.cell


def _grid(grid: LatentGrid, answer: Deconvolution) -> DensityGrid:
    return DensityGrid(as_density(grid, answer.mass), np.array(grid.bounds))
