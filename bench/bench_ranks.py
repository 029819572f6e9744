"""How much of a second process's work is gained: a reconstruction by one rank and by several, one thread each.

    python bench/bench_ranks.py [--box 64] [--images 4000] [--ranks 2] [--zdim 4]

efficiency = seconds of one rank / (ranks x seconds of that many): start of the processes, reading of images and writing
of results included, ingest not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from covaria.operations.one_machine import run_stages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.running.ranks import TorchRanks
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria_reconstruction import stage as reconstruction


def one_rank(request: Request, rank: int, size: int, store: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    reconstruction.run(Job("ranks", request), MemoryContext(memory_bytes=4 << 30, ranks=TorchRanks.joined()))
    torch.distributed.destroy_process_group()


def seconds(request_file: Path, size: int, store: Path) -> float:
    began = time.perf_counter()
    command = [sys.executable, __file__, "--request", request_file, "--store", store, "--ranks", size, "--rank"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    ranks = [subprocess.Popen([str(part) for part in (*command, rank)], env=environment) for rank in range(size)]
    if any([rank.wait() for rank in ranks]):
        sys.exit("a rank failed")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--zdim", type=int, default=4)
    parser.add_argument("--request", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.request:
        request = Request.model_validate_json(given.request.read_text())
        one_rank(request, given.rank, given.ranks, given.store)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pixel = BOX_LENGTH_ANGSTROM / given.box
        options = SimulationOptions(n_images=given.images, box=given.box, pixel_size_angstrom=pixel, snr=0.05)
        simulate(root / "set", BUILT_IN["curved"](20), options)
        request = Request(
            out=root / "out",
            ingest=IngestOptions(particles=root / "set" / "particles.star", downsample=None),
            reconstruction=ReconstructionOptions(zdim=(given.zdim,)),
        )
        run_stages(request, ("ingest",), command="ingest", command_line="")
        (root / "request.json").write_text(request.model_dump_json())
        alone, together = (seconds(root / "request.json", n, root / f"store{n}") for n in (1, given.ranks))
        print(f"1 rank {alone:.1f} s, {given.ranks} ranks {together:.1f} s: efficiency", end=" ")
        print(f"{alone / given.ranks / together:.2f}")


if __name__ == "__main__":
    main()
