"""What an image costs whose optics are not plain, as a ratio to a plain one of the same box in the same run.

    python bench/bench_optics.py [--box 64] [--images 2000]

Each set is noise (what is computed does not depend on it) with the columns that RELION would write. An image is read
once and walked over some thirty times (docs/performance.md), so a ratio of the whole counts its reading and PASSES
passes of the E- and M-step's sums with four components and pose errors. CPU time of one thread; memory is the growth
of the process's largest, in a process of its own for each set. Bar: 1.2.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.linear_model import LinearModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.images import read_images
from covaria.imaging.noise import Noise
from covaria.particles import read_particles
from covaria.particles.stacks.mrc import write_header
from covaria.request.model import IngestOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext

PASSES, COMPONENTS, PIXEL = 30, 4, 2.0
ABERRATIONS = {
    "BeamTiltX": "0.5", "BeamTiltY": "-0.3", "MagMat00": "1.01", "MagMat01": "0.005", "MagMat10": "0.002",
    "MagMat11": "0.99", "OddZernike": "[0,0,900,-700,600,500]", "EvenZernike": "[0,0,0,0,4000,2000,0,1500,2500]",
}  # fmt: skip
MULTIPLIED = {"CtfDataAreCtfPremultiplied": "1"}
SETS: dict[str, list[tuple[float, int, dict[str, str]]]] = {
    "plain": [(1.0, 0, {})],
    "aberrations and magnification": [(1.0, 0, ABERRATIONS)],
    "premultiplied": [(1.0, 0, MULTIPLIED)],
    "half of another pixel size": [(1.0, 0, {}), (0.96, 0, {})],
    "half of another box": [(1.0, 0, {}), (1.0, 8, {})],
}
"""For each group: its pixel size over PIXEL, pixels that its box has beyond the others', columns of its optics."""


def write(folder: Path, name: str, box: int, count: int) -> Path:
    """A set of noise."""
    rng = np.random.default_rng(0)
    labels = sorted({label for _, _, columns in SETS[name] for label in columns})
    fixed = ["OpticsGroup", "Voltage", "SphericalAberration", "AmplitudeContrast", "ImagePixelSize", "ImageSize"]
    optics, rows = [], []
    for number, (size, more, columns) in enumerate(SETS[name], 1):
        side, many = box + more, count // len(SETS[name])
        optics.append([number, 300, 2.7, 0.1, PIXEL * size, side, *(columns.get(label, "0") for label in labels)])
        head = write_header(many, side, PIXEL * size, (0.0, 0.0, 0.0, 0.0))
        pixels = rng.standard_normal((many, side, side), dtype=np.float32)
        (folder / f"{number}.mrcs").write_bytes(head + pixels.tobytes())
        angles, defocus = rng.uniform(0, 180, (many, 3)).round(3), rng.uniform(1e4, 2e4, many).round(1)
        rows += [
            [f"{i + 1}@{number}.mrcs", number, *angles[i], 0, 0, defocus[i], defocus[i], 0, 1 + i % 2]
            for i in range(many)
        ]
    columns = ["ImageName", "OpticsGroup", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst",
               "DefocusU", "DefocusV", "DefocusAngle", "RandomSubset"]  # fmt: skip
    star = folder / "particles.star"
    star.write_text("data_optics\n" + _loop([*fixed, *labels], optics) + "data_particles\n" + _loop(columns, rows))
    return star


def _loop(names: list[str], rows: list[list[object]]) -> str:
    head = "".join(f"_rln{name}\n" for name in names)
    return f"\nloop_\n{head}" + "".join(" ".join(map(str, row)) + "\n" for row in rows) + "\n"


def measured(name: str, box: int, count: int) -> tuple[float, float, float]:
    """Milliseconds of CPU an image for reading, for a pass, and MB that the process has grown by."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        particles = read_particles(IngestOptions(particles=write(Path(folder), name, box, count)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        images = read_images(particles)
        reading = time.process_time() - began
        shape = (particles.box,) * 3
        ones = np.ones(shape, np.float32)
        problem = Problem(images, Pass(MemoryContext()), Noise.white(images.box, images.groups), ones, ones, 0.1,
                          images.half, PoseSpread(0.5, 0.02))  # fmt: skip
        model = problem.model(particles.box // 2 - 1, np.random.default_rng(1).normal(size=(COMPONENTS, *shape)))
        walking = min(_seconds(problem, model) for _ in range(4))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return 1000 * reading / count, 1000 * walking / count, grown / 1024


def _seconds(problem: Problem, model: LinearModel) -> float:
    began = time.process_time()
    problem.sums(model)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--set", choices=list(SETS), help="only this one, its figures bare")
    given = parser.parse_args()
    if given.set:
        print(*measured(given.set, given.box, given.images))
        return
    plain: tuple[float, ...] = ()
    print(f"{given.images} images of {given.box} px; whole: a reading and {PASSES} passes")
    for name in SETS:
        command = [sys.executable, __file__, "--set", name, "--box", str(given.box), "--images", str(given.images)]
        told = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        read, walk, grown = map(float, told.stdout.split())
        found = read + PASSES * walk, grown
        plain = plain or found
        print(f"{name:32s} read {read:.3f} ms, a pass {walk:.3f} ms; whole {found[0] / plain[0]:.2f} of plain, "
              f"memory {found[1] / plain[1]:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
