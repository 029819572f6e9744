"""How near a run comes to what a perfect estimator would reach on the same images.

    python bench/accuracy.py [--sets curved discrete ...] [--images 4000] [--snr 0.05 0.2] [--folder build/accuracy]

For each set: simulate, `covaria run`, compare with the truth, and with an oracle that is given the true mean,
components, noise spectrum and contrasts (latents, labels), the true state of each image (contrast), or the true latents
(components: one voxel-wise M-step). Prints a Markdown table. `goal` is the fraction of the oracle that we ask for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from covaria import particles as particle_files
from covaria.imaging.images import Images, Noise
from covaria.maps import fsc, fsc_area, read_volume
from covaria.simulation.truth import Truth, captured_variance, rank_correlation, read_truth
from covaria.tree import AnalysisTree, Tree
from covaria.tree.data_pickle import read_data_pickle
from covaria_reconstruction.embedding import embedding_statistics
from covaria_reconstruction.expectation_maximisation import Problem
from covaria_reconstruction.latent_regression import regress_on_latents

SETS = {"discrete": 3, "curved": 20, "plane": 25, "ring": 20, "presence": 2, "homogeneous": 1}
FEW_STATES = 5


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


def compare(dataset: Path, out: Path, zdim: int) -> list[Figure]:
    """Every figure of one run against its oracle."""
    truth, tree = read_truth(dataset), Tree(out)
    images = Images(particle_files.load(tree.particles))
    params = read_data_pickle(tree.params)
    images.sign = float(params["data_sign"])
    noise_truth = np.loadtxt(dataset / "gt" / "noise_variance.txt") / images.scale**2
    values, eigenvolumes, states = true_components(truth)
    stats = embedding_statistics(
        images,
        Noise(noise_truth, np.ones(images.groups)),
        truth.mean.astype(np.float32),
        eigenvolumes.astype(np.float32),
    )
    gram, overlap = stats.gram.double().numpy(), stats.overlap.double().numpy()
    c = truth.contrast
    state = states[truth.labels]
    with_state = np.concatenate([np.ones((len(state), 1)), state], 1)
    known = np.einsum("bk,bk->b", overlap, with_state) / np.einsum("bk,bkl,bl->b", with_state, gram, with_state)
    figures = [
        Figure("contrast correlation", _correlation(np.load(tree.contrasts(zdim)), c), _correlation(known, c), 0.9),
        Figure("1 - median error of the noise spectrum", 1 - _noise_error(params, dataset), 1.0, 0.99),
    ]
    if not len(values):
        return figures
    data = c[:, None] * (overlap[:, 1:] - c[:, None] * gram[:, 1:, 0])
    fisher = (c**2)[:, None, None] * gram[:, 1:, 1:]
    oracle = np.linalg.solve(fisher + np.diag(1 / values), data[..., None])[..., 0]
    found = np.load(tree.latent_coords(zdim))
    for column, latent in enumerate(truth.latents.T):
        if np.ptp(latent) > 0 and len(truth.volumes) > FEW_STATES:
            best = [max(abs(rank_correlation(axis, latent)) for axis in z.T) for z in (found, oracle)]
            figures.append(Figure(f"latent {column}: best rank correlation", best[0], best[1], 0.95))
    for k in range(min(2, len(values))):
        r2 = 1 - ((oracle[:, k] - state[:, k]) ** 2).mean() / state[:, k].var()
        figures.append(Figure(f"component {k + 1}: R2 of coordinates", linear_r2(found, state[:, k]), float(r2), 0.95))
    if 1 < len(truth.volumes) <= FEW_STATES:
        score = data @ states.T - 0.5 * np.einsum("sk,bkl,sl->bs", states, fisher, states)
        bayes = (score + np.log(np.maximum(truth.probabilities, 1e-12))).argmax(1)
        mixture = GaussianMixture(len(truth.volumes), n_init=4, random_state=0).fit_predict(found[:, :4])
        ari = [adjusted_rand_score(truth.labels, labels) for labels in (mixture, bayes)]
        figures.append(Figure("adjusted Rand index of the states", ari[0], ari[1], 0.95))
    figures += _component_figures(truth, tree, images, params, values, state)
    return figures


def _component_figures(
    truth: Truth, tree: Tree, images: Images, params: dict, values: np.ndarray, state: np.ndarray
) -> list[Figure]:
    halves = np.load(tree.half_components)
    mean = 0.5 * (halves["mean_half1"] + halves["mean_half2"]) / images.scale
    spectrum = np.append(params["noise_var_used"], params["noise_var_used"][-1]) / images.scale**2
    mask = read_volume(tree.dilated_mask)[0]
    problem = Problem(images, Noise(spectrum, params["noise_group_factor"]), mean, mask, 0.0, images.half)
    eigenvolumes = [read_volume(path)[0].astype(np.float64) for path in sorted(tree.volumes.glob("eigen_pos*.mrc"))[:4]]
    out = []
    for count in (k for k in (1, 2, 4) if k <= min(len(values), len(eigenvolumes))):
        latents = (state[:, :count] / np.sqrt(values[:count])).astype(np.float32)
        best = regress_on_latents(problem, latents, truth.contrast.astype(np.float32)).astype(np.float64)
        captured = [captured_variance(truth, volumes) for volumes in (eigenvolumes[:count], list(best))]
        out.append(Figure(f"variance captured by {count}", captured[0], captured[1], 0.95))
    return out


def states_against_mean(truth: Truth, out: Path, zdim: int) -> str:
    """FSC area of each k-means centre to the mixture of its own cluster, beside that of the mean map."""
    tree, analysis = Tree(out), AnalysisTree(Tree(out).analysis(zdim))
    labels = np.asarray(read_data_pickle(analysis.kmeans_result)["labels"])
    mean, mask = read_volume(tree.mean)[0], read_volume(tree.mask)[0]
    areas = []
    for k in range(labels.max() + 1):
        weight = np.bincount(truth.labels[labels == k], minlength=len(truth.volumes)).astype(float)
        if weight.sum() and analysis.center(k).exists():
            mixture = np.tensordot(weight / weight.sum(), truth.volumes, 1)
            areas.append([fsc_area(fsc(v, mixture, mask)) for v in (read_volume(analysis.center(k))[0], mean)])
    table = np.array(areas)
    better = int((table[:, 0] > table[:, 1]).sum())
    found, own = table.mean(0)
    return (
        f"centres nearer to their cluster than the mean map: {better} of {len(table)} (FSC area {found:.3f}, {own:.3f})"
    )


def _correlation(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.corrcoef(found, true)[0, 1])


def _noise_error(params: dict, dataset: Path) -> float:
    true = np.loadtxt(dataset / "gt" / "noise_variance.txt")
    shells = min(len(true), len(params["noise_var_used"]))
    return float(np.median(np.abs(params["noise_var_used"][:shells] / true[:shells] - 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--images", type=int, nargs="+", default=[4000])
    parser.add_argument("--snr", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--zdim", default="4,10")
    parser.add_argument("--folder", type=Path, default=Path("build/accuracy"))
    given = parser.parse_args()
    torch.manual_seed(0)
    covaria = str(Path(sys.executable).with_name("covaria"))
    zdim = min(int(z) for z in given.zdim.split(","))
    for name in given.sets:
        for snr in given.snr:
            for count in given.images:
                dataset = given.folder / f"{name}-{snr}-{count}"
                out = Path(f"{dataset}-out")
                if not (dataset / "particles.star").exists():
                    simulate = [covaria, "simulate", dataset, "--box", given.box, "--n-images", count, "--snr", snr]
                    _call([*simulate, "--states", name, "--n-states", SETS[name]])
                began = time.perf_counter()
                run = [covaria, "run", dataset / "particles.star", "-o", out, "--no-downsample", "--zdim", given.zdim]
                _call([*run, "--analysis-zdim", zdim, "--skip-umap", "--overwrite"])
                seconds = time.perf_counter() - began
                significant = read_data_pickle(Tree(out).params)["significant_components"]
                print(f"\n### {name}, SNR {snr}, {count:,} images ({seconds:.0f} s; {significant} significant)\n")
                print("| figure | found | oracle | fraction | goal | reached |\n|---|---|---|---|---|---|")
                for figure in compare(dataset, out, zdim):
                    print(figure.row(), flush=True)
                print(f"\n{states_against_mean(read_truth(dataset), out, zdim)}", flush=True)


def _call(command: list) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
