"""A reconstruction and state volumes by two processes: the result of one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from covaria import stage
from covaria.maps import fsc, read_volume
from covaria.operations.one_machine import run_stages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.running.ranks import TorchRanks
from covaria.states.compute import StateGroup, compute_state_groups
from covaria.testing import MemoryContext
from covaria.tree import Tree
from covaria_reconstruction import stage as reconstruction

TARGETS = np.array([[0.0, 0.0], [1.0, -0.5]])


def compute(document: dict, states: Path, context: MemoryContext) -> None:
    request = Request.model_validate(document)
    reconstruction.run(stage.Job("ranks", request), context)
    if context.ranks.size > 1:
        torch.distributed.barrier()  # the first rank writes what all of them read
    compute_state_groups(Tree(request.out), 2, [StateGroup(states, "state", TARGETS)], context=context)


def one_rank(rank: int, size: int, store: str, document: str, states: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    compute(json.loads(document), Path(states), MemoryContext(memory_bytes=1 << 30, ranks=TorchRanks.joined()))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def trees(moving, tmp_path_factory) -> list[tuple[Tree, Path]]:
    """By one process and by two, from the same particles."""
    folder = tmp_path_factory.mktemp("ranks")
    found = []
    for size in (1, 2):
        out, states = folder / f"out{size}", folder / f"states{size}"
        request = Request(
            out=out,
            ingest=IngestOptions(particles=moving.folder / "particles.star", downsample=None),
            reconstruction=ReconstructionOptions(zdim=(1, 2)),
        )
        run_stages(request, ("ingest",), command="ingest", command_line="")
        document = request.model_dump(mode="json")
        if size == 1:
            compute(document, states, MemoryContext(memory_bytes=1 << 30))
        else:
            store = folder / "store"
            ranks = [
                subprocess.Popen(
                    [sys.executable, __file__, str(rank), str(size), str(store), json.dumps(document), str(states)]
                )
                for rank in range(size)
            ]
            assert [rank.wait(200) for rank in ranks] == [0, 0]
        found.append((Tree(out), states))
    return found


def test_same_mean_and_coordinates(trees):
    (one, _), (two, _) = trees
    mean, other = read_volume(one.mean)[0], read_volume(two.mean)[0]
    assert np.linalg.norm(mean - other) < 1e-4 * np.linalg.norm(mean)
    np.testing.assert_allclose(np.load(two.contrasts(2)), np.load(one.contrasts(2)), atol=5e-3)
    found, expected = np.load(two.latent_coords(2)), np.load(one.latent_coords(2))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9999


def test_same_components(trees):
    (one, _), (two, _) = trees
    for k in range(2):
        first, second = (read_volume(tree.eigenvolume(k))[0].ravel() for tree in (one, two))
        assert first @ second / np.linalg.norm(first) / np.linalg.norm(second) > 0.999


def test_same_states(trees):
    (_, one), (_, two) = trees
    for name in ("state000", "state001"):
        first, second = (read_volume(folder / f"{name}.mrc")[0] for folder in (one, two))
        assert fsc(first, second)[1:10].min() > 0.99


if __name__ == "__main__":
    one_rank(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6])
