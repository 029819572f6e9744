"""Several processes over the same images: what is summed and what is gathered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TorchRanks:
    """This process among `size` of them. Alone unless whoever started the processes says so with `joined`."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def joined() -> TorchRanks:
        """This process in the torch.distributed group that its starter has initialised."""
        import torch

        return TorchRanks(torch.distributed.get_rank(), torch.distributed.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process puts together and writes what all of them found."""
        return self.rank == 0

    def sum(self, tensors: Iterable[torch.Tensor]) -> None:
        """Add up each tensor over all ranks, in place."""
        import torch

        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def least(self, value: int) -> int:
        """The smallest of all ranks' values: what they must agree on before they sum in step."""
        import torch

        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MIN)
        return int(tensor)

    def fill(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Complete arrays of which each rank has filled its own rows and left the others at zero."""
        import torch

        if self.size > 1:
            for name, array in rows.items():
                tensor = torch.from_numpy(array)
                torch.distributed.all_reduce(tensor)
                rows[name] = tensor.numpy()
        return rows


ALONE = TorchRanks()
