"""Several processes over the same images: what is summed and what is gathered."""

from __future__ import annotations

import numpy as np
import torch


class Ranks:
    """This process among `size` of them (torch.distributed, initialised by the caller); alone without a group."""

    def __init__(self) -> None:
        group = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if group else 0
        self.size = torch.distributed.get_world_size() if group else 1

    def sum(self, tensors: list[torch.Tensor]) -> None:
        """Add up each tensor over all ranks, in place."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def least(self, value: int) -> int:
        """The smallest of all ranks' values: what they must agree on before they sum in step."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MIN)
        return int(tensor)

    def fill(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Complete arrays of which each rank has filled its own rows and left the others at zero."""
        if self.size > 1:
            for name, array in rows.items():
                tensor = torch.from_numpy(array)
                torch.distributed.all_reduce(tensor)
                rows[name] = tensor.numpy()
        return rows
