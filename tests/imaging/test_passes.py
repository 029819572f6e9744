"""One result whatever the batch size, the number of ranks, the precision of the cache."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.imaging import volumes
from covaria.imaging.images import Batch, Images, Noise, viewing_order
from covaria.imaging.slices import backproject
from covaria.particles.model import ContrastTransfer, Particles
from covaria.running.passes import row_pass, sum_pass
from covaria.running.ranks import Ranks

BOX, COUNT = 16, 60


class InMemory:
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.box = pixels, pixels.shape[1]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.pixels[rows]


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
        InMemory(rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32)),
    )


class Gridding:
    def __init__(self) -> None:
        self.grid = torch.zeros(volumes.padded_shape(BOX // 2 - 1, 3))

    def add(self, batch: Batch) -> None:
        values = (batch.pixels * batch.ctf[..., None])[..., None]
        backproject(self.grid, values, batch.ctf.square()[..., None], batch.rotations, batch.plane)

    def tensors(self) -> list[torch.Tensor]:
        return [self.grid]


def power(batch: Batch) -> dict[str, torch.Tensor]:
    return {"power": batch.pixels.square().sum((1, 2))}


def both(images: Images, size: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    noise = Noise(np.linspace(1, 2, BOX // 2), np.ones(1))
    pair = (Gridding(), Gridding())
    sum_pass(images, pair, noise, size=size)
    return pair[0].grid, pair[1].grid, row_pass(images, power, noise, size=size)["power"]


@pytest.fixture(scope="module")
def reference():
    return both(Images(particles()), 64)


@pytest.mark.parametrize("size", [1, 7])
def test_batch_size_does_not_matter(reference, size):
    found = both(Images(particles()), size)
    for a, b in zip(found[:2], reference[:2], strict=True):
        assert (a - b).norm() / b.norm() < 1e-5
    np.testing.assert_allclose(found[2], reference[2], rtol=1e-5)


@pytest.mark.parametrize("memory_bytes", [60_000, 1_000])
def test_half_precision_and_scratch_file_give_the_same(reference, memory_bytes):
    images = Images(particles(), memory_bytes=memory_bytes)
    assert images._pixels.dtype == torch.float16
    found = both(images, 64)
    for a, b in zip(found[:2], reference[:2], strict=True):
        assert (a - b).norm() / b.norm() < 1e-3


def test_alone_the_least_is_ones_own():
    assert Ranks().least(7) == 7


def test_excluded_rows_are_left_out(reference):
    assert len(reference[2]) == COUNT - 1
    assert (reference[2] > 0).all()


def one_rank(rank: int, size: int, store: str, out: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    images = Images(particles(), rank=rank, ranks=size)
    a, b, rows = both(images, 16)
    assert Ranks().least(5 + rank) == 5
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
    images = Images(set_)
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
