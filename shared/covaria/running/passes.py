"""The one loop over the images. Estimators are sums (`add`) or rows (`of`); neither knows of it.

A pass keeps what it has so far every KEEP_EVERY_S, and when it is asked to stop. The next run goes on from there, batch
for batch, so that its bits are those of a pass that nothing broke off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from covaria.errors import Interrupted
from covaria.imaging.images import Batch, Images
from covaria.running.sums import OverImages, Rows, Sums, fingerprint
from covaria.stage import Context

KEEP_EVERY_S = 20.0
SHARE_OF_TIME = 0.1
"""At most, that is spent on keeping: large sums are kept less often."""
BATCH_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}
"""On a CPU few enough that the system need not hand out each buffer anew; on a card enough to fill it."""
SMALLEST_BATCH, LARGEST_BATCH = 8, 512


@dataclass(frozen=True)
class Pass:
    """A walk over the images for one step of a stage: its ranks, progress, memory and checkpoints are the context's.

    step   as progress calls it
    after  images that earlier walks of the same step went through, of `total` (default: this walk is all)
    """

    context: Context
    step: str = "images"
    after: int = 0
    total: int | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def named(self, step: str, *, after: int = 0, total: int | None = None) -> Pass:
        """The same for another step."""
        return replace(self, step=step, after=after, total=total)

    def sum(self, images: Images, sums: Sequence[Sums], *, split: np.ndarray | None = None) -> None:
        """Add every image to the sums of its half-set; afterwards each rank holds the total.

        split   (N,) which of the sums an image belongs to, -1 = none; default its half-set
        """
        split = images.half if split is None else split
        walk = _Walk(self, images, sums[0], split, fingerprint(*(one.fingerprint for one in sums)))
        tensors = {f"{k}.{name}": tensor for k, one in enumerate(sums) for name, tensor in one.tensors().items()}
        arrays = walk.resume()
        for name, array in arrays.items():
            tensors[name].copy_(torch.from_numpy(array))
        for number, batch in walk.batches(range(len(sums))):
            sums[number].add(batch)
            walk.went_through(batch, lambda: {name: tensor.cpu().numpy() for name, tensor in tensors.items()})
        self.context.ranks.sum(tensors.values())

    def rows(self, images: Images, rows: Rows, *, subset: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Rows for every used image: (N, ...) float32 arrays in the order of `images.rows`, zero where not visited.

        subset  (N,) bool, which images are visited; default all
        """
        split = np.zeros(len(images), np.int64) if subset is None else np.where(subset, 0, -1)
        walk = _Walk(self, images, rows, split, rows.fingerprint)
        table = walk.resume()
        for _, batch in walk.batches(range(1)):
            for name, value in rows.of(batch).items():
                if name not in table:
                    table[name] = np.zeros((len(images), *value.shape[1:]), np.float32)
                table[name][batch.index] = value.cpu().numpy()
            walk.went_through(batch, lambda: table)
        return self.context.ranks.fill(table)


def batch_size(images: Images, radius: int, floats_per_pixel: int, memory_bytes: int) -> int:
    """Images in one batch such that its temporaries (floats_per_pixel for each pixel) keep to an eighth of the memory,
    at most BATCH_BYTES."""
    budget = min(BATCH_BYTES[images.device.type], memory_bytes // 8)
    pixels = len(images.plane.prefix(radius))
    return int(np.clip(budget // (4 * floats_per_pixel * pixels), SMALLEST_BATCH, LARGEST_BATCH))


class _Walk:
    """Where a pass is, and what it keeps of itself."""

    def __init__(self, of: Pass, images: Images, work: OverImages, split: np.ndarray, model: str) -> None:
        context = of.context
        self._pass, self._images, self._work, self._split = of, images, work, split
        self._size = batch_size(images, work.radius, work.floats_per_pixel, context.memory_bytes)
        self._done, self._all = 0, int((split[images.mine] >= 0).sum())
        ranks = context.ranks
        self._slot = f"pass-{ranks.rank}"
        order = (images.rows, images.mine, split, self._size, ranks.size)
        self._identity = np.array(fingerprint(model, images.scale, images.sign, *order))
        self._kept_at, self._cost = of.clock(), 0.0

    def resume(self) -> dict[str, np.ndarray]:
        """What an earlier run of this very pass kept, and go on behind it; else nothing, and start at the beginning."""
        checkpoints = self._pass.context.checkpoints
        mark = checkpoints.load(f"{self._slot}-mark")
        if mark is None or mark["identity"] != self._identity:
            return {}
        arrays = checkpoints.load(self._slot)
        if arrays is None or arrays.pop("identity") != self._identity:
            return {}
        self._done = int(arrays.pop("done"))
        self._tell()
        return arrays

    def batches(self, numbers: range) -> Iterator[tuple[int, Batch]]:
        """Every batch that is left to go through, with the number in the split of its images."""
        skip = self._done
        for number in numbers:
            subset = self._split == number
            count = int(subset[self._images.mine].sum())
            for batch in self._images.batches(
                subset, self._work.noise, radius=self._work.radius, size=self._size, skip=min(skip, count)
            ):
                yield number, batch
            skip = max(0, skip - count)

    def went_through(self, batch: Batch, state: Callable[[], dict[str, np.ndarray]]) -> None:
        """Tell progress, and keep the state where it is time; where progress stops the run, keep it first."""
        of = self._pass
        self._done += len(batch.index)
        now = of.clock()
        if now - self._kept_at > max(KEEP_EVERY_S, self._cost / SHARE_OF_TIME):
            self._keep(state())
        try:
            self._tell()
        except Interrupted:
            self._keep(state())
            raise

    def _tell(self) -> None:
        of = self._pass
        total = of.after + self._all if of.total is None else of.total
        of.context.progress(of.step, of.after + self._done, total)

    def _keep(self, state: dict[str, np.ndarray]) -> None:
        """The state, then the mark that says whose it is: the mark alone is read where there is nothing to resume."""
        began = self._pass.clock()
        checkpoints = self._pass.context.checkpoints
        checkpoints.save(self._slot, {**state, "done": np.array(self._done), "identity": self._identity})
        checkpoints.save(f"{self._slot}-mark", {"identity": self._identity})
        self._kept_at = self._pass.clock()
        self._cost = self._kept_at - began
