"""The hot loops as fractions of their floors, all measured in the same run (1 is the floor: nothing can be faster).

    python bench/bench_loops.py [--box 64] [--images 1000] [--channels 1 10 50] [--device cpu] [--keep] [--before REV]

It fails where a fraction is a fifth below the one kept in floors.json; --keep keeps those of this run. --before runs
the bench of another revision of the repository as well, and says how many times faster each loop has become. On a CPU
times are CPU time of one thread: other programs on the machine take none of it.

A loop's floor is the larger of two times: its arithmetic at the rate of a large matrix product (float32), and the bytes
that it must move, each once, at the speed of a large copy. For project and backproject these are the pixels and, for
each image, every voxel that its slice touches, read (and, for backproject, written) once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch
from floors import Floors
from scipy.spatial.transform import Rotation

from covaria.estimation.components.m_step import m_step, step_of
from covaria.estimation.components.sums import ComponentSums
from covaria.estimation.latents.posterior import posterior, statistics
from covaria.estimation.linear_model import LinearModel
from covaria.imaging import volumes
from covaria.imaging.noise import Noise
from covaria.imaging.order import viewing_order
from covaria.imaging.plane import HalfPlane, half_plane
from covaria.imaging.slices import backproject, project

BATCH = 100
FLOAT = 4
TARGETS = 20


class Machine:
    """What this device does at best: bytes copied (read and written) and float32 operations in a second."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.floors = Floors(device.partition(":")[0])
        self.box = 0
        self.times: dict[str, float] = {}
        source, target = (torch.ones(1 << 26, device=device) for _ in range(2))
        self.bytes = 2 * FLOAT * source.numel() / self.seconds(lambda: target.copy_(source))
        matrix = torch.rand(2048, 2048, device=device)
        self.operations = 2 * 2048**3 / self.seconds(lambda: matrix @ matrix)

    def seconds(self, call: Callable[[], object], times: int = 3) -> float:
        """The best of a few runs after a first one."""
        best = float("inf")
        for _ in range(times + 1):
            start = self._clock()
            call()
            best = min(best, self._clock() - start)
        return best

    def _clock(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def row(self, name: str, seconds: float, moved: float, operations: float, images: int) -> str:
        floor = max(moved / self.bytes, operations / self.operations)
        self.floors.add(f"{self.box} px, {name}", floor / seconds)
        self.times[f"{self.box} px, {name}"] = 1e3 * seconds / images
        return f"| {name} | {1e3 * seconds / images:.3f} | {1e3 * floor / images:.3f} | {floor / seconds:.2f} |"


def times_of(table: str) -> dict[str, float]:
    """Milliseconds an image of each loop in a table that this bench has printed, by box and loop."""
    found, box = {}, ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if " px, " in line and not line.startswith("|"):
            box = line.split(",")[0]
        elif line.startswith("|") and cells[1].replace(".", "").isdigit():
            found[f"{box}, {cells[0]}"] = float(cells[1])
    return found


def earlier(revision: str, arguments: list[str]) -> str:
    """What the bench of another revision prints on this machine, now."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "tree"
        home = Path(__file__).parents[1]
        subprocess.run(["git", "-C", home, "worktree", "add", "--detach", there, revision], check=True)
        try:
            environment = os.environ | {"PYTHONPATH": f"{there / 'shared'}{os.pathsep}{there / 'services'}"}
            command = [sys.executable, there / "bench" / "bench_loops.py", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        finally:
            subprocess.run(["git", "-C", home, "worktree", "remove", "--force", there], check=True)
    return done.stdout


def touched(rotation: np.ndarray, plane: HalfPlane, side: int) -> int:
    """How many voxels of the padded grid one slice's trilinear corners are."""
    q = 2.0 * (plane.kx[:, None] * rotation[0] + plane.ky[:, None] * rotation[1])
    cell = np.floor(q * np.where(q[:, :1] < 0, -1, 1)).astype(np.int64)
    corners = cell[:, None] + np.indices((2, 2, 2)).reshape(3, 8).T
    return len(np.unique(corners @ np.array([1, 4 * side, 16 * side * side])))


def loops(machine: Machine, box: int, count: int, channels: list[int]) -> None:
    plane, machine.box = half_plane(box).prefix(box // 2 - 1), box
    side, pixels = volumes.cube_side(box // 2 - 1), len(plane)
    matrices = Rotation.random(count, random_state=0).as_matrix()
    matrices = matrices[np.argsort(viewing_order(matrices[:, 2]))].astype(np.float32)
    voxels = float(np.mean([touched(matrix, plane, side) for matrix in matrices[:20]]))
    rotations = torch.as_tensor(matrices, device=machine.device)
    batches = [slice(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    make = torch.Generator(machine.device).manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=make, device=machine.device)

    print(f"\n{box} px, {pixels} pixels in a slice that touch {voxels:.0f} voxels\n")
    print("| loop | ms an image | floor | fraction |\n|---|---|---|---|")
    for k in channels:
        grid = random(2 * side, 2 * side, side, 2 * k)
        seconds = machine.seconds(lambda g=grid: [project(g, rotations[b], plane) for b in batches])
        moved = count * FLOAT * 2 * k * (pixels + voxels)
        print(machine.row(f"project, {k} channels", seconds, moved, count * 32.0 * k * pixels, count))
        sums = random(2 * side, 2 * side, side, 2 * k + 1)
        values, weights = random(BATCH, pixels, 2, k), random(BATCH, pixels, 1)

        def scatter(s: torch.Tensor = sums, v: torch.Tensor = values, w: torch.Tensor = weights) -> None:
            for b in batches:
                n = b.stop - b.start
                backproject(s, v[:n], w[:n, :, 0], w[:n], rotations[b], plane)

        moved = count * FLOAT * (2 * k + 1) * (pixels + 2 * voxels)
        print(
            machine.row(
                f"backproject, {k} channels",
                machine.seconds(scatter),
                moved,
                count * 16.0 * (2 * k + 1) * pixels,
                count,
            )
        )
        print(_e_step(machine, random, plane, k))
        print(_m_step(machine, random, box, k))
    print(_state_sums(machine, random, plane, rotations, side, voxels))


def _e_step(machine: Machine, random: Callable[..., torch.Tensor], plane: HalfPlane, k: int) -> str:
    n = len(plane)
    slices = random(BATCH, 2 * n, 2 + k) * 0.1
    seconds = machine.seconds(lambda: posterior(statistics(slices), 0.2))
    moved = BATCH * FLOAT * 2 * n * (2 + k)
    return machine.row(f"E-step, {k} components", seconds, moved, BATCH * 4.0 * n * (1 + k) * (2 + k), BATCH)


def _m_step(machine: Machine, random: Callable[..., torch.Tensor], box: int, k: int) -> str:
    """A whole solve, not by image. One half-set's sums serve for both: they are read and transformed once, not twice;
    components read, components and halves written."""
    side = box
    model = LinearModel(np.zeros((side,) * 3, np.float32), random(k, side, side, side).cpu().numpy(), 1.0, 0.2)
    sums = ComponentSums(model, Noise.white(box, 1), torch.device(machine.device))
    sums.grid += random(*sums.grid.shape)
    mask = np.ones((side,) * 3, np.float32)

    def solve() -> None:
        step = step_of(sums, model.components, np.eye(k), mask)
        m_step(torch.stack([step, step]), np.eye(k), mask)

    moved = FLOAT * (sums.grid.numel() + 4 * k * side**3)
    return machine.row(f"M-step solve, {k} components (for the whole set)", machine.seconds(solve, 1), moved, 0.0, 1)


def _state_sums(
    machine: Machine,
    random: Callable[..., torch.Tensor],
    plane: HalfPlane,
    rotations: torch.Tensor,
    side: int,
    voxels: float,
) -> str:
    """Residuals of an image added to the rings of TARGETS targets, each of which takes a third of the images."""
    n, count = len(plane), len(rotations)
    sums = [torch.zeros((2 * side, 2 * side, side, 3), device=machine.device) for _ in range(TARGETS)]
    chosen = [torch.randperm(BATCH)[: BATCH // 3].sort().values.to(machine.device) for _ in range(TARGETS)]
    values, weights = random(BATCH, n, 2, 1), random(BATCH, n, 1)

    def add() -> None:
        for start in range(0, count - BATCH + 1, BATCH):
            part = rotations[start : start + BATCH]
            for one, inside in zip(sums, chosen, strict=True):
                given = values[inside], weights[inside, :, 0], weights[inside], part[inside]
                backproject(one, *given, plane)

    done = count // BATCH * BATCH
    each = TARGETS * (BATCH // 3) / BATCH
    moved = done * each * FLOAT * 3 * (n + 2 * voxels)
    return machine.row(f"state sums, {TARGETS} targets", machine.seconds(add), moved, done * each * 48.0 * n, done)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--box", type=int, nargs="+", default=[64])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", action="store_true", help="keep this run's fractions in floors.json")
    parser.add_argument("--before", metavar="REV", help="compare with this revision, run now as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    machine = Machine(given.device)
    print(f"copy {machine.bytes / 1e9:.1f} GB/s, matrix product {machine.operations / 1e9:.0f} GFLOP/s")
    for box in given.box:
        loops(machine, box, given.images, given.channels)
    if given.before:
        options = [f"--images={given.images}", f"--device={given.device}"]
        many = ["--box", *map(str, given.box), "--channels", *map(str, given.channels)]
        before = times_of(earlier(given.before, [*options, *many]))
        print(f"\n| loop | times faster than {given.before} |\n|---|---|")
        for name, now in machine.times.items():
            if name in before:
                print(f"| {name} | {before[name] / now:.2f} |")
    if given.keep:
        machine.floors.keep()
    elif fallen := machine.floors.hold():
        sys.exit("\n".join(["", "fallen:", *fallen]))


if __name__ == "__main__":
    main()
