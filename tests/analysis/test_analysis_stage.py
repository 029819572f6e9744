"""The stage on files. Volumes are another module's work: here it is only checked which ones are asked for."""

from __future__ import annotations

import csv
import json
import pickle

import numpy as np
import pytest

from covaria.errors import Cancelled, InvalidInput, RefusedOutput
from covaria.estimation.latents.model import Latents
from covaria.maps import write_volume
from covaria.particles import save
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.stacks.images import StackImages
from covaria.plots import style
from covaria.request.model import AnalysisOptions, IngestOptions, ReconstructionOptions, Request
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.results.populations import read_populations
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria.tree import AnalysisTree, Tree, VolumeFiles, record
from covaria.tree.atomic import write_json, write_pickle
from covaria_analysis.stage import run

COUNT = 600
BALL = np.exp(-0.1 * ((np.indices((16, 16, 16)) - 7.5) ** 2).sum(0)).astype(np.float32)


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """What is drawn, not how finely."""
    monkeypatch.setattr(style, "DPI", 30)
    monkeypatch.setattr(style, "SVG_DPI", 30)


@pytest.fixture(name="out")
def out_fixture(tmp_path):
    """A bent path in 3 coordinates, every 20th particle excluded; zdim 1 and 3."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, COUNT)
    latent = np.stack([20 * t, 15 * t**2 - 5, 4 * t**3], axis=1) + 0.5 * rng.standard_normal((COUNT, 3))
    latent[::20] = np.nan
    contrasts = 1 + 0.1 * rng.standard_normal(COUNT)
    contrasts[::20] = np.nan
    for zdim in (1, 3):
        precision = np.tile(np.eye(zdim), (COUNT, 1, 1))
        found = Latents(latent[:, :zdim], precision, contrasts).in_input_order(np.arange(COUNT), COUNT)
        write_latents(Tree(tmp_path / "out"), found, found)
    confirm(tmp_path / "out", 3)
    tree = Tree(tmp_path / "out")
    tree.volumes.mkdir(parents=True)
    maps = (tree.mean, tree.mean_filtered, tree.mean_half(1), tree.mean_half(2), tree.mask, tree.dilated_mask)
    for path in (*maps, *(tree.eigenvolume(k) for k in range(3))):
        write_volume(path, BALL, 3.0)
    write_half_sets(tree, (np.arange(0, COUNT, 2), np.arange(1, COUNT, 2)))
    store_particles(tree)
    return tmp_path / "out"


def store_particles(tree):
    """What the ingest stage leaves: poses and CTF that nobody looks at here, 30 micrographs."""
    none = np.zeros(COUNT)
    stack = StackImages((tree.out / "p.mrcs",), np.zeros(COUNT, np.int64), np.arange(COUNT), 16)
    micrograph = np.arange(COUNT) // 20
    particles = Particles(
        tree.out / "p.star", 16, 3.0, np.tile(np.eye(3), (COUNT, 1, 1)), np.zeros((COUNT, 2)),
        ContrastTransfer(*[none] * 7), np.zeros(COUNT, np.int64), (np.arange(COUNT) % 2).astype(np.int8), micrograph,
        np.ones(COUNT, bool), stack,
    )  # fmt: skip
    save(tree.particles, particles)


def confirm(out, count):
    """The components' sizes as the reconstruction writes them, `count` of them confirmed."""
    write_pickle(out / "model" / "params.pkl", {"s": np.array([140.0, 25, 2.5]), "significant_components": count})


@pytest.fixture(name="asked", autouse=True)
def asked_fixture(monkeypatch):
    """What the stage asks of covaria.states."""
    calls = []

    def compute(tree, zdim, groups, *, b_factor=0.0, context):
        calls.append((zdim, list(groups), b_factor))
        for group in groups:
            for number in range(len(group.targets)):
                group.directory.mkdir(parents=True, exist_ok=True)
                name = f"{group.prefix}{number:03d}"
                files = VolumeFiles(group.directory, name)
                files.diagnostics.mkdir(parents=True)
                for path in (files.volume, files.half(1), files.half(2), files.local_resolution):
                    write_volume(path, BALL, 3.0)
                write_json(files.params, {"half_map_resolution_angstrom": {"fsc_1/7": 8.5}})

    monkeypatch.setattr("covaria.states.compute_state_groups", compute)
    return calls


def _run(out, context=None, **options):
    options = {"zdim": 3, "n_clusters": 8, "skip_umap": True} | options
    request = Request(out=out, ingest=IngestOptions(particles="p.star"), analysis=AnalysisOptions(**options))
    run(Job("j", request), context or MemoryContext())


def _curve_density(path):
    x, y = np.meshgrid(np.linspace(-25, 25, 60), np.linspace(-10, 15, 50), indexing="ij")
    density = np.exp(-((y - 15 * (x / 20) ** 2 + 5) ** 2) / 8) * (np.abs(x) < 22)
    write_pickle(path, {"density": density, "latent_space_bounds": np.array([[-25.0, 25], [-10, 15]]), "alpha": 1e-3})
    return path


def test_the_documented_folder(out, asked):
    _curve_density(out / "density" / "data" / "deconv_density_knee.pkl")
    _run(out, n_trajectories=2, n_vols_along_path=5, b_factor=-20.0)
    tree = AnalysisTree(out / "analysis_3")
    result = pickle.loads(tree.kmeans_result.read_bytes())
    assert set(result) == {"centers", "labels"} and result["centers"].shape == (8, 3)
    assert result["labels"].shape == (COUNT,) and (result["labels"][::20] == -1).all()
    assert result["labels"].dtype.kind == "i" and set(result["labels"]) == set(range(-1, 8))
    assert np.allclose(np.loadtxt(tree.centers_txt, ndmin=2), result["centers"])
    ends = pickle.loads(tree.trajectory_endpoints.read_bytes())
    assert set(ends) == {"centers", "pairs"} and len(ends["pairs"]) == 2 and type(ends["pairs"][0]) is list
    for path in (
        tree.contrast_histogram, tree.pca_plot(0), tree.pca_plot(1),
        tree.density_plot, tree.density_slices_plot, tree.states_plot, tree.state_picture(7), tree.state_fsc_plot,
        tree.state_resolution_plot,
    ):  # fmt: skip
        assert path.read_bytes()[:4] == b"\x89PNG"
    for path in (tree.mean_movie, tree.component_movie(2), tree.trajectory_movie(1)):
        assert path.read_bytes()[:4] == b"GIF8"
    assert tree.component_volume(2, 9).is_file() and "traj001/state004.mrc" in tree.chimerax_script.read_text()
    assert not tree.umap_plot.parent.exists()
    ((zdim, groups, b_factor),) = asked
    assert zdim == 3 and b_factor == -20.0
    assert [(group.prefix, group.targets.shape) for group in groups] == [
        ("center", (8, 3)), ("state", (1, 3)), ("state", (5, 3)), ("state", (5, 3)),
    ]  # fmt: skip
    assert groups[1].directory.name == "basins"
    assert tree.center(7).is_file() and tree.trajectory(1).state(4).volume.is_file()
    assert not list((out / ".covaria" / "tmp").iterdir())


def test_path_follows_the_bend(out, asked):
    """Between the far ends the straight line is empty: the path and its volumes stay on the curve."""
    _curve_density(out / "density" / "data" / "deconv_density_knee.pkl")
    _run(out)
    tree = AnalysisTree(out / "analysis_3")
    path = json.loads(tree.trajectory(0).path_json.read_text())
    targets = np.array(path["path_subsampled"])
    centers = pickle.loads(tree.kmeans_result.read_bytes())["centers"]
    first, last = pickle.loads(tree.trajectory_endpoints.read_bytes())["pairs"][0]
    assert np.allclose(targets[[0, -1]], centers[[first, last]])
    assert np.array_equal(asked[0][1][2].targets, targets)
    t = targets[:, 0] / 20
    assert np.abs(targets[:, 1] - (15 * t**2 - 5)).max() < 1.5 and np.abs(targets[:, 2] - 4 * t**3).max() < 1.5
    assert path["cost"] < 0.5 * path["straight_line_cost"]


def test_a_given_density_goes_before_the_jobs_own(out, tmp_path):
    write_pickle(
        out / "density" / "data" / "deconv_density_knee.pkl",
        {"density": np.ones(20), "latent_space_bounds": np.array([[-25.0, 25.0]]), "alpha": 1.0},
    )
    _run(out, density=_curve_density(tmp_path / "mine.pkl"))
    path = json.loads((out / "analysis_3" / "traj000" / "path.json").read_text())
    assert path["density_dimensions"] == 2


def test_without_a_density_the_estimates_serve_and_no_density_is_drawn(out):
    _run(out)
    tree = AnalysisTree(out / "analysis_3")
    path = json.loads(tree.trajectory(0).path_json.read_text())
    assert path["cost"] < 0.5 * path["straight_line_cost"]
    assert not tree.density_plot.parent.exists() and not tree.density_slices_plot.parent.exists()


def test_one_coordinate(out, asked):
    _run(out, zdim=1, n_clusters=4)
    tree = AnalysisTree(out / "analysis_1")
    assert np.loadtxt(tree.centers_txt, ndmin=2).shape == (4, 1)
    assert tree.pca_single_plot.is_file()
    targets = asked[0][1][1].targets[:, 0]
    assert np.allclose(np.diff(targets), (targets[-1] - targets[0]) / 5)


def test_one_cluster_has_no_trajectory(out, asked):
    _run(out, n_clusters=1, n_trajectories=3)
    assert len(asked[0][1]) == 1
    assert np.loadtxt(AnalysisTree(out / "analysis_3").centers_txt, ndmin=2).shape == (1, 3)
    assert pickle.loads(AnalysisTree(out / "analysis_3").trajectory_endpoints.read_bytes())["pairs"] == []


def test_umap_is_written_with_rows_in_order(out):
    _run(out, skip_umap=False)
    umap = out / "analysis_3" / "plots" / "umap"
    flat = np.load(umap / "umap_embedding.npy")
    assert flat.shape == (COUNT, 2) and np.isnan(flat[::20]).all()
    drawn = {f"{name}.{form}" for name in ("umap", "kmeans_centers") for form in ("png", "svg", "csv")}
    assert {path.name for path in umap.iterdir()} == {"umap_embedding.npy", "umap_embedding.pkl", *drawn}


def test_runs_again_and_elsewhere(out, tmp_path):
    _run(out)
    _run(out, n_clusters=3)
    assert len(np.loadtxt(AnalysisTree(out / "analysis_3").centers_txt, ndmin=2)) == 3
    _run(out, output=tmp_path / "elsewhere")
    assert AnalysisTree(tmp_path / "elsewhere").kmeans_result.is_file()


def test_a_folder_of_someone_elses_is_refused(out, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(RefusedOutput, match="is not an analysis"):
        _run(out, output=mine)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_unknown_zdim_names_the_known(out):
    with pytest.raises(InvalidInput, match="zdim 7 was not computed; stored: 1, 3"):
        _run(out, zdim=7)


def test_only_the_mean_is_no_error(out):
    request = Request(
        out=out, ingest=IngestOptions(particles="p.star"), reconstruction=ReconstructionOptions(only_mean=True)
    )
    run(Job("j", request), MemoryContext())
    assert not list(out.glob("analysis_*"))


def test_cancel_leaves_nothing(out):
    def progress(step, done, total):
        if step == "trajectories":
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        _run(out, context=MemoryContext(listen=progress))
    assert not (out / "analysis_3").exists() and not list((out / ".covaria" / "tmp").iterdir())


def test_nothing_confirmed_is_one_centre_the_mean(out, asked, caplog):
    confirm(out, 0)
    tree = Tree(out)
    for factor, path in enumerate((tree.mean_filtered, tree.mean, tree.mean_half(1), tree.mean_half(2)), 1):
        write_volume(path, factor * BALL, 3.0)
    _run(out, n_trajectories=2, skip_umap=False)
    made = AnalysisTree(out / "analysis_3")
    result = pickle.loads(made.kmeans_result.read_bytes())
    assert np.array_equal(result["centers"], np.zeros((1, 3)))
    assert np.array_equal(result["labels"] == -1, np.arange(COUNT) % 20 == 0)
    assert set(result["labels"]) == {-1, 0}
    assert made.center(0).read_bytes() == tree.mean_filtered.read_bytes()
    assert made.center_files(0).half(2).read_bytes() == tree.mean_half(2).read_bytes()
    assert not made.states_plot.exists() and made.contrast_histogram.is_file()
    assert np.loadtxt(made.centers_txt, ndmin=2).shape == (1, 3)
    assert pickle.loads(made.trajectory_endpoints.read_bytes())["pairs"] == []
    assert not made.trajectory(0).root.exists()
    assert not made.umap_plot.exists()
    assert not asked, "no volume is computed"
    assert "no component is confirmed" in caplog.text


def test_all_lies_on_the_confirmed_components(out, asked):
    """Centres, paths and what volumes are made of do not move along a component that is not confirmed."""
    confirm(out, 2)
    _run(out, n_trajectories=2, skip_umap=False)
    tree = AnalysisTree(out / "analysis_3")
    centers = pickle.loads(tree.kmeans_result.read_bytes())["centers"]
    assert (centers[:, 2] == 0).all()
    assert np.ptp(centers[:, 1]) > 5
    path = json.loads(tree.trajectory(0).path_json.read_text())
    assert path["density_dimensions"] == 2
    assert not np.any(np.array(path["path"])[:, 2])
    assert all(not np.any(group.targets[:, 2]) for group in asked[0][1])
    assert tree.pca_plot(0).is_file()
    assert not tree.pca_plot(1).exists()
    assert not tree.umap_plot.exists(), "two components need no flat map"


def test_states_are_among_the_findings(out):
    _run(out)
    states = record.read_findings(Tree(out)).states
    assert [one.name for one in states] == [f"center{number:03d}" for number in range(8)]
    assert sum(one.particles for one in states) == COUNT - COUNT // 20
    assert sum(one.share for one in states) == pytest.approx(1)
    assert {one.resolution_angstrom for one in states} == {8.5}
    assert sum(one.population for one in states) == pytest.approx(1)
    assert all(one.low <= one.population <= one.high for one in states)
    with AnalysisTree(out / "analysis_3").populations_csv.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == [one.name for one in states]
    assert np.allclose(
        read_populations(AnalysisTree(out / "analysis_3")).share, [one.population for one in states], atol=1e-4
    )
    assert AnalysisTree(out / "analysis_3").populations_plot.is_file()
    share, population = (np.array([float(row[name]) for row in rows]) for name in ("share", "population"))
    np.testing.assert_allclose(population, share, atol=0.08, err_msg="coordinates as exact as these are counted")


def test_fewer_particles_than_clusters_makes_as_many(out, caplog):
    few = np.load(out / "model" / "zdim_3" / "latent_coords.npy")
    few[30:] = np.nan
    np.save(out / "model" / "zdim_3" / "latent_coords.npy", few)
    _run(out, n_clusters=40, n_trajectories=0)
    assert len(np.loadtxt(AnalysisTree(out / "analysis_3").centers_txt, ndmin=2)) == 28
    assert "40 clusters asked for, 28 particles" in caplog.text
