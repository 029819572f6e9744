"""How near a run comes to what a perfect estimator would reach on the same images.

    python bench/accuracy.py [--sets curved discrete ...] [--images 4000] [--snr 0.05 0.2] [--folder build/accuracy]
                             [--ablate]
    python bench/accuracy.py --rows clean,blobs [--images 1500] [--box 48]

For each set: simulate, `covaria run`, compare with the truth, and with an oracle that is given the true mean,
components, noise spectrum and contrasts (latents, labels), the true state of each image (contrast), or the true latents
(components: one voxel-wise M-step). Prints a Markdown table. `goal` is the fraction of the oracle that we ask for.
With --rows: what the nuisances of real particles do to a run instead, a line for each (bench/robustness.py).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import robustness
import torch
from command import call
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from covaria import particles as particle_files
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.components.latent_regression import regress_on_latents
from covaria.estimation.latents.embedding import embed, embedding_statistics
from covaria.estimation.latents.posterior import ImageStatistics
from covaria.estimation.linear_model import LinearModel
from covaria.imaging.images import Images, read_images
from covaria.imaging.noise import Noise
from covaria.maps import crossing, fsc, fsc_area, read_volume
from covaria.particles import read_particles
from covaria.pickles import load_pickle
from covaria.request.model import IngestOptions
from covaria.running.passes import Pass
from covaria.simulation.truth import Truth, captured_variance, rank_correlation, read_truth
from covaria.testing import MemoryContext
from covaria.tree import AnalysisTree, Tree

SETS = {"discrete": 3, "curved": 20, "plane": 25, "ring": 20, "presence": 2, "homogeneous": 1}
FEW_STATES = 5
PASSES = Pass(MemoryContext())


@dataclass(frozen=True)
class Figure:
    name: str
    found: float
    oracle: float
    goal: float

    def row(self) -> str:
        ratio = self.found / self.oracle if self.oracle else float("nan")
        reached = "yes" if ratio >= self.goal else "NO"
        return f"| {self.name} | {self.found:.3f} | {self.oracle:.3f} | {ratio:.2f} | {self.goal:.2f} | {reached} |"


def true_components(truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, eigenvolumes (rank, D, D, D) and the states' coordinates (S, rank); at most 8."""
    root = (truth.volumes - truth.mean).reshape(len(truth.volumes), -1) * np.sqrt(truth.probabilities)[:, None]
    values, vectors = np.linalg.eigh(root @ root.T)
    keep = [k for k in np.argsort(values)[::-1][:8] if values[k] > 1e-6 * max(values.max(), 1e-30)]
    if not keep or values[keep[0]] < 1e-12:
        return np.zeros(0), np.zeros((0, *truth.mean.shape)), np.zeros((len(truth.volumes), 0))
    volumes = (vectors[:, keep].T @ root) / np.sqrt(values[keep])[:, None]
    coordinates = (truth.volumes - truth.mean).reshape(len(truth.volumes), -1) @ volumes.T
    return values[keep], volumes.reshape(-1, *truth.mean.shape), coordinates


def linear_r2(found: np.ndarray, true: np.ndarray) -> float:
    design = np.column_stack([found, np.ones(len(found))])
    rest = true - design @ np.linalg.lstsq(design, true, rcond=None)[0]
    return float(1 - rest.var() / true.var())


def noise_of(dataset: Path, images: Images) -> Noise:
    """The true noise spectrum of a simulated set, in units of the cached images."""
    spectrum = np.loadtxt(dataset / "gt" / "noise_variance.txt")
    return Noise(spectrum / images.scale**2, np.ones(images.groups))


def known_contrast(stats: ImageStatistics, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fisher matrices (N, q, q) and data (N, q) of the coordinates where each image's contrast (N,) is known."""
    gram, overlap, c = stats.gram.double().numpy(), stats.overlap.double().numpy(), contrast[:, None]
    return (c**2)[..., None] * gram[:, 1:, 1:], c * (overlap[:, 1:] - c * gram[:, 1:, 0])


@dataclass(frozen=True)
class Case:
    """A finished run and its truth: eigenvalues (r,), eigenvolumes (r, D, D, D), coordinates of the states (S, r)."""

    dataset: Path
    truth: Truth
    tree: Tree
    images: Images
    params: dict
    values: np.ndarray
    eigenvolumes: np.ndarray
    states: np.ndarray

    @staticmethod
    def read(dataset: Path, out: Path) -> Case:
        truth, tree = read_truth(dataset), Tree(out)
        params = load_pickle(tree.params)
        images = read_images(particle_files.load(tree.particles)).signed(params["data_sign"])
        return Case(dataset, truth, tree, images, params, *true_components(truth))

    @property
    def state(self) -> np.ndarray:
        """True coordinates of every image, (N, r)."""
        return self.states[self.truth.labels]

    @property
    def found_mean(self) -> np.ndarray:
        halves = np.load(self.tree.half_components)
        return 0.5 * (halves["mean_half1"] + halves["mean_half2"])

    @property
    def found_noise(self) -> Noise:
        used = np.asarray(self.params["noise_var_used"]) / self.images.scale**2
        return Noise(used, self.params["noise_group_factor"])

    @property
    def true_noise(self) -> Noise:
        return noise_of(self.dataset, self.images)

    def found_components(self, count: int) -> np.ndarray:
        """The first eigenvolumes of the run, (count, D, D, D)."""
        paths = sorted(self.tree.volumes.glob("eigen_pos*.mrc"))[:count]
        return np.stack([read_volume(path)[0] for path in paths])

    def components_of_true_latents(self, count: int) -> np.ndarray:
        """What one voxel-wise M-step on the TRUE latents and contrasts gives, (count, D, D, D): sqrt(eigenvalue) u."""
        return self._regressed(self.truth, self.images, self.found_noise, self.found_mean, count)

    def components_of_other_images(self, other: Path, count: int) -> np.ndarray:
        """Regressed on the true latents of another set of the same states, all else there true too, and shrunk as the
        estimator's own are, (count, D, D, D): what no estimator can be expected to pass with as many images."""
        truth = read_truth(other)
        images = read_images(read_particles(IngestOptions(particles=other / "particles.star")))
        images = images.signed(self.images.sign)
        return self._regressed(truth, images, noise_of(other, images), truth.mean, count, by_place=True)

    def _regressed(
        self, truth: Truth, images: Images, noise: Noise, mean: np.ndarray, count: int, *, by_place: bool = False
    ) -> np.ndarray:
        mask = read_volume(self.tree.dilated_mask)[0]
        problem = Problem(images, PASSES, noise, (mean / images.scale).astype(np.float32), mask, 0.0, images.half)
        latents = (self.states[truth.labels][:, :count] / np.sqrt(self.values[:count])).astype(np.float32)
        contrast = truth.contrast.astype(np.float32)
        return regress_on_latents(problem, latents, contrast, by_place=by_place) * images.scale

    def latent_figures(self, found: np.ndarray) -> dict[str, float]:
        """How well coordinates (N, q) tell the truth."""
        figures = {}
        several = len(self.truth.volumes) > FEW_STATES
        for column, latent in enumerate(self.truth.latents.T):
            if np.ptp(latent) > 0 and several:
                best = max(abs(rank_correlation(axis, latent)) for axis in found.T)
                figures[f"latent {column}: best rank correlation"] = best
        for k in range(min(2, len(self.values))):
            figures[f"component {k + 1}: R2 of coordinates"] = linear_r2(found, self.state[:, k])
        if len(self.values) and not several:
            mixture = GaussianMixture(len(self.truth.volumes), n_init=4, random_state=0).fit_predict(found[:, :4])
            figures["adjusted Rand index of the states"] = adjusted_rand_score(self.truth.labels, mixture)
        return figures


def compare(case: Case, zdim: int) -> list[Figure]:
    """Every figure of one run against its oracle."""
    truth, tree, values, states = case.truth, case.tree, case.values, case.states
    true = LinearModel(truth.mean.astype(np.float32), case.eigenvolumes.astype(np.float32), 1.0)
    stats = embedding_statistics(case.images, case.true_noise, true, PASSES)
    gram, overlap = stats.gram.double().numpy(), stats.overlap.double().numpy()
    c = truth.contrast
    with_state = np.concatenate([np.ones((len(c), 1)), case.state], 1)
    known = np.einsum("bk,bk->b", overlap, with_state) / np.einsum("bk,bkl,bl->b", with_state, gram, with_state)
    figures = [
        Figure("contrast correlation", _correlation(np.load(tree.contrasts(zdim)), c), _correlation(known, c), 0.9),
        Figure("1 - median error of the noise spectrum", 1 - _noise_error(case), 1.0, 0.99),
    ]
    if not len(values):
        return figures
    fisher, data = known_contrast(stats, c)
    oracle = case.latent_figures(np.linalg.solve(fisher + np.diag(1 / values), data[..., None])[..., 0])
    if len(truth.volumes) <= FEW_STATES:
        score = data @ states.T - 0.5 * np.einsum("sk,bkl,sl->bs", states, fisher, states)
        bayes = (score + np.log(np.maximum(truth.probabilities, 1e-12))).argmax(1)
        oracle["adjusted Rand index of the states"] = adjusted_rand_score(truth.labels, bayes)
    found = case.latent_figures(np.load(tree.latent_coords(zdim)))
    figures += [Figure(name, found[name], oracle[name], 0.95) for name in found]
    for count in (k for k in (1, 2, 4) if k <= len(values)):
        own, best = case.found_components(count), case.components_of_true_latents(count)
        captured = [captured_variance(truth, list(volumes.astype(np.float64))) for volumes in (own, best)]
        figures.append(Figure(f"variance captured by {count}", captured[0], captured[1], 0.95))
    return figures


def ablate(case: Case, zdim: int, other: Path) -> dict[str, dict[str, float]]:
    """The latents' figures with one part of the model after the other replaced by the truth: who loses what."""
    truth, images = case.truth, case.images
    own = case.found_components(zdim), np.asarray(case.params["s"])[:zdim]
    true = case.eigenvolumes[:zdim], case.values[:zdim]
    count = min(zdim, len(case.values), max(1, int(case.params["significant_components"])))
    same, others = case.components_of_true_latents(count), case.components_of_other_images(other, count)
    mean, true_mean, spread = case.found_mean, truth.mean, float(case.params["contrast_sd"])
    trials = {
        "as found": (mean, case.found_noise, own, False),
        "true contrasts": (mean, case.found_noise, own, True),
        "true noise": (mean, case.true_noise, own, False),
        "true mean": (true_mean, case.found_noise, own, False),
        "components regressed on true latents": (mean, case.found_noise, eigen(same), False),
        "... of as many other images": (mean, case.found_noise, eigen(others), False),
        "true components": (mean, case.found_noise, true, False),
        "all true": (true_mean, case.true_noise, true, True),
    }
    out = {}
    for name, (volume, noise, (vectors, values), known) in trials.items():
        model = LinearModel(volume.astype(np.float32), vectors.astype(np.float32), 1.0)
        stats = embedding_statistics(images, noise, model, PASSES)
        if known:
            fisher, data = known_contrast(stats, truth.contrast)
            found = np.linalg.solve(fisher + np.diag(1 / values), data[..., None])[..., 0]
        else:
            found = embed(stats, values, len(values), spread).regularised.coordinates
        out[name] = case.latent_figures(found)
    return out


def eigen(components: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvolumes of unit norm, and eigenvalues, of components (K, D, D, D) = sqrt(eigenvalue) x eigenvolume."""
    power = (components.astype(np.float64) ** 2).sum((1, 2, 3))
    return components / np.sqrt(power)[:, None, None, None], power


def maps_against_truth(case: Case, zdim: int) -> list[str]:
    """The mean map beside what its half-maps predict; each k-means centre beside the mean map, both compared with the
    mixture of states in the centre's own cluster; and how far the centres lie apart."""
    truth, tree, analysis = case.truth, case.tree, AnalysisTree(case.tree.analysis(zdim))
    mean, mask = read_volume(tree.mean)[0], read_volume(tree.mask)[0]
    halves = fsc(*(read_volume(tree.mean_half(half))[0] for half in (1, 2)), mask)
    predicted = crossing(np.sqrt(np.clip(2 * halves / (1 + halves), 0, 1)), 0.5)
    reached = crossing(fsc(mean, truth.mean, mask), 0.5)
    labels = np.asarray(load_pickle(analysis.kmeans_result)["labels"])
    areas, centres = [], []
    for k in range(labels.max() + 1):
        weight = np.bincount(truth.labels[labels == k], minlength=len(truth.volumes)).astype(float)
        if weight.sum() and analysis.center(k).exists():
            mixture = np.tensordot(weight / weight.sum(), truth.volumes, 1)
            centres.append(read_volume(analysis.center(k))[0])
            areas.append([fsc_area(fsc(v, mixture, mask)) for v in (centres[-1], mean)])
    table, stack = np.array(areas), np.stack(centres)
    spread = np.sqrt(((stack - stack.mean(0)) ** 2).sum((1, 2, 3)).max() / (stack.mean(0) ** 2).sum())
    found, own = table.mean(0)
    return [
        f"mean map: FSC 0.5 to the truth at shell {reached:.1f}, its half-maps predict {predicted:.1f}",
        f"centres nearer to their cluster than the mean map: {int((table[:, 0] > table[:, 1]).sum())} of {len(table)} "
        f"(FSC area {found:.3f}, {own:.3f}); farthest centre from their average: {100 * spread:.1f} % of its norm",
    ]


def _correlation(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.corrcoef(found, true)[0, 1])


def _noise_error(case: Case) -> float:
    true, used = case.true_noise.spectrum, case.found_noise.spectrum
    shells = min(len(true), len(used))
    return float(np.median(np.abs(used[:shells] / true[:shells] - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--images", type=int, nargs="+", default=[4000])
    parser.add_argument("--snr", type=float, nargs="+", help="default: 0.05 0.2, of --rows: 0.05")
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--zdim", default="4,10")
    parser.add_argument("--ablate", action="store_true", help="and with each part of the model replaced by the truth")
    parser.add_argument("--rows", type=robustness.chosen, metavar="clean,blobs", help="of the nuisances; every: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sets of --rows")
    parser.add_argument("--folder", type=Path, default=Path("build/accuracy"))
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.rows:
        for count, snr in product(given.images, given.snr or [0.05]):
            folder = given.folder / "nuisances"
            robustness.print_table(given.rows, folder, images=count, box=given.box, snr=snr, seed=given.seed)
        return
    for name, snr, count in product(given.sets, given.snr or [0.05, 0.2], given.images):
        _one_set(name, snr, count, given)


def _one_set(name: str, snr: float, count: int, given: argparse.Namespace) -> None:
    """Simulate, run and compare one set with its oracle."""
    zdim = min(int(z) for z in given.zdim.split(","))
    dataset = given.folder / f"{name}-{snr}-{count}"
    out = Path(f"{dataset}-out")
    _simulate(dataset, name, snr, count, given.box, seed=0)
    began = time.perf_counter()
    run = ["run", dataset / "particles.star", "-o", out, "--no-downsample", "--zdim", given.zdim]
    call(*run, "--analysis-zdim", zdim, "--skip-umap", "--overwrite")
    seconds = time.perf_counter() - began
    significant = load_pickle(Tree(out).params)["significant_components"]
    print(f"\n### {name}, SNR {snr}, {count:,} images ({seconds:.0f} s; {significant} confirmed)\n")
    print("| figure | found | oracle | fraction | goal | reached |\n|---|---|---|---|---|---|")
    case = Case.read(dataset, out)
    for figure in compare(case, zdim):
        print(figure.row(), flush=True)
    print("", *maps_against_truth(case, zdim), sep="\n", flush=True)
    if given.ablate and len(case.values):
        other = Path(f"{dataset}-other")
        _simulate(other, name, snr, count, given.box, seed=1)
        _print_ablation(ablate(case, zdim, other))


def _print_ablation(table: dict[str, dict[str, float]]) -> None:
    names = list(table["as found"])
    print(f"\n| model | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for model, figures in table.items():
        print(f"| {model} | {' | '.join(f'{figures[name]:.3f}' for name in names)} |", flush=True)


def _simulate(dataset: Path, name: str, snr: float, count: int, box: int, *, seed: int) -> None:
    if not (dataset / "particles.star").exists():
        options = ["--box", box, "--n-images", count, "--snr", snr, "--states", name, "--n-states", SETS[name]]
        call("simulate", dataset, *options, "--seed", seed)


if __name__ == "__main__":
    main()
