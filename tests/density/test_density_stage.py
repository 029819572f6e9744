"""The stage on files: what it reads, refuses and writes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from latent_sets import three_states, two_wells, weights_near, write_model

from covaria.errors import Cancelled, InvalidInput, MissingFile
from covaria.request.model import DensityOptions, IngestOptions, ReconstructionOptions, Request
from covaria.results.basins import read_basins
from covaria.results.parameters import write_parameters
from covaria.stage import Job
from covaria.testing import MemoryContext, some_parameters
from covaria.tree import DensityTree, Tree, record
from covaria_density.latents import keep_precise, load_points, marginal_covariances
from covaria_density.stage import ALPHAS, run


def _request(out, **density):
    return Request(out=out, ingest=IngestOptions(particles="p.star"), density=DensityOptions(**density))


@pytest.fixture(name="out")
def out_fixture(tmp_path):
    data = three_states(1500, 0.4, 2, seed=31, zdim=3)
    write_model(tmp_path, data, (1, 3), excluded=np.arange(0, 1500, 50), confirmed=2)
    return tmp_path


def test_whole_folder_in_one_dimension(out):
    run(Job("j", _request(out, dim=1)), MemoryContext())
    density = out / "density"
    knee = pickle.loads((density / "data" / "deconv_density_knee.pkl").read_bytes())
    names = {"density", "latent_space_bounds", "alpha", "alpha_index", "l_curve_knee_index"}
    assert set(knee) == names and type(knee["alpha"]) is float and type(knee["alpha_index"]) is int
    assert knee["density"].shape == (400,) and knee["latent_space_bounds"].shape == (1, 2)
    step = np.ptp(knee["latent_space_bounds"][0]) / 399
    assert knee["density"].sum() * step == pytest.approx(1) and knee["density"].min() >= 0
    every = [
        pickle.loads((density / "data" / "all_densities" / f"deconv_density_{k}.pkl").read_bytes()) for k in range(11)
    ]
    assert [one["alpha"] for one in every] == pytest.approx(ALPHAS)
    curve = json.loads((density / "data" / "l_curve.json").read_text())
    assert every[curve["chosen"]]["alpha"] == knee["alpha"] and curve["zdim"] == 1
    assert curve["particles"] + curve["rejected_as_imprecise"] == 1470
    stable = read_basins(DensityTree(density))
    assert sum(basin.population for basin in stable.basins) == pytest.approx(1, abs=0.05)
    assert record.read_findings(Tree(out)).basins == stable.findings()
    assert {path.name for path in (density / "plots").iterdir()} == {
        f"{name}.{form}" for name in ("all_densities", "Lcurve", "basins") for form in ("png", "svg", "csv")
    }
    assert not list((out / ".covaria" / "tmp").iterdir())


def test_default_is_the_confirmed_dimensions_from_the_smallest_zdim_that_holds_them(out):
    run(Job("j", _request(out)), MemoryContext())
    knee = pickle.loads(Tree(out).density_knee.read_bytes())
    assert knee["density"].shape == (128, 128)
    axes = [np.linspace(*bounds, 128) for bounds in knee["latent_space_bounds"]]
    centers = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.2]])
    found = weights_near(knee["density"] / knee["density"].sum(), axes, centers)
    assert np.abs(found - [0.25, 0.25, 0.5]).max() < 0.05
    assert json.loads((out / "density" / "data" / "l_curve.json").read_text())["zdim"] == 3


def test_bounds_hold_the_motion_not_the_noise(tmp_path):
    """Errors three times as wide as the motion: the window stays within a few times the motion."""
    data = two_wells(3000, 3.0, 1, seed=32)
    write_model(tmp_path, data, (1,), excluded=np.array([0]))
    run(Job("j", _request(tmp_path)), MemoryContext())
    bounds = pickle.loads(Tree(tmp_path).density_knee.read_bytes())["latent_space_bounds"][0]
    assert bounds[0] < -1.2 and bounds[1] > 1.2
    assert np.ptp(bounds) < 0.75 * np.ptp(np.percentile(data.estimates, [0.5, 99.5]))


def test_nothing_is_done_where_no_density_is_wanted(out):
    run(Job("j", _request(out, enabled=False)), MemoryContext())
    only_mean = Request(
        out=out, ingest=IngestOptions(particles="p.star"), reconstruction=ReconstructionOptions(only_mean=True)
    )
    run(Job("j", only_mean), MemoryContext())
    assert not (out / "density").exists()


def test_what_is_not_there_is_named(out, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(MissingFile, match="holds no latent coordinates"):
        run(Job("j", _request(empty)), MemoryContext())
    with pytest.raises(InvalidInput, match=r"zdim 2 was not computed; stored: 1, 3"):
        run(Job("j", _request(out, zdim=2)), MemoryContext())
    with pytest.raises(InvalidInput, match=r"4 dimensions needs a zdim of at least 4"):
        run(Job("j", _request(out, dim=4)), MemoryContext())
    np.save(Tree(out).latent_precision_noreg(3), np.zeros((1500, 2, 2)))
    with pytest.raises(InvalidInput, match=r"has shape 1500 x 2 x 2, expected 1500 x 3 x 3"):
        run(Job("j", _request(out)), MemoryContext())


def test_no_density_of_noise(out, caplog):
    write_parameters(Tree(out), some_parameters(s=np.ones(3), significant_components=0))
    run(Job("j", _request(out, dim=1)), MemoryContext())
    assert "no component is confirmed" in caplog.text
    assert not (out / "density").exists()


def test_no_more_dimensions_than_are_confirmed(out, caplog):
    write_parameters(Tree(out), some_parameters(s=np.ones(3)))
    run(Job("j", _request(out, dim=2)), MemoryContext())
    assert "a density in 1 dimensions: no more components are confirmed" in caplog.text
    assert pickle.loads(Tree(out).density_knee.read_bytes())["density"].shape == (400,)


def test_too_few_particles_make_no_density(out, caplog):
    for path in (Tree(out).latent_coords_noreg(1), Tree(out).latent_precision_noreg(1)):
        few = np.load(path)
        few[30:] = np.nan
        np.save(path, few)
    run(Job("j", _request(out, dim=1)), MemoryContext())
    assert "too few for a density (needed: 40)" in caplog.text
    assert not (out / "density").exists()


def test_cancel_leaves_nothing(out):
    def progress(step, done, total):
        if done > 5:
            raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        run(Job("j", _request(out, dim=1)), MemoryContext(listen=progress))
    assert not (out / "density").exists()


def test_rejection_uses_the_density_coordinates_alone():
    """A particle known well in the first coordinate and badly in another stays."""
    precisions = np.repeat(np.diag([1.0, 1.0, 1.0])[None], 100, axis=0)
    precisions[:10] = np.diag([0.1, 1.0, 1.0])
    precisions[10:20] = np.diag([1.0, 1.0, 0.001])
    kept = keep_precise(marginal_covariances(precisions, 2))
    assert not kept[:10].any() and kept[10:].all()


def test_marginal_is_the_block_of_the_inverse():
    rng = np.random.default_rng(33)
    root = rng.standard_normal((20, 4, 4))
    precisions = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(4)
    expected = np.linalg.inv(precisions)[:, :2, :2]
    assert np.allclose(marginal_covariances(precisions, 2), expected, rtol=1e-6)
    singular = np.diag([1.0, 0.0])[None]
    assert marginal_covariances(singular, 2)[0, 1, 1] == pytest.approx(1e6)


def test_excluded_rows_are_left_out(out):
    latents = load_points(Tree(out), 3, 2)
    assert len(latents.coordinates) + latents.rejected == 1470
    assert latents.rejected == pytest.approx(147, abs=1)
