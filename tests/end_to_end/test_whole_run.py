"""`covaria run` as a user meets it: the documented tree, refusal, resume, overwrite, a real set."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from covaria.findings import Findings
from covaria.simulation import truth as scoring
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.tree import AnalysisTree, DensityTree, ParticleFiles, SubsetTree, Tree, atomic

N, BOX, CLUSTERS, ALONG = 400, 32, 3, 3
OPTIONS = (
    *("--zdim", "1,2", "--n-clusters", CLUSTERS, "--n-vols-along-path", ALONG, "--density-dim", 1),
    *("--device", "cpu", "--memory-gb", 2, "--seed", 3),
)
COVARIA = [sys.executable, "-c", "from covaria.cli import main; main()"]


def covaria(*arguments: object, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COVARIA, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env=_environment()
    )


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("particles")
    simulate(
        out, BUILT_IN["presence"](2), SimulationOptions(n_images=N, box=BOX, pixel_size_angstrom=8.0, snr=1.0, seed=4)
    )
    return out


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """One whole run, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("run") / "out"
    done = covaria("run", dataset / "particles.star", "-o", out, "--no-downsample", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "next     covaria" in done.stdout
    return Tree(out)


def test_the_report_shows_every_figure_of_the_run(finished: Tree) -> None:
    text = finished.report.read_text()
    assert f"<h1>{Findings.model_validate(json.loads(finished.job_json.read_text())['findings']).headline()}" in text
    assert text.count("data:image/") >= 14 and 'class="warning"' not in text
    assert len(text) < 15e6


def numbers_of_figures(out: Path) -> list[Path]:
    return [path for path in out.rglob("*.csv") if path.with_suffix(".svg").exists()]


def test_figures_are_drawn_again_from_what_is_left(finished: Tree, tmp_path: Path) -> None:
    """Also in a folder that has moved; the numbers are the same, every file has its sum, and what has gone is named."""
    tree = Tree(tmp_path / "moved")
    shutil.copytree(finished.out, tree.out)
    before = {path: path.read_bytes() for path in numbers_of_figures(tree.out)}
    assert len(before) > 15
    for path in before:
        path.unlink()
    again = covaria("plots", tree.out)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in numbers_of_figures(tree.out)} == before
    assert covaria("verify", tree.out).returncode == 0
    shutil.rmtree(tree.density / "data")
    half = covaria("plots", tree.out)
    assert half.returncode == 1
    assert "not drawn: density/plots/all_densities.png" in half.stderr and "l_curve.json: is not there" in half.stderr
    assert "not there any more" in tree.report.read_text()
    (tmp_path / "other").mkdir()
    assert "is not an output directory of Covaria" in covaria("report", tmp_path / "other").stderr
    assert not list((tmp_path / "other").iterdir())


def test_a_script_with_numpy_alone_reads_everything(finished: Tree, tmp_path: Path) -> None:
    """As a user's would, without Covaria: every array, pickle, map, table and book, and what RECOVAR's look for."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, "-I", str(script), str(finished.out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = {word.split("=")[0]: int(word.split("=")[1]) for word in done.stdout.split()}
    assert read[".npy"] > 10 and read[".pkl"] > 20 and read[".mrc"] > 60 and read[".txt"] > 8, read


SCRIPT = f"""
import json, pathlib, pickle, sys, collections
sys.modules["covaria"] = None
import numpy as np

out, seen = pathlib.Path(sys.argv[1]), collections.Counter()
def pkl(name): return pickle.load(open(out / name, "rb"))
for path in out.rglob("*"):
    if ".covaria" in path.parts or not path.is_file(): continue
    seen[path.suffix] += 1
    if path.suffix == ".npy": np.load(path)
    elif path.suffix == ".pkl": pickle.load(open(path, "rb"))
    elif path.suffix == ".json": json.load(open(path))
    elif path.suffix == ".txt" and path.name not in ("README.txt", "command.txt"): np.loadtxt(path, ndmin=2)
    elif path.suffix == ".mrc":
        data = path.read_bytes()
        n, mode = np.frombuffer(data[:12], "<i4"), np.frombuffer(data[12:16], "<i4")[0]
        assert mode == 2 and len(data) == 1024 + 4 * n.prod(), path
params = pkl("model/params.pkl")
D = params["volume_shape"][0]
assert params["version"] == "0.7" and params["input_args"]["outdir"] == params["input_args"]["out"]
assert params["input_args"]["zdim"] == [1, 2] and params["input_args"]["mask"] == "from_halfmaps"
for key in ("noise_var_used", "radial_noise_var_outside_mask", "radial_ub_noise_var", "image_PS"):
    assert params[key].shape == (D // 2 - 1,) and (params[key] > 0).all(), key
assert params["image_PS"][2] > params["radial_ub_noise_var"][2] >= params["noise_var_used"][2]
assert abs(params["white_noise_var_outside_mask"] / params["noise_var_used"].mean() - 1) < 0.5
assert params["variance_fsc"].shape == (D // 2,)
z = np.load(out / "model/zdim_2/latent_coords.npy")
assert z.shape == ({N}, 2) and np.load(out / "model/zdim_2/latent_precision.npy").shape == ({N}, 2, 2)
assert (np.load(out / "model/zdim_2/contrasts_noreg.npy") == np.load(out / "model/zdim_2/contrasts.npy")).all()
halves, particles = pkl("model/halfsets.pkl"), pkl("model/particles_halfsets.pkl")
assert all((a == b).all() for a, b in zip(halves, particles)) and sum(map(len, halves)) == {N}
about = json.load(open(out / "model/metadata.json"))
assert about["zdims_computed"] == [1, 2] and about["volume_shape"] == [D] * 3 and "params.pkl" in about["files"]
found = pkl("analysis_2/data/kmeans_result.pkl")
assert found["centers"].shape == ({CLUSTERS}, 2) and found["labels"].shape == ({N},)
kmeans = out / "analysis_2/kmeans"
assert (np.loadtxt(kmeans / "latent_coords.txt") == np.loadtxt(kmeans / "centers.txt")).all()
assert np.loadtxt(out / "analysis_2/traj000/latent_coords.txt").shape == ({ALONG}, 2)
state = pkl("analysis_2/kmeans/diagnostics/center000/params.pkl")
choice = pkl("analysis_2/kmeans/diagnostics/center000/split_choice.pkl")["split_choice"]
owner = np.frombuffer((out / "analysis_2/kmeans/diagnostics/center000/sampling.mrc").read_bytes()[1024:], "<f4")
assert owner.min() == -1 and owner.max() == len(choice) - 1 and choice.shape[1] == D // 2
assert choice.max() < len(state["heterogeneity_bins"]) == len(state["n_images_per_bin"])
density = pkl("density/data/deconv_density_knee.pkl")
low, high = density["latent_space_bounds"][0]
assert abs(density["density"].sum() * (high - low) / (len(density["density"]) - 1) - 1) < 0.05
alphas = [pkl(f"density/data/all_densities/deconv_density_{{k}}.pkl")["alpha"] for k in range(11)]
assert alphas[density["alpha_index"]] == density["alpha"] and 0 <= density["l_curve_knee_index"] < 11
for folder, command in ((".", "run"), ("density", "density"), ("analysis_2", "analyze")):
    job = json.load(open(out / folder / "job.json"))
    assert job["command"] == command and job["provenance"]["pipeline_result_dir"] == str(out), folder
    assert job["timing"]["started_at"] < job["timing"]["completed_at"] and job["timing"]["duration_seconds"] > 0
print(*(f"{{key}}={{value}}" for key, value in seen.items()))
"""


def _load(path: Path) -> object:
    with path.open("rb") as file:
        return pickle.load(file)


def test_every_documented_file_is_there(finished: Tree) -> None:
    """All but density_sliced/, which a density of one dimension (quick) does not have."""
    tree, analysis, density = finished, AnalysisTree(finished.analysis(2)), DensityTree(finished.density)
    expected = [tree.params, tree.halfsets, tree.mean, tree.mean_filtered, tree.mean_half(1), tree.mean_half(2)]
    expected += [tree.mask, tree.dilated_mask, tree.eigenvolume(0), tree.eigenvolume(3), tree.variance(4)]
    for folder in (tree.out, analysis.root, density.root):
        expected += [folder / name for name in ("job.json", "command.txt", "run.log", "README.txt")]
    for zdim in (1, 2):
        expected += [tree.latent_coords(zdim), tree.latent_coords_noreg(zdim), tree.latent_precision(zdim)]
        expected += [tree.latent_precision_noreg(zdim), tree.contrasts(zdim)]
    expected += [tree.particle_halfsets, tree.metadata, tree.focus_mask, tree.variance(10), tree.variance(20)]
    expected += [tree.contrasts_noreg(zdim) for zdim in (1, 2)]
    expected += [analysis.centers_again, analysis.trajectory(0).latent_coords]
    plots = ("eigenvalues", "mean_fsc", "contrast_histogram", "noise_spectrum", "mean_variance_eigenvolumes")
    expected += [tree.plots / f"{name}.png" for name in plots]
    expected += [analysis.contrast_histogram, analysis.kmeans_result]
    expected += [analysis.trajectory_endpoints, analysis.centers_txt, analysis.trajectory(0).path_json]
    for i in range(CLUSTERS):
        expected += [analysis.center(i), *map(analysis.center_files(i).half, (1, 2))]
        expected += [analysis.center_files(i).unfiltered]
        folder = analysis.center_files(i).diagnostics
        names = ("local_resolution.mrc", "latent_coords.txt", "heterogeneity_distances.txt", "chosen_bandwidth.npy")
        names += ("params.pkl", "split_choice.pkl", "sampling.mrc")
        expected += [folder / name for name in (*names, "params.json")]
    for i in range(ALONG):
        expected += [analysis.trajectory(0).state(i).volume, analysis.trajectory(0).state(i).diagnostics]
    expected += [density.all_densities_plot, density.l_curve_plot, density.knee, density.density(0)]
    missing = [str(path.relative_to(tree.out)) for path in expected if not path.exists()]
    assert missing == []
    for folder in (analysis.pca_single_plot.parent, analysis.density_plot.parent):
        assert list(folder.glob("*.png")), f"{folder} holds no plot"
    assert not analysis.umap_plot.exists(), "fewer than three components are confirmed"


def test_what_was_found_is_said_everywhere(finished: Tree) -> None:
    document = json.loads(finished.job_json.read_text())
    found = Findings.model_validate(document["findings"])
    assert found.confirmed == 1
    assert (found.particles, found.used, len(found.states)) == (N, N, CLUSTERS)
    assert document["findings"]["headline"] == found.headline()
    assert "1 component of motion confirmed by both half-sets" in finished.readme.read_text()


def test_a_cluster_goes_back_to_the_file_it_came_from(finished: Tree, dataset: Path, tmp_path: Path) -> None:
    source = (dataset / "particles.star").read_text().splitlines(keepends=True)
    labels = np.asarray(_load(AnalysisTree(finished.analysis(2)).kmeans_result)["labels"])
    made = SubsetTree(tmp_path / "subset")
    asked = ["--cluster", "0", "--where", "contrast > 0.9 and z1 == z1", "-o", made.root]
    done = covaria("subset", finished.out, *asked)
    assert done.returncode == 0, done.stderr
    contrasts = np.load(finished.contrasts(2))
    wanted = np.flatnonzero((labels == 0) & (contrasts > 0.9))
    assert np.array_equal(_load(made.indices_pkl), wanted)
    assert np.array_equal(np.loadtxt(made.indices_txt), wanted)
    rows = [line for line in source if "@" in line]
    assert [line for line in ParticleFiles(made.root).star.read_text().splitlines(keepends=True) if "@" in line] == [
        rows[row] for row in wanted
    ]
    assert json.loads(made.job_json.read_text())["command"] == "subset"
    again = covaria("subset", finished.out, "--selection", made.selection, "--invert", "-o", tmp_path / "others")
    assert again.returncode == 0, again.stderr
    others = SubsetTree(tmp_path / "others")
    assert np.array_equal(_load(others.indices_pkl), np.setdiff1d(np.arange(N), wanted))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((), "no condition is given"),
        (("--where", "height > 1"), "known: index, half_set"),
        (("--where", "z1 > 1e9"), "no particle fulfils"),
        (("--cluster", "one"), "is no list of numbers"),
        (("--near", "0"), "need --nearest"),
    ],
)
def test_a_subset_of_nothing_is_refused(finished: Tree, tmp_path: Path, asked: tuple[str, ...], words: str) -> None:
    done = covaria("subset", finished.out, *asked, "-o", tmp_path / "subset")
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "subset").exists()


def test_a_source_that_changed_is_refused(finished: Tree, dataset: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.star"
    moved.write_text((dataset / "particles.star").read_text() + "\n")
    done = covaria("subset", finished.out, "--cluster", "0", "--source", moved, "-o", tmp_path / "subset")
    assert done.returncode == 2
    assert "has changed since the run" in done.stderr


def test_only_documented_names_at_the_root(finished: Tree) -> None:
    names = {".covaria", "job.json", "command.txt", "run.log", "README.txt", "report.html", "model"}
    names |= {"output", "density", "analysis_2", "ro-crate-metadata.json"}
    assert {path.name for path in finished.out.iterdir()} == names
    assert not list(finished.out.rglob("*.tmp")) and not list(finished.temporary.glob("*"))


def test_volumes_are_valid_mrc_with_the_voxel_size(finished: Tree) -> None:
    volumes = sorted(finished.out.rglob("*.mrc"))
    assert len(volumes) > 20
    for path in volumes:
        assert mrcfile.validate(path), path
        with mrcfile.open(path) as file:
            assert file.data.shape == (BOX,) * 3 and file.data.dtype == np.float32, path
            assert np.isfinite(file.data).all(), path
            assert file.voxel_size.x == file.voxel_size.y == file.voxel_size.z == pytest.approx(8.0), path


def test_arrays_and_pickles_are_as_documented(finished: Tree) -> None:
    tree, analysis = finished, AnalysisTree(finished.analysis(2))
    for zdim in (1, 2):
        assert np.load(tree.latent_coords(zdim)).shape == (N, zdim)
        assert np.load(tree.latent_coords(zdim)).dtype == np.float32
        assert np.load(tree.latent_precision_noreg(zdim)).shape == (N, zdim, zdim)
        assert np.load(tree.contrasts(zdim)).shape == (N,)
    params = _load(tree.params)
    assert isinstance(params, dict)
    keys = "schema_version covaria_version volume_shape voxel_size s noise_var_used data_sign uninvert_data mean_fsc "
    keys += "component_fsc significant_components image_scale input_args"
    assert set(keys.split()) - set(params) == set()
    assert len(params["noise_var_used"]) == BOX // 2 - 1
    halves = _load(tree.halfsets)
    assert isinstance(halves, list)
    np.testing.assert_array_equal(np.sort(np.concatenate(halves)), np.arange(N))
    clusters = _load(analysis.kmeans_result)
    assert isinstance(clusters, dict) and clusters["centers"].shape == (CLUSTERS, 2)
    assert clusters["labels"].shape == (N,) and set(np.unique(clusters["labels"])) <= set(range(-1, CLUSTERS))
    np.testing.assert_allclose(np.loadtxt(analysis.centers_txt, ndmin=2), clusters["centers"], rtol=1e-4, atol=1e-6)
    ends = _load(analysis.trajectory_endpoints)
    assert isinstance(ends, dict) and {"centers", "pairs"} <= set(ends)
    density = _load(tree.density_knee)
    assert isinstance(density, dict) and density["density"].ndim == 1
    assert np.shape(density["latent_space_bounds"]) == (1, 2) and float(density["alpha"]) > 0


def test_job_json_and_log(finished: Tree) -> None:
    document = json.loads(finished.job_json.read_text())
    assert document["status"] == "succeeded" and "error" not in document
    assert list(document["stages"]) == ["ingest", "reconstruction", "density", "analysis"]
    for stage in document["stages"].values():
        assert stage["status"] == "succeeded" and stage["seconds"] > 0 and stage["peak_memory_bytes"] > 0
    assert document["stages"]["reconstruction"]["images_per_second"] > 0
    assert document["parameters"]["reconstruction"]["zdim"] == [1, 2]
    assert {"maps", "eigenvolumes", "latent_coordinates", "clusters", "trajectories", "plots"} <= set(
        document["outputs"]
    )
    for paths in document["outputs"].values():
        assert all((finished.out / path).is_file() for path in paths)
    assert [json.loads((finished.analysis(2) / "job.json").read_text())["status"]] == ["succeeded"]
    assert "analysis" in finished.run_log.read_text() and "center000.mrc" in finished.readme.read_text()


def test_the_result_is_near_the_truth(finished: Tree, dataset: Path) -> None:
    """32 pixels, 400 images: enough to see that axes, sign, scale and row order are right."""
    truth = scoring.read_truth(dataset)
    figures = scoring.score(truth, finished)
    assert figures["mean map: mean FSC to the truth"] > 0.7, figures
    assert figures["contrast: correlation"] > 0.5, figures
    mean = mrcfile.read(finished.mean).astype(float)
    scale = (mean * truth.mean).sum() / (truth.mean**2).sum()
    assert scale == pytest.approx(1, abs=0.15), "density is on the scale of the images"


def test_a_finished_run_is_refused_then_replaced(finished: Tree, dataset: Path) -> None:
    refused = covaria("run", dataset / "particles.star", "-o", finished.out, "--no-downsample", *OPTIONS)
    assert refused.returncode == 2 and "--overwrite" in refused.stderr
    assert json.loads(finished.job_json.read_text())["status"] == "succeeded"


def test_overwrite_keeps_what_is_not_ours(dataset: Path, tmp_path: Path) -> None:
    arguments = ("run", dataset / "particles.star", "-o", tmp_path / "out", "--downsample", 24, "--only-mean", *OPTIONS)
    first = covaria(*arguments)
    assert first.returncode == 0, first.stderr
    tree = Tree(tmp_path / "out")
    assert mrcfile.read(tree.mean).shape == (24,) * 3
    assert tree.downsampled_star(24).is_file() and tree.downsampled_stack(24).is_file()
    (tree.out / "notes.txt").write_text("mine")
    again = covaria(*arguments, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert (tree.out / "notes.txt").read_text() == "mine"


def test_interrupted_and_resumed(dataset: Path, tmp_path: Path) -> None:
    """SIGTERM in the middle of the reconstruction: exit 75; the same command goes on from there and ends the same."""
    out = tmp_path / "out"
    arguments = [
        "run", str(dataset / "particles.star"), "-o", str(out), "--no-downsample", "--no-density", "--skip-umap",
        "--n-trajectories", "0", *map(str, OPTIONS),
    ]  # fmt: skip
    tree = Tree(out)
    process = subprocess.Popen([*COVARIA, *arguments], stderr=subprocess.PIPE, text=True, env=_environment())
    _wait_until(lambda: _status(tree) == "running" and "mean" in _text(tree.stage_log("reconstruction")))
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    document = json.loads(tree.job_json.read_text())
    assert document["status"] == "queued" and document["stages"]["ingest"]["status"] == "succeeded"
    ingested = document["stages"]["ingest"]["finished_at"]
    done = covaria(*arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(tree.job_json.read_text())
    assert document["status"] == "succeeded" and document["stages"]["ingest"]["finished_at"] == ingested
    assert AnalysisTree(tree.analysis(2)).center(CLUSTERS - 1).is_file()


def test_a_killed_run_resumes(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", str(dataset / "particles.star"), "-o", str(out), "--no-downsample", "--only-mean"]
    arguments += map(str, OPTIONS)
    tree = Tree(out)
    process = subprocess.Popen([*COVARIA, *arguments], stderr=subprocess.DEVNULL, env=_environment())
    _wait_until(lambda: _status(tree) == "running")
    process.kill()
    process.wait(timeout=60)
    assert json.loads(tree.job_json.read_text())["stages"]["reconstruction"]["status"] == "running"
    done = covaria(*arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(tree.job_json.read_text())["status"] == "succeeded" and tree.mean.is_file()
    assert list(tree.temporary.glob("*")) == []


def test_a_real_set(shared_data: Callable[..., Path], tmp_path: Path) -> None:
    """cryoDRGN's toy projections: 1,000 images of 30 pixels, an old STAR file without optics, poses in a pickle.

    The pickle's translations are an older layout's, in pixels (read as fractions they smear the images: half-map FSC
    0.4 at shell 3 against 1.0); they are rewritten as fractions of the box.
    """
    star = shared_data("cryodrgn", "toy_projections.star")
    with shared_data("cryodrgn", "toy_rot_trans.pkl").open("rb") as file:
        rotations, pixels = pickle.load(file)
    poses = tmp_path / "poses.pkl"
    atomic.write_pickle(poses, (rotations, pixels / 30))
    done = covaria(
        "run", star, "--poses", poses, "--pixel-size", 1, "--box", 30, "--no-downsample", "-o", tmp_path / "out",
        "--only-mean", *OPTIONS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tree = Tree(tmp_path / "out")
    halves = [mrcfile.read(tree.mean_half(half)).astype(float) for half in (1, 2)]
    curve = scoring.shell_correlation(*halves)
    assert curve[1:6].min() > 0.9, curve
    mean = mrcfile.read(tree.mean).astype(float)
    inside = np.linalg.norm(np.indices(mean.shape) - 15, axis=0) < 12
    assert mean[inside].var() > 5 * mean[~inside].var(), "a particle in the middle of the box"


def _status(tree: Tree) -> str | None:
    """The reconstruction's, as job.json gives it."""
    if not tree.job_json.is_file():
        return None
    return json.loads(tree.job_json.read_text())["stages"]["reconstruction"]["status"]


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _wait_until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
