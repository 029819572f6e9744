"""The ingest stage: what it hands over, and that nothing half-done is ever left."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import Cancelled, InvalidInput
from covaria.maps import write_volume
from covaria.opening import Roots
from covaria.particles import load, read_particles
from covaria.particles.stacks.downsample import downsample_images
from covaria.particles.stacks.mrc import write_header
from covaria.request.model import IngestOptions, Request
from covaria.stage import Job, load_stage
from covaria.testing import MemoryContext
from covaria.tree import Tree, record

BOX, COUNT = 32, 9


@pytest.fixture
def images():
    return np.random.default_rng(4).normal(1.0, 2.0, (COUNT, BOX, BOX)).astype(np.float32)


@pytest.fixture
def stack(tmp_path, images):
    """A stack with poses.pkl and ctf.pkl; returns the options that name them."""

    def make(images=images, **options) -> IngestOptions:
        path = tmp_path / "in" / "particles.mrcs"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(write_header(len(images), BOX, 1.5, (0, 0, 0, 0)) + images.astype("<f4").tobytes())
        poses = (np.eye(3)[None].repeat(len(images), 0), np.linspace(-0.1, 0.1, 2 * len(images)).reshape(-1, 2))
        (path.parent / "poses.pkl").write_bytes(pickle.dumps(poses))
        ctf = np.tile([BOX, 1.5, 15000, 14000, 30, 300, 2.7, 0.1, 0], (len(images), 1))
        (path.parent / "ctf.pkl").write_bytes(pickle.dumps(ctf))
        names = {"poses": path.parent / "poses.pkl", "ctf": path.parent / "ctf.pkl"}
        return IngestOptions(particles=path, **{**names, "downsample": None, **options})

    return make


def ingest(out: Path, options: IngestOptions, context: MemoryContext | None = None, seed: int = 0):
    load_stage("ingest")(Job("job", Request(out=out, ingest=options, seed=seed)), context or MemoryContext())
    return load(Tree(out).particles)


def test_without_downsampling_the_original_stack_is_handed_on(stack, tmp_path, images):
    particles = ingest(tmp_path / "out", stack())
    assert not Tree(tmp_path / "out").downsampled.exists()
    np.testing.assert_array_equal(particles.images.read(np.arange(COUNT)), images)
    direct = read_particles(stack())
    for name in ("rotations", "translations", "optics_group", "micrograph", "used"):
        np.testing.assert_array_equal(getattr(particles, name), getattr(direct, name))
    np.testing.assert_array_equal(particles.ctf.defocus_u_angstrom, direct.ctf.defocus_u_angstrom)
    assert (particles.box, particles.pixel_size_angstrom, particles.source) == (BOX, 1.5, direct.source)


def test_all_rows_are_downsampled_also_those_not_in_use(stack, tmp_path, images):
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps([1, 4, 8]))
    context = MemoryContext()
    particles = ingest(tmp_path / "out", stack(downsample=16, ind=tmp_path / "ind.pkl"), context)
    np.testing.assert_array_equal(particles.images.read(np.arange(COUNT)), downsample_images(images, 16))
    np.testing.assert_array_equal(particles.rows, [1, 4, 8])
    assert (particles.box, particles.pixel_size_angstrom) == (16, 3.0)
    np.testing.assert_allclose(particles.translations, read_particles(stack()).translations / 2)
    star = read_particles(IngestOptions(particles=Tree(tmp_path / "out").downsampled_star(16)))
    assert len(star) == COUNT and star.pixel_size_angstrom == pytest.approx(3.0)
    np.testing.assert_array_equal(star.half_set, particles.half_set)
    assert ("downsample", COUNT, COUNT) in context.steps


def test_a_box_that_is_small_enough_is_kept(stack, tmp_path):
    assert ingest(tmp_path / "out", stack(downsample=32)).box == BOX
    assert ingest(tmp_path / "out2", stack(downsample=256)).box == BOX


def test_the_output_may_be_moved(stack, tmp_path, images):
    ingest(tmp_path / "out", stack(downsample=16))
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "in")
    particles = load(Tree(tmp_path / "elsewhere").particles)
    np.testing.assert_array_equal(particles.images.read(np.array([5])), downsample_images(images[5:6], 16))


def test_particles_of_version_0_1_0_are_read(stack, tmp_path):
    now = ingest(tmp_path / "out", stack())
    path = Tree(tmp_path / "out").particles
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "unsigned_bytes"}
    np.savez(path, **arrays | {"version": np.int64(1)})
    then = load(path)
    np.testing.assert_array_equal(then.rotations, now.rotations)
    assert then.images.unsigned_bytes is False
    np.savez(path, **arrays | {"version": np.int64(99)})
    with pytest.raises(InvalidInput, match="version 99"):
        load(path)


@pytest.mark.parametrize("downsample", [None, 16])
def test_images_that_hold_nothing_are_left_out_and_listed(stack, tmp_path, images, downsample):
    images[2] = 7.0
    images[5, 3, 3] = np.nan
    images[6, 0, 0] = np.inf
    particles = ingest(tmp_path / "out", stack(images, downsample=downsample))
    np.testing.assert_array_equal(particles.rows, [0, 1, 3, 4, 7, 8])
    assert any("3 images" in note and "2, 5, 6" in note for note in particles.notes)
    found = record.read_findings(Tree(tmp_path / "out"))
    assert found.set_aside == {"their images are constant or not finite": 3}
    assert "3 particles set aside: their images are constant or not finite." in found.lines()
    if downsample:
        written = particles.images.read(np.arange(COUNT))
        assert np.isfinite(written).all() and not written[[2, 5, 6]].any()


def test_saturated_images_are_left_out_and_where_they_are_many_told(stack, tmp_path, images):
    images[4] = np.clip(images[4], -1, 2)
    particles = ingest(tmp_path / "few", stack(images))
    np.testing.assert_array_equal(particles.rows, [0, 1, 2, 3, 5, 6, 7, 8])
    assert any("1 images seem saturated" in note and "rows (from 0) 4" in note for note in particles.notes)
    particles = ingest(tmp_path / "many", stack(np.clip(images, -1, 2)))
    assert particles.used.all()
    assert any("9 of 9 images seem saturated" in note for note in particles.notes)


def test_half_a_stack_of_zeros_is_left_out_and_listed(stack, tmp_path, images):
    images[5:] = 0
    particles = ingest(tmp_path / "out", stack(images))
    np.testing.assert_array_equal(particles.rows, np.arange(5))
    assert any("4 images are constant" in note and "5, 6, 7, 8" in note for note in particles.notes)


def test_nothing_left_is_refused(stack, tmp_path, images):
    with pytest.raises(InvalidInput, match="every image"):
        ingest(tmp_path / "out", stack(np.zeros_like(images)))


def test_half_sets_are_balanced_and_follow_the_seed(stack, tmp_path):
    (tmp_path / "ind.pkl").write_bytes(pickle.dumps([0, 2, 4, 6, 8]))
    options = stack(ind=tmp_path / "ind.pkl")
    drawn = [ingest(tmp_path / f"out{number}", options, seed=seed) for number, seed in enumerate((0, 0, 1, 2, 3))]
    assert all(sorted(np.bincount(one.half_set[one.rows])) == [2, 3] for one in drawn)
    np.testing.assert_array_equal(drawn[0].half_set, drawn[1].half_set)
    assert len({tuple(one.half_set[one.rows]) for one in drawn}) > 1


def test_half_sets_that_are_given_are_kept(stack, tmp_path):
    halves = [np.array([0, 1, 2, 3, 4]), np.array([5, 6, 7, 8])]
    (tmp_path / "halves.pkl").write_bytes(pickle.dumps(halves))
    particles = ingest(tmp_path / "out", stack(halfsets=tmp_path / "halves.pkl"))
    np.testing.assert_array_equal(particles.half_set, [0] * 5 + [1] * 4)


def test_symmetry_copies_keep_image_and_half_set(stack, tmp_path, images):
    particles = ingest(tmp_path / "out", stack(symmetry="C4", downsample=16))
    assert len(particles) == 4 * COUNT
    half = particles.half_set.reshape(4, COUNT)
    assert (half == half[0]).all()
    small = downsample_images(images, 16)
    for copy in range(4):
        rows = np.arange(COUNT) + copy * COUNT
        np.testing.assert_array_equal(particles.images.read(rows), small)
    np.testing.assert_array_equal(particles.rotations[:COUNT], np.eye(3)[None].repeat(COUNT, 0))
    quarter = particles.rotations[COUNT]
    np.testing.assert_allclose(np.abs(quarter), [[0, 1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    assert len(read_particles(IngestOptions(particles=Tree(tmp_path / "out").downsampled_star(16)))) == COUNT


def test_an_unknown_symmetry_is_refused_before_anything_is_written(stack, tmp_path):
    with pytest.raises(InvalidInput, match="symmetry"):
        ingest(tmp_path / "out", stack(symmetry="Q7", downsample=16))
    assert not Tree(tmp_path / "out").downsampled.exists()


def stop_in_downsample(step: str, done: int, total: int) -> None:
    if step == "downsample":
        raise Cancelled("stopped")


def test_a_stopped_stage_leaves_nothing_and_runs_again(stack, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        ingest(out, stack(downsample=16), MemoryContext(listen=stop_in_downsample))
    assert not Tree(out).particles.exists() and not Tree(out).downsampled.exists()
    assert not list(Tree(out).temporary.iterdir())
    assert ingest(out, stack(downsample=16)).box == 16
    assert ingest(out, stack(downsample=16)).box == 16  # a second run replaces the first


def test_a_service_reads_only_beneath_its_roots(stack, tmp_path):
    (tmp_path / "allowed").mkdir()
    with pytest.raises(InvalidInput, match="outside the folders"):
        ingest(tmp_path / "out", stack(), MemoryContext(roots=Roots.of([tmp_path / "allowed"])))
    assert ingest(tmp_path / "out", stack(), MemoryContext(roots=Roots.of([tmp_path]))).box == BOX


def test_one_particle_is_too_few(stack, tmp_path):
    with pytest.raises(InvalidInput, match="at least 2"):
        ingest(tmp_path / "out", stack(n_images=1))


@pytest.mark.parametrize("option", ["mask", "focus_mask", "focus_parts"])
@pytest.mark.parametrize(
    ("inside", "side", "found"),
    [
        (slice(0, 0), 16, "no voxel"),
        (slice(1, 3), 32, "does not touch"),
        (slice(4, 12), 20, "the mask covers"),
        (slice(8, 24), 32, None),
    ],
)
def test_masks_are_looked_at_before_the_images(stack, tmp_path, option, inside, side, found):
    """Blank, in a corner, of another extent; and a good one."""
    values = np.zeros((side,) * 3, np.float32)
    values[inside, inside, inside] = 1
    write_volume(tmp_path / "mask.mrc", values, 1.5 * BOX / side if side != 20 else 7.0)
    given = (tmp_path / "mask.mrc",) if option == "focus_parts" else tmp_path / "mask.mrc"
    request = Request(out=tmp_path / "out", ingest=stack(), reconstruction={option: given})
    context = MemoryContext()
    if found is None:
        load_stage("ingest")(Job("job", request), context)
        return
    with pytest.raises(InvalidInput, match=rf"mask\.mrc: .*{found}"):
        load_stage("ingest")(Job("job", request), context)
    assert not any(step == "check images" for step, _, _ in context.steps)


@pytest.mark.parametrize(
    ("weight", "found"), [(1.5, "from 0 to 1"), (-0.1, "from 0 to 1"), (0.0, "any weight"), (0.2, None)]
)
def test_weights_of_motion_are_looked_at_before_the_images(stack, tmp_path, weight, found):
    write_volume(tmp_path / "weights.mrc", np.full((32,) * 3, weight, np.float32), 1.5 * BOX / 32)
    request = Request(out=tmp_path / "out", ingest=stack(), reconstruction={"motion_weights": tmp_path / "weights.mrc"})
    context = MemoryContext()
    if found is None:
        load_stage("ingest")(Job("job", request), context)
        return
    with pytest.raises(InvalidInput, match=rf"weights\.mrc: .*{found}"):
        load_stage("ingest")(Job("job", request), context)
    assert not any(step == "check images" for step, _, _ in context.steps)


def test_images_far_from_all_others_are_left_out_and_listed(stack, tmp_path, images):
    images = np.tile(images, (4, 1, 1))[:30]
    images[[3, 4]] *= np.float32(30)
    images[7] *= np.float32(1e22)
    images[9, :, 7] = np.float32(3e30)
    images[11] *= np.float32(1e-6)
    images[13, 5, 5] = 40.0
    for number, downsample in enumerate((None, 16)):
        particles = ingest(tmp_path / f"out{number}", stack(images, downsample=downsample))
        np.testing.assert_array_equal(np.flatnonzero(~particles.used), [3, 4, 7, 9, 11, 13])
        notes = "\n".join(particles.notes)
        assert "5 images have grey levels more than 8 times" in notes and "3, 4, 7, 9, 11" in notes
        assert "1 images hold more than 10% of their variance in one pixel" in notes
        assert np.isfinite(particles.images.read(np.arange(30))).all()


def test_images_of_points_are_not_taken_for_hot_pixels(stack, tmp_path, images):
    """Where every image has most of its variance in few pixels, that is what the particle looks like."""
    images = 0.001 * images
    images[:, 15, 16] += np.linspace(1, 2, COUNT)
    assert ingest(tmp_path / "out", stack(images.astype(np.float32))).used.all()


def test_half_of_a_set_that_is_brighter_is_kept(stack, tmp_path, images):
    images = np.tile(images, (4, 1, 1))[:30]
    images[::2] *= 4
    assert ingest(tmp_path / "out", stack(images)).used.all()
    images[::2] *= 10
    particles = ingest(tmp_path / "out2", stack(images))
    assert particles.used.all() and any("normalised alike" in note for note in particles.notes)


@pytest.mark.parametrize("downsample", [None, 16])
def test_an_odd_box_becomes_even(tmp_path, downsample):
    images = np.random.default_rng(0).normal(size=(COUNT, 33, 33)).astype(np.float32)
    (tmp_path / "p.mrcs").write_bytes(write_header(COUNT, 33, 1.5, (0, 0, 0, 0)) + images.astype("<f4").tobytes())
    ctf = np.tile([33, 1.5, 15000, 14000, 30, 300, 2.7, 0.1, 0], (COUNT, 1))
    poses = (np.eye(3)[None].repeat(COUNT, 0), np.full((COUNT, 2), 0.1))
    for name, value in (("poses", poses), ("ctf", ctf)):
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(value))
    options = IngestOptions(
        particles=tmp_path / "p.mrcs", poses=tmp_path / "poses.pkl", ctf=tmp_path / "ctf.pkl", downsample=downsample
    )
    particles = ingest(tmp_path / "out", options)
    box = downsample or 32
    assert particles.box == box and particles.pixel_size_angstrom == pytest.approx(1.5 * 33 / box)
    np.testing.assert_allclose(particles.translations, 0.1 * box)
    np.testing.assert_allclose(particles.images.read(np.arange(COUNT)), downsample_images(images, box), atol=1e-6)
    star = read_particles(IngestOptions(particles=Tree(tmp_path / "out").downsampled_star(box)))
    assert star.pixel_size_angstrom == pytest.approx(particles.pixel_size_angstrom)
    np.testing.assert_allclose(star.translations, particles.translations, atol=1e-4)


def test_rows_left_out_may_have_no_image_and_other_groups_keep_their_pixel_size(tmp_path):
    """Two collections, the second with another pixel size, box and no stack: only the first is used."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32)
    (tmp_path / "a.mrcs").write_bytes(write_header(COUNT, BOX, 1.5, (0, 0, 0, 0)) + images.astype("<f4").tobytes())
    labels = ["ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst", "DefocusU", "DefocusV",
              "DefocusAngle", "OpticsGroup", "NormCorrection"]  # fmt: skip
    rows = [f"{row + 1}@a.mrcs 10 20 30 1.5 0 15000 14000 5 1 {0.5 + row / 10}" for row in range(COUNT)]
    rows += [f"{row + 1}@gone.mrcs 10 20 30 1.5 0 15000 14000 5 2 0.7" for row in range(3)]
    (tmp_path / "p.star").write_text(
        "data_optics\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
        "_rlnImagePixelSize\n_rlnImageSize\n1 300 2.7 0.1 1.5 32\n2 300 2.7 0.1 0.8 64\n\n"
        "data_particles\nloop_\n" + "".join(f"_rln{label}\n" for label in labels) + "\n".join(rows) + "\n"
    )
    np.save(tmp_path / "first.npy", np.arange(COUNT))
    options = IngestOptions(particles=tmp_path / "p.star", ind=tmp_path / "first.npy", downsample=16)
    particles = ingest(tmp_path / "out", options)
    star = Tree(tmp_path / "out").downsampled_star(16)
    written = particles.images.read(np.arange(COUNT + 3))
    assert not written[COUNT:].any()
    gain = 0.9 / (0.5 + np.arange(COUNT) / 10)
    expected = downsample_images(images * gain[:, None, None].astype(np.float32), 16)
    np.testing.assert_allclose(written[:COUNT] * (expected[0, 0, 0] / written[0, 0, 0]), expected, rtol=1e-4, atol=1e-4)
    again = read_particles(IngestOptions(particles=star, ind=tmp_path / "first.npy"))
    np.testing.assert_array_equal(again.images.read(np.arange(COUNT)), written[:COUNT])  # not normalised twice
    assert again.pixel_size_angstrom == pytest.approx(3.0)
    np.save(tmp_path / "second.npy", COUNT + np.arange(3))
    other = read_particles(IngestOptions(particles=star, ind=tmp_path / "second.npy"))
    assert other.pixel_size_angstrom == pytest.approx(1.6)


def test_a_half_set_too_small_to_use_is_refused_before_the_images(stack, tmp_path, images):
    images = np.tile(images, (3, 1, 1))
    (tmp_path / "halves.pkl").write_bytes(pickle.dumps([np.arange(5), np.arange(5, 27)]))
    context = MemoryContext()
    with pytest.raises(InvalidInput, match=r"half-sets of \[5, 22\] images"):
        ingest(tmp_path / "out", stack(images, halfsets=tmp_path / "halves.pkl"), context)
    assert not any(step == "check images" for step, _, _ in context.steps)
