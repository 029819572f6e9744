"""The one loop over the images. Estimators are sums (`add`) or rows (a function of a batch); neither knows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from covaria.imaging.images import Batch, Images, Noise
from covaria.running.ranks import Ranks

Report = Callable[[int, int], None]


class Sums(Protocol):
    """A sum over images of one half-set, under a frozen model."""

    def add(self, batch: Batch) -> None: ...

    def tensors(self) -> list[torch.Tensor]:
        """Every tensor that is a sum, for addition over ranks."""
        ...


def batch_size(images: Images, radius: int | None, floats_per_pixel: int, budget_bytes: int = 256 << 20) -> int:
    """Images in one batch such that its temporaries (floats_per_pixel for each pixel) stay within the budget."""
    pixels = len(images.plane if radius is None else images.plane.prefix(radius))
    return int(np.clip(budget_bytes // (4 * floats_per_pixel * pixels), 8, 512))


def sum_pass(
    images: Images,
    sums: Sequence[Sums],
    noise: Noise,
    *,
    radius: int | None = None,
    size: int = 64,
    split: np.ndarray | None = None,
    report: Report | None = None,
) -> None:
    """Add every image to the sums of its half-set; afterwards each rank holds the total.

    split   (N,) which of the sums an image belongs to, -1 = none; default its half-set
    """
    split = images.half if split is None else split
    done, total = 0, int((split[images.mine] >= 0).sum())
    for half, one in enumerate(sums):
        for batch in images.batches(split == half, noise, radius=radius, size=size):
            one.add(batch)
            done += len(batch.index)
            if report:
                report(done, total)
    ranks = Ranks()
    for one in sums:
        ranks.sum(one.tensors())


def row_pass(
    images: Images,
    rows_of: Callable[[Batch], dict[str, torch.Tensor]],
    noise: Noise,
    *,
    radius: int | None = None,
    size: int = 64,
    subset: np.ndarray | None = None,
    report: Report | None = None,
) -> dict[str, np.ndarray]:
    """Rows for every used image: (N, ...) float32 arrays in the order of `images.rows`, zero where not visited."""
    rows: dict[str, np.ndarray] = {}
    done = 0
    subset = np.ones(len(images), bool) if subset is None else subset
    for batch in images.batches(subset, noise, radius=radius, size=size):
        for name, value in rows_of(batch).items():
            if name not in rows:
                rows[name] = np.zeros((len(images), *value.shape[1:]), np.float32)
            rows[name][batch.index] = value.cpu().numpy()
        done += len(batch.index)
        if report:
            report(done, int(subset[images.mine].sum()))
    return Ranks().fill(rows)
