"""Leases: one holder, fencing, death by the observer's clock."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from covaria.job.lease import Lease, LeaseKeeper, LeaseLost, latest, require, take, watch
from covaria.tree import Tree


def sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "out")


def taken(tree: Tree, owner: str = "a") -> Lease:
    lease = take(tree, owner, latest(tree))
    assert lease is not None
    return lease


def test_first_lease(tree: Tree) -> None:
    assert latest(tree) is None
    lease = taken(tree)
    state = latest(tree)
    assert state is not None
    assert (state.number, state.owner, state.released, state.counter) == (1, "a", False, 0)
    lease.renew()
    state = latest(tree)
    assert state is not None
    assert state.counter == 1


def test_many_at_once_one_wins(tree: Tree) -> None:
    barrier = threading.Barrier(8)
    winners: list[Lease] = []

    def race(name: str) -> None:
        barrier.wait()
        lease = take(tree, name, None)
        if lease is not None:
            winners.append(lease)

    for _ in range(20):
        threads = [threading.Thread(target=race, args=(f"w{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        winners.clear()
        (tree.state / "lease.1").unlink()
    assert not [path for path in tree.state.iterdir() if path.suffix == ".tmp"]


def test_taken_over_holder_is_fenced(tree: Tree) -> None:
    old = taken(tree, "old")
    new = taken(tree, "new")
    assert new.number == 2
    with pytest.raises(LeaseLost, match="taken over"):
        old.renew()
    with pytest.raises(LeaseLost):
        require(tree, old.number)
    require(tree, new.number)
    old.release()  # must not free what is not his
    state = latest(tree)
    assert state is not None
    assert (state.owner, state.released) == ("new", False)
    assert [path.name for path in tree.state.iterdir() if path.name.startswith("lease")] == ["lease.2"]


def test_watching_a_live_lease(tree: Tree) -> None:
    keeper = LeaseKeeper(taken(tree), 0.05)
    seen = latest(tree)
    assert seen is not None
    assert watch(tree, seen, 2.0, sleep) == "live"
    keeper.release()
    seen = latest(tree)
    assert seen is not None
    assert seen.released


def test_watching_a_dead_lease(tree: Tree) -> None:
    taken(tree)
    seen = latest(tree)
    assert seen is not None
    began = time.monotonic()
    assert watch(tree, seen, 0.3, sleep) == "dead"
    assert 0.3 <= time.monotonic() - began < 2


def test_file_times_are_not_believed(tree: Tree) -> None:
    """A clock that is years ahead, or behind, on the file server changes nothing."""
    import os

    taken(tree)
    os.utime(tree.state / "lease.1", (0, 0))
    seen = latest(tree)
    assert seen is not None
    keeper = LeaseKeeper(Lease(tree, 1, "a"), 0.05)
    assert watch(tree, seen, 2.0, sleep) == "live"
    keeper.stop()


def test_watching_can_be_given_up(tree: Tree) -> None:
    taken(tree)
    seen = latest(tree)
    assert seen is not None
    assert watch(tree, seen, 60.0, lambda seconds: False) == "unknown"


def test_released_while_watched(tree: Tree) -> None:
    lease = taken(tree)
    seen = latest(tree)
    assert seen is not None

    def release_then_go_on(seconds: float) -> bool:
        lease.release()
        return True

    assert watch(tree, seen, 5.0, release_then_go_on) == "released"


def test_keeper_notices_that_it_lost(tree: Tree) -> None:
    keeper = LeaseKeeper(taken(tree), 0.02)
    taken(tree, "other")
    deadline = time.monotonic() + 5
    while not keeper.lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert keeper.lost
    keeper.release()
    assert json.loads((tree.state / "lease.2").read_text())["released"] is False
