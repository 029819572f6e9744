"""How many times a whole reconstruction walks over all its images, and its CPU time (user and system, all threads).

    python bench/bench_passes.py [--box 48] [--images 1500] [--zdim 4,10]

A walk over half of the images, or over the few that trials use, counts as that share. CPU time is what other programs
on the machine leave as it is, wall-clock time is not.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections import Counter
from pathlib import Path

from covaria.operations.one_machine import run_stages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions, simulate
from covaria.simulation.ensemble import BUILT_IN
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria_reconstruction import stage as reconstruction


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def walked(steps: list[tuple[str, int, int]]) -> Counter[str]:
    """Images that each step went through, from what progress was told."""
    images: Counter[str] = Counter()
    for step, done, total in steps:
        if done == total and step != "reading images":
            images[step] += total
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--box", type=int, default=48)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--zdim", default="4,10")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pixel = BOX_LENGTH_ANGSTROM / given.box
        options = SimulationOptions(n_images=given.images, box=given.box, pixel_size_angstrom=pixel, snr=0.05)
        simulate(root / "set", BUILT_IN["curved"](20), options)
        request = Request(
            out=root / "out",
            ingest=IngestOptions(particles=root / "set" / "particles.star", downsample=None),
            reconstruction=ReconstructionOptions(zdim=tuple(int(z) for z in given.zdim.split(","))),
        )
        run_stages(request, ("ingest",), command="ingest", command_line="")
        context, began = MemoryContext(memory_bytes=3 << 30), cpu_seconds()
        reconstruction.run(Job("passes", request), context)
        seconds, images = cpu_seconds() - began, walked(context.steps)
    print(f"{given.box} px, {given.images:,} images, zdim {given.zdim}\n\n| step | whole-stack passes |\n|---|---|")
    for step, count in images.items():
        print(f"| {step} | {count / given.images:.1f} |")
    print(f"| together | {sum(images.values()) / given.images:.1f} |\n\nCPU time {seconds:.1f} s")


if __name__ == "__main__":
    main()
