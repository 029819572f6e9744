"""Particles out of a large run: a subset by the command, and a lasso on the page; each as a fraction of its floor.

python bench/bench_subset.py [--rows 1000000] [--columns 40] [--keep]

A run of --rows particles is made (its books, coordinates and STAR file, no images). `covaria subset --polygon` runs in
a process of its own, so that its time and its peak memory are its own; its floor is to read the source once, sum it,
and write the subset. The page's path is what its server does: it prepares the source while the region is looked at,
counts the rows in a lasso and writes the STAR file, twice; its floor is to write the subset. Bars: 15 s and 2 GB, 2 s
from the first lasso on. All are seconds of one core's work, so that a busy machine says the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from floors import Floors

from covaria.estimation.latents.model import Latents
from covaria.explorer.run_files import RunFiles
from covaria.particles import save
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.stacks.images import StackImages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.selection.model import Polygon
from covaria.tree import ParticleFiles, Tree, record
from covaria.tree.atomic import write_pickle
from covaria.view.subsets import prepare, rows_of, subset_file

MOST_SUBSET_S, MOST_SUBSET_GB, MOST_LASSO_S = 15.0, 2.0, 2.0
LASSO = Polygon(columns=("z1", "z2"), points=((-1.5, -1.2), (1.1, -1.5), (1.6, 0.4), (0.2, 1.4), (-1.4, 0.9)))
COMMAND = """
import resource, sys
from covaria.cli import main
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def write_star(path: Path, rows: int, columns: int) -> None:
    """A particle table of `rows` rows and `columns` columns of numbers as RELION writes them."""
    labels = ["_rlnImageName", *(f"_rlnColumn{k}" for k in range(1, columns))]
    block = [
        " ".join(f"{value:12.6f}" for value in row)
        for row in np.random.default_rng(0).normal(0, 99, (1000, columns - 1))
    ]
    with path.open("w") as file:
        file.write("data_particles\n\nloop_\n" + "".join(f"{name} #{k + 1}\n" for k, name in enumerate(labels)))
        for start in range(0, rows, 1000):
            count = min(1000, rows - start)
            file.writelines(f"{start + k + 1:06d}@stack.mrcs {block[k]}\n" for k in range(count))


def write_run(folder: Path, rows: int) -> Tree:
    """OUT of a finished run on folder/particles.star: two confirmed components."""
    tree = Tree(folder / "out")
    tree.state.mkdir(parents=True)
    request = Request(
        out=tree.out, ingest=IngestOptions(particles=folder / "particles.star"),
        reconstruction=ReconstructionOptions(zdim=(2,)),
    )  # fmt: skip
    stages = ("ingest", "reconstruction")
    record.write_request(
        tree, job_id="j", command="run", command_line="covaria run", stages=stages, request=request
    )  # fmt: skip
    zeros, none = np.zeros(rows), np.zeros(rows, np.int64)
    ctf = ContrastTransfer(zeros + 1e4, zeros + 1e4, zeros, zeros + 300, zeros + 2.7, zeros + 0.1, zeros)
    stack = StackImages(paths=(folder / "stack.mrcs",), file=none, index=np.arange(rows), box=64)
    save(tree.particles, Particles(
        request.ingest.particles, 64, 1.0, np.broadcast_to(np.eye(3), (rows, 3, 3)), np.zeros((rows, 2)), ctf,
        none, (none % 2).astype(np.int8), none, np.ones(rows, bool), stack,
    ))  # fmt: skip
    points = np.random.default_rng(0).standard_normal((rows, 2)).astype(np.float32)
    latents = Latents(points, np.broadcast_to(np.eye(2, dtype=np.float32), (rows, 2, 2)), np.ones(rows, np.float32))
    write_latents(tree, latents, latents)
    write_pickle(tree.params, {"s": np.ones(2), "significant_components": 2})
    write_half_sets(tree, (np.arange(0, rows, 2), np.arange(1, rows, 2)))
    for stage in stages:
        record.write_stage_state(tree, stage, {"status": "succeeded"})
    record.refresh(tree)
    return tree


def worked_in(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    start = time.process_time()
    work()
    return time.process_time() - start


def command(tree: Tree, folder: Path) -> tuple[float, float, float]:
    """Seconds by the clock, of CPU, and GB of `covaria subset`."""
    corners = ";".join(f"{x},{y}" for x, y in LASSO.points)
    words = ["subset", str(tree.out), "--polygon", f"z1,z2:{corners}", "-o", str(folder)]
    start, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=False)
    took, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    worked = sum(after[2:4]) - sum(before[2:4])
    return took, worked, int(done.stderr.rpartition("peak ")[2]) * 1024 / 1e9


def lasso(tree: Tree) -> tuple[float, float, float]:
    """Seconds of CPU until the page's server is ready, for the first STAR file out of a lasso, and for the next."""
    run = RunFiles(tree.out)
    opened = worked_in(lambda: prepare(run))
    times = []
    for _ in range(2):
        start = time.process_time()
        rows_of(run, LASSO)
        subset_file(run, LASSO)
        times.append(time.process_time() - start)
    return opened, times[0], times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--keep", action="store_true", help="Keep the fractions as the ones to hold.")
    given = parser.parse_args()
    floors = Floors(f"subset of {given.rows} x {given.columns}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "particles.star"
        write_star(source, given.rows, given.columns)
        tree = write_run(folder, given.rows)
        took, worked, peak = command(tree, folder / "subset")
        made = ParticleFiles(folder / "subset").star.read_bytes()
        summed = worked_in(lambda: hashlib.sha256(source.read_bytes()).hexdigest())
        written = worked_in(lambda: (folder / "copy.star").write_bytes(made))
        opened, first, again = lasso(tree)
    print(f"{given.rows:,} rows of {given.columns} columns, {len(made) / 1e6:.0f} MB kept")
    print(
        f"covaria subset {worked:.1f} s of CPU, {took:.1f} s, {peak:.2f} GB; its floor {summed + written:.2f} s of CPU"
    )
    print(f"page: ready after {opened:.1f} s, first lasso {first:.2f} s, next {again:.2f} s; floor {written:.2f} s")
    floors.add("covaria subset", (summed + written) / worked)
    floors.add("lasso to STAR", written / first)
    if given.keep:
        floors.keep()
    bars = {"covaria subset, s of CPU": (worked, MOST_SUBSET_S), "covaria subset, GB": (peak, MOST_SUBSET_GB),
            "lasso, s of CPU": (first, MOST_LASSO_S)}  # fmt: skip
    missed = [f"{name}: {value:.2f}, the bar is {bar:g}" for name, (value, bar) in bars.items() if value > bar]
    fallen = floors.hold()
    if missed or fallen:
        sys.exit("\n".join((*missed, *fallen)))


if __name__ == "__main__":
    main()
