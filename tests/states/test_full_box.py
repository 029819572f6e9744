"""States at the box of the original particles, from latents that were found in smaller images."""

import json

import numpy as np
import pytest
import starfile
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.estimation.states.extend import densities_at
from covaria.maps import fsc, read_volume
from covaria.maps.fourier import resample_volume
from covaria.maps.masks import read_mask
from covaria.tree import ChosenStatesTree, record

BOX, SMALL = 48, 24


def invoke(*words):
    result = CliRunner().invoke(application(), [str(word) for word in words])
    if isinstance(result.exception, CovariaError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def states(smaller, tmp_path_factory):
    """Both states, each near the latent point where it is."""
    folder = tmp_path_factory.mktemp("full")
    np.savetxt(folder / "points.txt", smaller.simulated.latents)
    words = ("state", smaller.tree.out, "--zdim", 1, "--points", folder / "points.txt", "--device", "cpu")
    invoke(*words, "--memory-gb", 2, "--full-box", "-o", folder / "states")
    return ChosenStatesTree(folder / "states")


def test_a_state_resolves_beyond_the_nyquist_frequency_of_the_run(smaller, states):
    truth = smaller.simulated.volumes
    mask = read_mask(smaller.tree.mask, BOX, 4.0)
    found = np.stack([read_volume(states.state(k).unfiltered)[0] for k in (0, 1)])
    beyond = slice(SMALL // 2, SMALL // 2 + 5)
    for state, true in zip(found, truth, strict=True):
        assert fsc(state, true, mask)[beyond].min() >= 0.8
        slope = float((state * mask * true).sum() / (true * mask * true).sum())
        assert slope == pytest.approx(1, abs=0.05), "densities are those of the large images"
    moved, true = found[1] - found[0], truth[1] - truth[0]
    assert fsc(moved, true, mask)[beyond].min() >= 0.5, "the motion too, not the mean alone"


def test_half_maps_at_the_full_box_promise_no_more_than_the_truth_holds(smaller, states):
    mask = read_mask(smaller.tree.mask, BOX, 4.0)
    for index, true in enumerate(smaller.simulated.volumes):
        halves = [read_volume(states.state(index).half(half))[0] for half in (1, 2)]
        between = np.clip(fsc(*halves, mask), 0, 1)
        promised = np.sqrt(2 * between / (1 + between))
        reached = fsc(0.5 * (halves[0] + halves[1]), true, mask)
        assert (promised - reached)[1:-1].max() < 0.05, "the outermost shell mixes with what the mask lets in"


def test_each_state_comes_with_its_curves_and_a_sharpened_map(states):
    document = json.loads(states.job_json.read_text())
    assert document["parameters"]["box"] == BOX and document["parameters"]["particles"].endswith("particles.star")
    assert document["inputs"][1]["path"].endswith("particles.star") and document["inputs"][1]["sha256"]
    for index in (0, 1):
        made = states.sharpened(index)
        curves = np.loadtxt(made.fsc_csv, delimiter=",", skiprows=1)
        tables = starfile.read(made.star)
        np.testing.assert_allclose(tables["fsc"]["rlnFourierShellCorrelationCorrected"], curves[:, 3], atol=1e-5)
        assert float(tables["general"]["rlnFinalResolution"]) < 2 * 8.0, "finer than the run's own pixels allow"
        assert read_volume(made.map)[0].shape == (BOX,) * 3
        assert made.fsc_plot.is_file()


def test_densities_follow_the_images_grey_level():
    """A projection sums D voxels where it summed d: what is smooth keeps the grey levels of its images."""
    rng = np.random.default_rng(0)
    large = resample_volume(resample_volume(rng.normal(size=(BOX,) * 3).astype(np.float32), 16), BOX)
    projection = large.sum(0)
    small = resample_volume(large, SMALL) * (BOX / SMALL)
    np.testing.assert_allclose(densities_at(small[None], BOX)[0], large, atol=1e-5)
    np.testing.assert_allclose(small.sum(0), projection[:: BOX // SMALL, :: BOX // SMALL], atol=1e-4)


def ask(tree, folder, *more):
    np.savetxt(folder / "points.txt", [[0.0]])
    words = ("state", tree.out, "--zdim", 1, "--points", folder / "points.txt", "--device", "cpu", *more)
    return invoke(*words, "-o", folder / "new")


def test_a_source_that_is_not_as_it_was_is_refused_before_anything_is_written(smaller, tmp_path):
    text = (smaller.tree.out.parent / "set" / "particles.star").read_text()
    lines = text.rstrip("\n").split("\n")
    stack = smaller.tree.out.parent / "set"
    for content, says in (
        ("\n".join(lines[:-1]) + "\n", "holds 499 rows, the run 500"),
        ("\n".join([*lines[:-500], *lines[:-501:-1]]) + "\n", "have another pose than in the run"),
    ):
        (tmp_path / "other.star").write_text(content)
        with pytest.raises(InvalidInput, match=says):
            ask(smaller.tree, tmp_path, "--particles", tmp_path / "other.star", "--datadir", stack)
    with pytest.raises(InvalidInput, match="images of 24 pixels: the run's have 24"):
        ask(smaller.tree, tmp_path, "--particles", smaller.tree.downsampled_star(SMALL))
    with pytest.raises(InvalidInput, match=r"need about .* GB, 0.0 are allowed"):
        ask(smaller.tree, tmp_path, "--full-box", "--memory-gb", 0.01)
    with pytest.raises(InvalidInput, match="add --full-box"):
        ask(smaller.tree, tmp_path, "--datadir", stack)
    assert not (tmp_path / "new").exists()


def test_a_source_that_changed_or_went_is_named(smaller, tmp_path, monkeypatch):
    asked = record.read_request(smaller.tree)
    source = tmp_path / "particles.star"
    asked["request"]["ingest"]["particles"] = str(source)
    asked["inputs"][0]["path"] = str(source)
    monkeypatch.setattr(record, "read_request", lambda tree: asked)
    with pytest.raises(MissingFile, match="--particles says where it is now"):
        ask(smaller.tree, tmp_path, "--full-box")
    source.write_text((smaller.tree.out.parent / "set" / "particles.star").read_text() + "\n# changed\n")
    with pytest.raises(InvalidInput, match="has changed since the run"):
        ask(smaller.tree, tmp_path, "--full-box")
    assert not (tmp_path / "new").exists()
