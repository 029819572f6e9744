"""A row for each unit that an image shows: where it is seen, what is kept of it, and how rows lie in batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import InvalidInput
from covaria.estimation.components.expectation_maximisation import Problem, gradients, random_start
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.images import read_images
from covaria.imaging.noise import Noise
from covaria.particles import read_particles
from covaria.particles.expansion import expanded
from covaria.particles.halves import with_half_sets
from covaria.particles.store import load, save
from covaria.particles.symmetry import copies_of, symmetry_of
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.running.passes import Pass
from covaria.testing import MemoryContext
from covaria_ingest.ahead import refuse_many_coordinates

HELIX = {"helical_rise": 30.0, "helical_twist": 50.0, "helical_units": 3}
POSE_ERRORS = PoseSpread(0.5, 0.03)


def read(folder, **options):
    return read_particles(IngestOptions(particles=folder / "particles.star", **options))


def test_a_unit_is_seen_where_it_lies(helix):
    """The point x of unit h lies at S_h x + h rise: in the image of every copy where x itself is in the first."""
    one, all_ = read(helix), read(helix, **HELIX)
    count, x = len(one), np.array([20.0, -7.0, 11.0])
    assert len(all_) == 3 * count and all_.copies == 3
    for number, step in enumerate((0, 1, -1)):
        c, s = np.cos(np.deg2rad(50 * step)), np.sin(np.deg2rad(50 * step))
        moved = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ x + [0, 0, 30 * step]
        rows = slice(number * count, (number + 1) * count)
        seen = (all_.rotations[rows] @ x)[:, :2] / 8 - all_.translations[rows]
        np.testing.assert_allclose(seen, (one.rotations @ moved)[:, :2] / 8 - one.translations, atol=1e-9)
    np.testing.assert_array_equal(all_.half_set.reshape(3, -1), np.tile(one.half_set, (3, 1)))
    np.testing.assert_array_equal(all_.together.reshape(3, -1), np.tile(one.together, (3, 1)))


def test_a_helix_may_have_a_point_group_about_its_axis(helix):
    options = IngestOptions(particles=helix / "particles.star", symmetry="D2", **HELIX)
    operators = symmetry_of(options)
    assert len(operators) == copies_of(options) == 12
    flat = np.concatenate([operators.rotations.reshape(12, 9), operators.shifts_angstrom], 1)
    assert len(np.unique(flat.round(6), axis=0)) == 12
    np.testing.assert_array_equal(operators.rotations[0], np.eye(3))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"helical_rise": 30.0}, "--helical-twist and --helical-units must be given too"),
        ({**HELIX, "symmetry": "T"}, "a helix has no symmetry T"),
        ({"symmetry": "Q7"}, "'Q7' is not known"),
    ],
)
def test_what_is_no_symmetry_is_refused_before_anything_is_read(tmp_path, options, found):
    with pytest.raises(InvalidInput, match=found):
        read(tmp_path, **options)


def test_one_unit_of_a_helix_is_no_expansion(helix):
    assert read(helix, **{**HELIX, "helical_units": 1}).copies == 1


def test_stages_keep_what_counts_as_one(c4, tmp_path):
    particles = read(c4, symmetry="C4")
    (tmp_path / ".covaria").mkdir()
    save(tmp_path / ".covaria/particles.npz", particles)
    kept = load(tmp_path / ".covaria/particles.npz")
    assert kept.copies == 4
    np.testing.assert_array_equal(kept.together, particles.together)


def test_half_sets_that_are_drawn_have_all_copies_of_an_image_in_one(c4):
    particles = read(c4, symmetry="C4")
    drawn = with_half_sets(replace(particles, half_set=np.full(len(particles), -1, np.int8)), 3)
    halves = drawn.half_set.reshape(4, -1)
    assert np.all(halves == halves[0]) and 20 <= int(halves[0].sum()) <= 40


def test_quarters_and_samples_have_all_rows_of_a_unit(c4):
    images = read_images(read(c4, symmetry="C4"))
    parts = images.in_parts(2, np.arange(len(images)), np.random.default_rng(0)).reshape(4, -1)
    assert np.all(parts == parts[0]) and int(parts[0].sum()) == 30


@pytest.mark.parametrize(("ranks", "size"), [(1, 7), (2, 64)])
@pytest.mark.parametrize("kind", ["c4", "helix"])
def test_a_batch_has_every_copy_of_its_images_as_if_they_were_read_alone(request, kind, ranks, size):
    """Pixels are kept once, and moved for each copy; of images without copies they are read at its translation."""
    options = {"symmetry": "C4"} if kind == "c4" else HELIX
    particles = read(request.getfixturevalue(kind), **options)
    count, copies = len(particles) // particles.copies, particles.copies
    alone = read_images(replace(particles, copies=1))
    noise, every, seen = Noise.white(particles.box, 1), np.ones(len(particles), bool), []
    plain = {int(i): b.pixels[k] for b in alone.batches(every, noise) for k, i in enumerate(b.index)}
    for rank in range(ranks):
        images = read_images(particles, rank=rank, ranks=ranks)
        assert len(images.store.pixels) == len(images.mine) // copies
        for batch in images.batches(every, noise, size=size):
            index = batch.index.reshape(copies, -1)
            assert np.all(index == index[0] + count * np.arange(copies)[:, None])
            for k, row in enumerate(batch.index[:: max(1, size // 3)]):
                place = k * max(1, size // 3)
                torch.testing.assert_close(batch.pixels[place], plain[int(row)], rtol=1e-3, atol=2e-4)
            if batch.ramp is not None:  # back to where the first copy has it
                back = torch.view_as_complex(batch.pixels.contiguous()) * batch.ramp
                first = back[: len(index[0])].repeat(copies, 1)
                torch.testing.assert_close(back, first, rtol=1e-3, atol=2e-4)
            seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(particles)))


def test_copies_may_not_be_parted(c4):
    images = read_images(read(c4, symmetry="C4"))
    some = np.ones(len(images), bool)
    some[5] = False
    with pytest.raises(ValueError, match="belong together"):
        next(images.batches(some, Noise.white(images.box, 1)))


@pytest.mark.parametrize("kind", ["c4", "helix"])
def test_the_gradient_is_that_of_the_joint_likelihood(request, kind):
    """By finite differences, with all units' coordinates integrated out together."""
    options = {"symmetry": "C4"} if kind == "c4" else HELIX
    images = read_images(read(request.getfixturevalue(kind), **options))
    axis = np.arange(32) - 16
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 100).astype(np.float32)
    mean = ball * np.random.default_rng(0).normal(size=ball.shape).astype(np.float32) / 30
    problem = Problem(
        images, Pass(MemoryContext()), Noise.white(32, 1), mean, ball, 0.0, np.arange(len(images)) % 60 % 2, POSE_ERRORS
    )
    model = random_start(problem, 2, 6, seed=1)
    model = replace(model, components=model.components * 5)
    mask, side = np.ones_like(model.mean), len(model.mean)
    halves, _ = gradients(problem.sums(model), mask)
    spectrum = sum(half.gradient.numpy() for half in halves) * side**3
    gradient = np.fft.fftshift(np.fft.irfftn(spectrum, s=(side,) * 3, axes=(1, 2, 3)), axes=(1, 2, 3))
    direction, step, likelihood = random_start(problem, 2, 6, seed=2).components, 0.05, []
    for sign in (1, -1):
        moved = replace(model, components=model.components + sign * step * direction)
        likelihood.append(sum(float(half.scalars[0]) for half in problem.sums(moved)))
    numeric = (likelihood[0] - likelihood[1]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.01)


def test_expansion_needs_stacks(c4):
    particles = replace(read(c4), images=None)
    with pytest.raises(TypeError, match="stacks on disk"):
        expanded(particles, IngestOptions(particles=particles.source, symmetry="C2"))


def test_more_coordinates_than_one_posterior_holds_are_refused(tmp_path):
    request = Request(
        out=tmp_path / "out",
        ingest=IngestOptions(particles=tmp_path / "particles.star", symmetry="O"),
        reconstruction=ReconstructionOptions(zdim=(1, 20)),
    )
    with pytest.raises(InvalidInput, match=r"(?s)24 asymmetric units of 20 coordinates.*give --zdim 1,2,4,10"):
        refuse_many_coordinates(request)
    refuse_many_coordinates(request.model_copy(update={"reconstruction": ReconstructionOptions(only_mean=True)}))


def test_a_helix_from_the_command_line(tmp_path):
    words = ["simulate", str(tmp_path / "set"), "--box", "32", "-n", "40", "--states", "homogeneous"]
    done = CliRunner().invoke(application(), [*words, "--helical-rise", "30", "--helical-twist", "50"])
    assert done.exit_code == 0, done.output
    found = read(tmp_path / "set", **HELIX)
    assert found.copies == 3 and len(np.unique(found.together)) == 4
    alone = CliRunner().invoke(application(), [*words, "--overwrite", "--helical-rise", "30"])
    assert isinstance(alone.exception, InvalidInput)
