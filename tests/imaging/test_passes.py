"""One result whatever the batch size, the number of ranks, the precision of the cache."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.errors import Interrupted
from covaria.imaging import volumes
from covaria.imaging.images import Batch, Images, read_images
from covaria.imaging.noise import Noise
from covaria.imaging.order import viewing_order
from covaria.imaging.plane import half_plane
from covaria.imaging.slices import backproject
from covaria.particles.model import ContrastTransfer, Particles
from covaria.running.passes import Pass
from covaria.running.ranks import ALONE, TorchRanks
from covaria.running.sums import DifferentModels, Rows, Sums, fingerprint
from covaria.testing import MemoryCheckpoints, MemoryContext, MemoryStack

BOX, COUNT = 16, 60


def particles(tmp_path=None) -> Particles:
    rng = np.random.default_rng(0)
    full = np.ones(COUNT)
    ctf = ContrastTransfer(15000 * full, 14000 * full, 0.3 * full, 300 * full, 2.7 * full, 0.1 * full, np.zeros(COUNT))
    return Particles(
        tmp_path,
        BOX,
        4.0,
        Rotation.random(COUNT, rng=rng).as_matrix(),
        rng.normal(size=(COUNT, 2)),
        ctf,
        np.zeros(COUNT, np.int64),
        rng.permutation(np.arange(COUNT) % 2).astype(np.int8),
        np.full(COUNT, -1),
        np.arange(COUNT) != 7,
        MemoryStack(rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32)),
    )


class Gridding(Sums):
    def __init__(self, noise: Noise, factor: float = 1.0) -> None:
        super().__init__(noise, BOX // 2 - 1, 10, factor)
        self.grid = torch.zeros(volumes.padded_shape(BOX // 2 - 1, 3))
        self.factor = factor

    def add(self, batch: Batch) -> None:
        gain = self.factor * batch.ctf
        square = batch.ctf.square()[..., None]
        backproject(self.grid, batch.pixels[..., None], gain, square, batch.rotations, batch.plane)


class Power(Rows):
    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"power": batch.pixels.square().sum((1, 2))}


NOISE = Noise(np.linspace(1, 2, BOX // 2), np.ones(1))


def small_batches(images: int, **options) -> MemoryContext:
    """A context whose memory gives batches of so many images (8 at least)."""
    pixels = len(half_plane(BOX))
    return MemoryContext(memory_bytes=8 * 4 * 10 * pixels * images, **options)


def both(images: Images, context: MemoryContext) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    pair = (Gridding(NOISE), Gridding(NOISE))
    passes = Pass(context)
    passes.sum(images, pair)
    return pair[0].grid, pair[1].grid, passes.rows(images, Power(NOISE, BOX // 2 - 1, 10))["power"]


@pytest.fixture(scope="module")
def reference():
    return both(read_images(particles()), MemoryContext())


@pytest.mark.parametrize("size", [8, 11])
def test_batch_size_does_not_matter(reference, size):
    context = small_batches(size)
    found = both(read_images(particles()), context)
    assert [done for _, done, _ in context.steps[:2]] == [size, 2 * size]
    for a, b in zip(found[:2], reference[:2], strict=True):
        assert (a - b).norm() / b.norm() < 1e-5
    np.testing.assert_allclose(found[2], reference[2], rtol=1e-5)


@pytest.mark.parametrize("memory_bytes", [60_000, 1_000])
def test_half_precision_and_scratch_file_give_the_same(reference, memory_bytes):
    images = read_images(particles(), memory_bytes=memory_bytes)
    assert images.store.pixels.dtype == torch.float16
    assert (images.store.scratch is not None) == (memory_bytes == 1_000)
    found = both(images, MemoryContext())
    for a, b in zip(found[:2], reference[:2], strict=True):
        assert (a - b).norm() / b.norm() < 1e-3


def test_alone_the_least_is_ones_own():
    assert ALONE.least(7) == 7


def test_excluded_rows_are_left_out(reference):
    assert len(reference[2]) == COUNT - 1
    assert (reference[2] > 0).all()


def one_rank(rank: int, size: int, store: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    images = read_images(particles(), rank=rank, ranks=size)
    ranks = TorchRanks.joined()
    a, b, rows = both(images, small_batches(16, ranks=ranks))
    assert ranks.least(5 + rank) == 5
    if rank == 1:
        np.savez(out, a=a.numpy(), b=b.numpy(), rows=rows)
    torch.distributed.destroy_process_group()


def test_two_ranks_give_the_same(reference, tmp_path):
    store, out = str(tmp_path / "store"), str(tmp_path / "out.npz")
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), "2", store, out]) for rank in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    with np.load(out) as found:
        assert np.linalg.norm(found["a"] - reference[0].numpy()) < 1e-5 * reference[0].norm()
        assert np.linalg.norm(found["b"] - reference[1].numpy()) < 1e-5 * reference[1].norm()
        np.testing.assert_allclose(found["rows"], reference[2], rtol=1e-5)


def test_batches_bring_each_image_its_own_pixels_half_by_half():
    """Whatever order they are kept in."""
    set_ = particles()
    images = read_images(set_)
    used = np.flatnonzero(set_.used)
    seen = []
    for half in (0, 1):
        for batch in images.batches(images.half == half, Noise.white(BOX, 1), size=7):
            seen += batch.index.tolist()
            raw = torch.from_numpy(set_.images.read(used[batch.index]))
            shift = images.plane.phase_ramp(torch.as_tensor(set_.translations[used[batch.index]], dtype=torch.float32))
            expected = torch.view_as_complex(images.plane.take(raw)) * shift / images.scale
            weight = torch.as_tensor(np.sqrt(images.plane.weight), dtype=torch.float32)
            torch.testing.assert_close(torch.view_as_complex(batch.pixels), expected * weight, rtol=1e-4, atol=1e-5)
            expected = torch.as_tensor(set_.rotations[used[batch.index]], dtype=torch.float32)
            torch.testing.assert_close(batch.rotations, expected)
    assert sorted(seen) == list(range(len(used)))


def test_signed_images_are_new_and_negative():
    images = read_images(particles())
    dark = images.signed(-1)
    assert (images.sign, dark.sign) == (1, -1)
    everyone = np.ones(len(images), bool)
    for bright, other in zip(images.batches(everyone, NOISE), dark.batches(everyone, NOISE), strict=True):
        torch.testing.assert_close(bright.pixels, -other.pixels, rtol=0, atol=0)
        torch.testing.assert_close(bright.ctf, other.ctf, rtol=0, atol=0)


def test_sums_of_parts_add_up_to_the_sum_of_all(reference):
    images = read_images(particles())
    parts = [Gridding(NOISE) for _ in range(3)]
    thirds = np.arange(len(images)) % 3
    Pass(MemoryContext()).sum(images, parts, split=thirds)
    whole = parts[0] + parts[1] + parts[2]
    expected = reference[0] + reference[1]
    assert (whole.grid - expected).norm() < 1e-6 * expected.norm()
    assert (parts[0].grid - expected).norm() > 0.1 * expected.norm(), "the parts are left as they were"


def test_sums_under_different_models_do_not_add():
    one = Gridding(NOISE)
    for other in (Gridding(NOISE, factor=2.0), Gridding(Noise.white(BOX, 1))):
        with pytest.raises(DifferentModels):
            one + other


def test_a_fingerprint_tells_values_shapes_and_kinds_apart():
    values = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4), 1, 1.0, "1", None, (1, 2), ((1,), 2)]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(NOISE) == fingerprint(Noise(NOISE.spectrum.copy(), NOISE.factor.copy()))
    assert fingerprint(torch.ones(3)) == fingerprint(np.ones(3, np.float32))


class Stop:
    """Listens to progress and stops the stage at its `when`-th word."""

    def __init__(self, when: int) -> None:
        self.when, self.heard = when, 0

    def __call__(self, step: str, done: int, total: int) -> None:
        self.heard += 1
        if self.heard == self.when:
            raise Interrupted("stopped")


@pytest.mark.parametrize("when", [1, 3, 4, 5, 8, 10, 15, 16])
def test_a_pass_that_is_stopped_goes_on_where_it_was_and_ends_bit_equal(when):
    """Whether it stops among the sums of one half-set, between them, at their end, or among the rows."""
    images, checkpoints = read_images(particles()), MemoryCheckpoints()
    whole = small_batches(8)
    expected = both(images, whole)
    broken = small_batches(8, checkpoints=checkpoints, listen=Stop(when))
    with pytest.raises(Interrupted):
        both(images, broken)
    again = small_batches(8, checkpoints=checkpoints)
    found = both(images, again)
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    assert len(whole.steps) == 16
    # The sums are made again where the rows were stopped: what is done is kept by its own name (running.steps).
    redone = 8 if when > 8 else 0
    assert len(broken.steps) + len(again.steps) == 16 + redone + 1, "where it goes on is told once more"


@pytest.mark.parametrize("seconds_for_a_batch", [0.5, 9.0, 30.0])
def test_a_killed_pass_loses_less_than_a_minute(seconds_for_a_batch):
    """A kill is a listener that raises what nothing catches; time passes while a batch is added."""
    images, checkpoints = read_images(particles()), MemoryCheckpoints()
    now, killed_at = 0.0, 54

    class Killed(BaseException):
        """Nothing may be done after it."""

    def killer(step: str, done: int, total: int) -> None:
        nonlocal now
        now += seconds_for_a_batch
        if done == killed_at:
            raise Killed

    def gridding(context: MemoryContext) -> list[torch.Tensor]:
        pair = (Gridding(NOISE), Gridding(NOISE))
        Pass(context, clock=lambda: now).sum(images, pair)
        return [one.grid for one in pair]

    expected = gridding(small_batches(8))
    with pytest.raises(Killed):
        gridding(small_batches(8, checkpoints=checkpoints, listen=killer))
    kept = int(checkpoints.kept.get("pass-0", {"done": 0})["done"])
    again = small_batches(8, checkpoints=checkpoints)
    for a, b in zip(gridding(again), expected, strict=True):
        assert torch.equal(a, b)
    lost = [done for _, done, _ in again.steps if kept < done <= killed_at]
    assert len(again.steps) == (len(lost) + 2 if kept else 8), "it went on behind what was kept"
    assert len(lost) * seconds_for_a_batch < 60
    assert (kept > 0) == (seconds_for_a_batch > 1)


@pytest.mark.parametrize("changed", ["noise", "sign", "split", "images"])
def test_what_was_kept_of_another_pass_is_not_gone_on_with(changed):
    images, checkpoints = read_images(particles()), MemoryCheckpoints()
    with pytest.raises(Interrupted):
        both(images, small_batches(8, checkpoints=checkpoints, listen=Stop(3)))
    noise, split = NOISE, images.half
    if changed == "noise":
        noise = Noise.white(BOX, 1)
    elif changed == "sign":
        images = images.signed(-1)
    elif changed == "split":
        split = np.where(np.arange(len(images)) < 5, -1, images.half)
    else:
        fewer = particles()
        images = read_images(replace(fewer, used=np.arange(COUNT) > 2))
        split = images.half
    context = small_batches(8, checkpoints=checkpoints)
    Pass(context).sum(images, (Gridding(noise), Gridding(noise)), split=split)
    assert context.steps[0][1] == 8


def test_viewing_order_takes_short_steps():
    directions = Rotation.random(4000, rng=np.random.default_rng(5)).as_matrix()[:, 2]
    place = viewing_order(directions)
    assert sorted(place) == list(range(4000))

    def step(walk: np.ndarray) -> float:
        return float(np.median(np.arccos(np.clip(np.abs((walk[1:] * walk[:-1]).sum(1)), 0, 1))))

    walk = directions[np.argsort(place)]
    assert step(walk) < 0.05 * step(directions)


if __name__ == "__main__":
    one_rank(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
