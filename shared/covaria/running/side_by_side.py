"""Independent pieces of work on one core each: for many small operations, cheaper than all cores on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numba
import torch

from covaria.stage import Ranks

Item = TypeVar("Item")
Result = TypeVar("Result")


def workers(count: int, device: str | torch.device = "cpu") -> int:
    """How many of `count` pieces are worked on at a time: a card takes one, a CPU one for each thread it may use."""
    return max(1, min(count, torch.get_num_threads())) if torch.device(device).type == "cpu" else 1


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], *, device: str | torch.device = "cpu"
) -> Iterator[Result]:
    """function(item) of every item, in their order; what the first to fail raises, after those under way have ended.

    Each piece has one thread, however many there are: results do not depend on it. What `function` calls must let go of
    the interpreter's lock to gain by it: torch, and loops compiled with nogil.
    """
    if torch.device(device).type != "cpu":
        yield from map(function, items)
    elif workers(len(items)) == 1:
        for item in items:
            with one_thread():
                result = function(item)
            yield result
    else:
        yield from _pooled(function, items)


def shared_out(
    function: Callable[[Item], torch.Tensor],
    items: Sequence[Item],
    shapes: Sequence[Sequence[int]],
    ranks: Ranks,
    device: torch.device,
) -> list[torch.Tensor]:
    """function(item), a float32 tensor of its shape, of every item: each made by one rank and given to all.

    Every rank has the same items. What comes back does not depend on how many ranks there are: nothing is added to it.
    """
    if ranks.size == 1:
        return list(side_by_side(function, items, device=device))
    found = [torch.zeros(tuple(shape), device=device) for shape in shapes]
    mine = range(ranks.rank, len(items), ranks.size)
    for number, result in zip(mine, side_by_side(function, [items[k] for k in mine], device=device), strict=True):
        found[number] += result
    ranks.sum(found)
    return found


def _pooled(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    before = torch.get_num_threads()
    with ThreadPoolExecutor(workers(len(items)), initializer=_keep_to_one_thread) as pool:
        pending = [pool.submit(function, item) for item in items]
        try:
            for each in pending:
                yield each.result()
        finally:
            for each in pending:
                each.cancel()
            torch.set_num_threads(before)  # torch hands the last number set to every new thread


def _keep_to_one_thread() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """The block has one thread of this process."""
    before = torch.get_num_threads(), numba.get_num_threads()
    _keep_to_one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
