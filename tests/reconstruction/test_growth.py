"""A model that goes on with new images is the model of all images; what it keeps is what it sums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from covaria import particles as particle_files
from covaria.errors import InvalidInput
from covaria.estimation.growth.anchor import Anchor, growing, turn_between, turned
from covaria.estimation.growth.frame import grid_of, mean_sums
from covaria.estimation.growth.matching import matched, moved
from covaria.estimation.growth.memory import Kept, read_kept
from covaria.particles.stacks.images import StackImages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions
from covaria.stage import Job
from covaria.testing import MemoryContext, TruthSet
from covaria.tree import Tree
from covaria_ingest import stage as ingest
from covaria_reconstruction import stage as reconstruction
from covaria_reconstruction.growth import kept_of

BOX, ALL, FIRST = 24, 600, 400
READS = np.zeros(ALL, int)


@dataclass(frozen=True)
class Version:
    """What the stages compute of a version, without files for people."""

    out: Path
    found: reconstruction.Found
    latents: np.ndarray
    context: MemoryContext
    reads: np.ndarray
    """How often each image of the set's stack was read for it."""

    @property
    def tree(self) -> Tree:
        return Tree(self.out)

    @property
    def kept(self) -> Kept:
        return read_kept(self.tree.growth_memory)


def version(out: Path, star: Path, before: Version | None = None) -> Version:
    given, READS[:] = None if before is None else before.tree.growth_memory, 0
    model = ReconstructionOptions(zdim=(2,), sensitivity=False)
    options = IngestOptions(particles=star, downsample=None, growing=True, grown_from=given)
    request, context = Request(out=out, ingest=options, reconstruction=model), MemoryContext()
    ingest.run(Job("growth", request), context)
    kept = kept_of(request, context.roots)
    found = reconstruction.found_in(particle_files.load(Tree(out).particles), None, kept, request, context)
    _, _, embeddings = reconstruction.embedded(found, model)
    reconstruction.remember_version(Tree(out), request, kept, found, context)
    return Version(out, found, embeddings[2].regularised.coordinates, context, READS.copy())


def rows_of(star: Path) -> tuple[list[str], list[str]]:
    lines = star.read_text().splitlines()
    first = max(number for number, line in enumerate(lines) if line.startswith("_rln")) + 1
    return lines[:first], [line for line in lines[first:] if line.strip()]


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> TruthSet:
    options = SimulationOptions(box=BOX, pixel_size_angstrom=256 / BOX, atom_sigma_angstrom=6.0, n_images=ALL, snr=1.0)
    made = TruthSet.simulated(tmp_path_factory.mktemp("set"), ensemble.presence(2), options)
    plain, stack = StackImages._recorded, (made.folder / "particles.mrcs").resolve()

    def recorded(self: StackImages, rows: np.ndarray, box: int) -> np.ndarray:
        ours = np.array([path.resolve() == stack for path in self.paths])
        np.add.at(READS, self.index[rows[ours[self.file[rows]]]], 1)
        return plain(self, rows, box)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StackImages, "_recorded", recorded)
        yield made


@pytest.fixture(scope="module")
def write(truth):
    """A version of the set's STAR: these rows, changed where asked for, in its folder."""
    head, rows = rows_of(truth.folder / "particles.star")

    def make(name: str, chosen: np.ndarray, change=lambda row, line: line) -> Path:
        path = truth.folder / name
        path.write_text("\n".join([*head, *(change(row, rows[row]) for row in chosen)]) + "\n")
        return path

    make.head = head
    return make


@pytest.fixture(scope="module")
def first(write, tmp_path_factory) -> Version:
    return version(tmp_path_factory.mktemp("first") / "out", write("first.star", np.arange(FIRST)))


@pytest.fixture(scope="module")
def second(write, first, tmp_path_factory) -> Version:
    return version(tmp_path_factory.mktemp("second") / "out", write("second.star", np.arange(ALL)), first)


def test_the_grown_model_is_that_of_all_images(truth, write, first, second, tmp_path) -> None:
    whole = version(tmp_path / "out", truth.folder / "particles.star")
    assert second.found.update is not None, second.found.why
    assert (int(first.found.components.confirmed), int(whole.found.components.confirmed)) == (1, 1)
    grown, at_once = (truth.captured(one.found.components.eigenvolumes, 1) for one in (second, whole))
    assert grown > 0.98 * at_once
    assert abs(np.corrcoef(second.latents[:, 0], whole.latents[:, 0])[0, 1]) > 0.98
    assert np.corrcoef(second.latents[:FIRST, 0], first.latents[:, 0])[0, 1] > 0.95, "the axis keeps its sign"


def test_each_image_is_read_once_and_old_ones_are_not_walked_over(first, second) -> None:
    assert np.array_equal(first.reads, np.arange(ALL) < FIRST)
    assert np.array_equal(second.reads, np.arange(ALL) >= FIRST)
    walked = {step: total for step, done, total in second.context.steps if done == total}
    assert walked["mean"] == walked["contrast"] == ALL - FIRST


def test_sums_of_the_update_are_sums_over_all_images(second) -> None:
    kept, found = second.kept, second.found
    direct = grid_of(mean_sums(found.images, found.mean, found.images.half, found.passes))
    assert np.allclose(kept.memory.mean_grid, direct, atol=1e-3 * np.abs(direct).max())
    problem = reconstruction.problem_of(found.images, found.mean, found.passes)
    for name, split in (("coarse", found.images.half), ("half-1", kept.memory.splits[1])):
        anchor = kept.anchors[name]
        model = anchor.model(found.images.scale)
        own = Anchor.of(model, replace(problem, split=split).sums(model))
        for field in ("grid", "second_moment", "scalars"):
            ours, direct = getattr(anchor, field), getattr(own, field)
            assert np.allclose(ours, direct, atol=2e-2 * np.abs(direct).max()), (name, field)


def test_rows_that_move_and_rows_that_go(write, first, tmp_path) -> None:
    """Other places in the file, other poses for some, some gone: sums and half-sets follow the images."""
    order = np.random.default_rng(1).permutation(np.arange(20, ALL))
    shift = changed(write, "_rlnOriginXAngst", 2.0, range(100, 110))
    found = version(tmp_path / "out", write("other.star", order, shift), first)
    assert found.found.update is not None, found.found.why
    assert found.reads[:FIRST].max() == 0, "an image with another pose is not read again"
    images, mean = found.found.images, found.found.mean
    direct = grid_of(mean_sums(images, mean, images.half, found.found.passes))
    assert np.allclose(found.kept.memory.mean_grid, direct, atol=1e-3 * np.abs(direct).max())
    place = {row: place for place, row in enumerate(order.tolist())}
    known = list(range(20, FIRST))
    assert (images.half[[place[row] for row in known]] == first.found.images.half[known]).all()
    assert np.corrcoef(found.latents[[place[row] for row in known], 0], first.latents[known, 0])[0, 1] > 0.95


@pytest.mark.parametrize("gone", [0, 20])
def test_a_version_without_new_images(write, first, tmp_path, gone: int) -> None:
    """The same rows in another order, or fewer of them: nothing is to be judged, and what is left is summed."""
    order = np.arange(gone, FIRST)[::-1]
    found = version(tmp_path / "out", write("none.star", order), first)
    assert found.found.update is not None, found.found.why
    assert found.reads.max() == 0
    images, mean = found.found.images, found.found.mean
    direct = grid_of(mean_sums(images, mean, images.half, found.found.passes))
    assert np.allclose(found.kept.memory.mean_grid, direct, atol=1e-3 * np.abs(direct).max())
    assert np.corrcoef(found.latents[:, 0], first.latents[order, 0])[0, 1] > 0.98


def changed(write, label: str, by: float, rows: range):
    """A change of a STAR's rows: a number larger by `by` in some."""
    column = int(next(line for line in write.head if line.startswith(label + " ")).split("#")[1]) - 1

    def change(row: int, line: str) -> str:
        words = line.split()
        if row in rows:
            words[column] = f"{float(words[column]) + by:.6f}"
        return " ".join(words)

    return change


def test_poses_of_another_frame_are_refused(write, first, tmp_path) -> None:
    turn = changed(write, "_rlnAngleRot", 60.0, range(FIRST, ALL))
    with pytest.raises(InvalidInput, match=r"mean of 200 new images correlates .*only") as refused:
        version(tmp_path / "out", write("turned.star", np.arange(ALL), turn), first)
    assert "another refinement" in refused.value.hint


def test_sums_turn_with_their_components(second) -> None:
    found = second.found
    problem = reconstruction.problem_of(found.images, found.mean, found.passes)
    model = second.kept.anchors["coarse"].model(found.images.scale)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    other = replace(model, components=np.einsum("kl,lzyx->kzyx", turn, model.components).astype(np.float32))
    assert np.allclose(turn_between(other.components, model.components), turn, atol=1e-4)
    plain, direct = problem.sums(model)[0].tensors(), problem.sums(other)[0].tensors()
    for name, tensor in turned(plain, turn).items():
        assert torch.allclose(tensor, direct[name], atol=1e-3 * float(direct[name].abs().max())), name


def test_a_sample_of_all_old_images_is_all_images(second) -> None:
    found = second.found
    problem = reconstruction.problem_of(found.images, found.mean, found.passes)
    anchor = second.kept.anchors["coarse"]
    fresh = np.zeros(len(found.images), bool)
    model = replace(anchor.model(found.images.scale), components=1.1 * anchor.components)
    begun = growing(problem, anchor, fresh, ~fresh)
    for ours, direct in zip(begun.sums(model), problem.sums(model), strict=True):
        assert torch.allclose(ours.grid, direct.grid, atol=2e-2 * float(direct.grid.abs().max()))


def test_components_keep_their_places_and_signs() -> None:
    then = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 3)))[0].T.reshape(3, 4, 4, 4)
    order, sign = matched(then[[2, 0, 1]] * np.array([-1, 1, 1]).reshape(3, 1, 1, 1), then, 3, 3)
    assert order.tolist() == [1, 2, 0]
    assert sign.tolist() == [1, 1, -1]
    order, _ = matched(then[[2, 0, 1]], then, 1, 1)
    assert order[0] == 0, "what is confirmed stays before the rest"
    assert moved(then[:2], then[:2], np.ones(2)) == pytest.approx(0, abs=1e-12)
    assert moved(then[:1], then[:2], np.array([3.0, 1.0])) == pytest.approx(0.25)
    assert moved(then[:0], then[:1], np.ones(1)) == 1
