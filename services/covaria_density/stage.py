"""The density stage: latent estimates and their precisions in, the deconvolved conformational density out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from covaria.estimation.density.blur import Blur, LatentGrid, build_blur
from covaria.estimation.density.choice import FOLDS, Choice, choose_alpha
from covaria.estimation.density.extent import find_grid
from covaria.estimation.density.latents import Latents
from covaria.estimation.density.solver import Array, Deconvolution, solve_path
from covaria.pickles import load_pickle
from covaria.plots import plot_all_densities, plot_l_curve
from covaria.stage import Context, Job
from covaria.tree import DensityTree, Tree
from covaria.tree.atomic import write_json, write_pickle
from covaria_density.latents import choose_dimensions, load_latents

ALPHAS = tuple(10.0**power for power in range(1, -10, -1))


def run(job: Job, context: Context) -> None:
    """Write OUT/density/. Returns at once where the request asks for no density or for the mean only."""
    request = job.request
    if not request.density.enabled or request.reconstruction.only_mean:
        context.log.info("no density asked for")
        return
    tree = Tree(request.out)
    dim, zdim = choose_dimensions(request.density, tree.zdims(), tree.model)
    latents = load_latents(tree, zdim, dim)
    _warn_of_noise(tree, dim, context)
    grid = find_grid(latents, request.seed)
    blur = build_blur(grid, latents.coordinates, latents.covariances, request.seed)
    context.log.info(
        "%d-dimensional density from zdim %d: %d particles, %d least precise left out, %d noise classes, %d^%d points",
        dim, zdim, len(latents.coordinates), latents.rejected, len(blur.kernels), grid.points, dim,
    )  # fmt: skip
    total = (FOLDS + 1) * len(ALPHAS)

    def report(done: int) -> None:
        context.progress("deconvolve", done, total, "solutions")

    # Thousands of products of small matrices: threads cost more than they give, 20 times more on a busy machine.
    with threadpool_limits(limits=1, user_api="blas"):
        choice = choose_alpha(blur, ALPHAS, request.seed, on_step=report)
        answers = solve_path(grid, blur.observe(), ALPHAS, lambda done: report(FOLDS * len(ALPHAS) + done))
    context.log.info("alpha %.0e chosen by cross-validation", ALPHAS[choice.knee])
    with tree.staging("density") as staged:
        write_results(DensityTree(staged), latents, blur, answers, choice)
        tree.publish(staged, tree.density)


def _warn_of_noise(tree: Tree, dim: int, context: Context) -> None:
    """A component that the other half-set does not show carries noise, and so does a density over it."""
    if not tree.params.is_file():
        return
    significant = load_pickle(tree.params).get("significant_components")
    if significant is not None and int(significant) < dim:
        context.log.warning("%d of the density's %d components significant: the others show noise", significant, dim)


def write_results(
    tree: DensityTree, latents: Latents, blur: Blur, answers: list[Deconvolution], choice: Choice
) -> None:
    """Every density, the chosen one, the curve as numbers and as a plot."""
    grid = blur.grid
    for number, answer in enumerate(answers):
        _write_density(tree.density(number), grid, answer)
    _write_density(tree.knee, grid, answers[choice.knee])
    roughness = [answer.roughness for answer in answers]
    log_likelihood = np.array([answer.log_likelihood for answer in answers])
    loss = log_likelihood.max() - log_likelihood
    write_json(
        tree.l_curve,
        {
            "alpha": [answer.alpha for answer in answers],
            "roughness": roughness,
            "log_likelihood": log_likelihood,
            "held_out_loss": choice.held_out_loss,
            "held_out_standard_error": choice.standard_error,
            "chosen": choice.knee,
            "zdim": latents.zdim,
            "particles": len(latents.coordinates),
            "rejected_as_imprecise": latents.rejected,
            "outside_the_grid": len(latents.coordinates) - round(blur.observe().particles),
        },
    )
    densities = [as_density(grid, answer.mass) for answer in answers]
    alphas = [answer.alpha for answer in answers]
    plot_all_densities(tree.all_densities_plot, densities, grid.bounds, alphas, choice.knee)
    plot_l_curve(tree.l_curve_plot, alphas, roughness, loss, choice.knee, choice.held_out_loss, choice.standard_error)


def as_density(grid: LatentGrid, mass: Array) -> Array:
    """Probability for each unit of latent volume; sums to 1 when multiplied by the cell."""
    return mass / grid.cell


def _write_density(path: Path, grid: LatentGrid, answer: Deconvolution) -> None:
    write_pickle(
        path,
        {
            "density": as_density(grid, answer.mass),
            "latent_space_bounds": np.array(grid.bounds),
            "alpha": float(answer.alpha),
        },
    )
