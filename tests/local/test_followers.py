"""A reconstruction that a second process shares, by the way the command goes."""

import io
import signal
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from covaria.errors import InvalidInput
from covaria.maps import read_volume
from covaria.operations.one_machine import run_stages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.running import devices, followers
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.tree import Tree
from covaria_reconstruction import results

BOX = 24


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    pixel = BOX_LENGTH_ANGSTROM / BOX
    simulate(
        folder / "set",
        BUILT_IN["homogeneous"](1),
        SimulationOptions(n_images=300, box=BOX, pixel_size_angstrom=pixel, snr=0.3),
    )
    return folder / "set" / "particles.star"


def reconstructed(particles, out, stages=("ingest", "reconstruction")) -> Tree:
    request = Request(
        out=out,
        ingest=IngestOptions(particles=particles, downsample=None),
        reconstruction=ReconstructionOptions(only_mean=True),
    )
    quiet = Console(file=io.StringIO())
    for stage in stages:
        run_stages(request, (stage,), command="run", command_line="x", memory_bytes=2 << 30, console=quiet)
    return Tree(out)


def test_two_processes_find_what_one_finds_after_one_was_lost_on_the_way(particles, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "draw_all", lambda drawings: None)
    alone = reconstructed(particles, tmp_path / "one")
    monkeypatch.setattr(devices, "resolve_devices", lambda device, gpus: ("cpu", "cpu"))
    start, join, started = followers.start, followers._join, []

    def remembered(orders):
        started.append(start(orders))
        return started[-1]

    def joined_and_killed(*given):
        join(*given)
        started[-1].send_signal(signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(followers, "start", remembered)
        patch.setattr(followers, "_join", joined_and_killed)
        with pytest.raises(followers.LostRank, match="ended with -9"):
            reconstructed(particles, tmp_path / "out")
    together = reconstructed(particles, tmp_path / "out", ("reconstruction",))
    one, two = (read_volume(tree.mean)[0] for tree in (alone, together))
    assert np.linalg.norm(one - two) < 1e-4 * np.linalg.norm(one)


def test_a_process_that_never_joins_is_told():
    class NobodyThere:
        def check(self, names):
            return False

    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(followers.LostRank, match="ended with 3"):
        followers._wait_for(NobodyThere(), 1, process)


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 4)
    assert devices.resolve_devices("auto", "2") == ("cuda:0", "cuda:1")
    assert len(devices.resolve_devices("auto", "all")) == 4
    with pytest.raises(InvalidInput, match="9 GPUs asked for, torch sees 4"):
        devices.resolve_devices("auto", "9")
    with pytest.raises(InvalidInput, match="--gpus '-1'"):
        devices.resolve_devices("auto", "-1")
    with pytest.raises(InvalidInput, match="--device cpu"):
        devices.resolve_devices("cpu", "2")
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 0)
    with pytest.raises(InvalidInput, match="torch sees 0"):
        devices.resolve_devices("auto", "all")
