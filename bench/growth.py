"""A set fed in parts against one that is there at once: is the grown model the same, and what does an update cost?

    python bench/growth.py /tmp/growth [--images 2000] [--parts 10] [--box 32] [--snr 0.3] [--states plane]

After each part the grown model and latents are held against those of all images at once. CPU time of an update (images
read and made smaller, model, latents; no figures, no states) and the images that its walks visit are fitted by the
numbers of new and old images. Reads of the stack are counted image by image.

With `--stages` whole updates are made instead, with states and figures, and CPU time is told by stage.
"""

from __future__ import annotations

import argparse
import resource
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from covaria import particles as particle_files
from covaria.estimation.growth.matching import overlaps
from covaria.operations import one_machine
from covaria.operations.growth import grow, history
from covaria.particles.stacks.images import StackImages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.request.stages import STAGES
from covaria.running import bookkeeping
from covaria.running.context import StageContext
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.stage import Job
from covaria.testing import MemoryContext, TruthSet
from covaria.tree import Tree
from covaria_ingest import stage as ingest
from covaria_reconstruction import stage as reconstruction
from covaria_reconstruction.growth import kept_of

STATES = 25


@dataclass(frozen=True)
class Update:
    """What one version came to. latents (N, q); visited: images that all walks together went through."""

    eigenvolumes: np.ndarray
    latents: np.ndarray
    confirmed: int
    seconds: float
    visited: int
    why: str
    grown: bool
    z_score: np.ndarray
    fsc: np.ndarray


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def counted(stack: Path, count: np.ndarray) -> Iterator[None]:
    """Count how often each image of the stack is read."""
    plain = StackImages._recorded

    def recorded(self: StackImages, rows: np.ndarray, box: int) -> np.ndarray:
        ours = np.array([path.resolve() == stack for path in self.paths])
        some = np.asarray(rows)[ours[self.file[rows]]]
        np.add.at(count, self.index[some], 1)
        return plain(self, rows, box)

    StackImages._recorded = recorded  # type: ignore[method-assign]
    try:
        yield
    finally:
        StackImages._recorded = plain  # type: ignore[method-assign]


def update(out: Path, star: Path, before: Path | None, zdim: int, seed: int = 0) -> Update:
    """A version of the set in the folder `out`; all that the stages compute, without what they write for people."""
    shutil.rmtree(out, ignore_errors=True)
    given = None if before is None else Tree(before).growth_memory
    options = IngestOptions(particles=star, downsample=None, growing=True, grown_from=given)
    model = ReconstructionOptions(zdim=(zdim,), sensitivity=False)
    request = Request(out=out, ingest=options, reconstruction=model, seed=seed)
    context, began = MemoryContext(memory_bytes=3 << 30), cpu_seconds()
    ingest.run(Job("growth", request), context)
    particles = particle_files.load(Tree(out).particles)
    kept = kept_of(request, context.roots)
    found = reconstruction.found_in(particles, None, kept, request, context)
    _, _, embeddings = reconstruction.embedded(found, model)
    reconstruction.remember_version(Tree(out), request, kept, found, context)
    seconds = cpu_seconds() - began
    assert found.components is not None
    assert embeddings is not None
    visited = sum(total for step, done, total in context.steps if done == total and step != "reading images")
    return Update(
        found.components.eigenvolumes, embeddings[zdim].regularised.coordinates, int(found.components.confirmed),
        seconds, visited, found.why, found.update is not None, found.components.z_score, found.mean.fsc,
    )  # fmt: skip


def parts_of(truth: TruthSet, parts: int) -> list[Path]:
    """STAR files of the first 1 .. `parts` parts of the set."""
    return parts_of_sizes(truth, [part * len(truth.labels) // parts for part in range(1, parts + 1)])


def parts_of_sizes(truth: TruthSet, sizes: Sequence[int]) -> list[Path]:
    """STAR files of the first so many images of the set."""
    lines = (truth.folder / "particles.star").read_text().split("\n")
    first = max(number for number, line in enumerate(lines) if line.startswith("_rln")) + 1
    rows = [line for line in lines[first:] if line.strip()]
    files = []
    for size in sizes:
        files.append(truth.folder / f"part{size}.star")
        files[-1].write_text("\n".join([*lines[:first], *rows[:size]]) + "\n")
    return files


def alike(one: Update, other: Update, count: int) -> float:
    """Least canonical correlation of the confirmed latents: 1 where they are the same up to a linear map."""
    first, second = (np.linalg.qr(x.latents[:, :count] - x.latents[:, :count].mean(0))[0] for x in (one, other))
    return float(np.linalg.svd(first.T @ second)[1].min())


def whole_updates(folder: Path, files: Sequence[Path], zdim: int) -> None:
    """CPU seconds of every stage of a run and of its updates, as `covaria grow` makes them."""
    spent: dict[str, float] = {}

    def timed(name: str, job: Job, context: StageContext) -> None:
        began = cpu_seconds()
        bookkeeping.run_stage(name, job, context)
        spent[name] = cpu_seconds() - began

    one_machine.run_stage = timed
    console, sizes = Console(quiet=True), []
    print("| images | " + " | ".join(STAGES) + " | how |\n|---" + "|---" * (len(STAGES) + 1) + "|")
    for number, star in enumerate(files):
        spent.clear()
        if number:
            tree = grow(folder / "out", star, command_line="bench", device="cpu", console=console)
        else:
            options = IngestOptions(particles=star, downsample=None, growing=True)
            asked = Request(out=folder / "out", ingest=options, reconstruction=ReconstructionOptions(zdim=(zdim,)))
            tree = one_machine.run_stages(asked, command="run", command_line="bench", device="cpu", console=console)
        growth = history(tree)[-1].findings.growth
        assert growth is not None
        sizes.append(history(tree)[-1].used)
        seconds = " | ".join(f"{spent.get(stage, 0):.1f}" for stage in STAGES)
        print(f"| {sizes[-1]:,} | {seconds} | {growth.line()} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--snr", type=float, default=0.3)
    parser.add_argument("--states", default="plane", choices=sorted(BUILT_IN))
    parser.add_argument("--zdim", type=int, default=4)
    parser.add_argument("--stages", action="store_true")
    given = parser.parse_args()
    options = SimulationOptions(
        n_images=given.images, box=given.box, pixel_size_angstrom=BOX_LENGTH_ANGSTROM / given.box, snr=given.snr
    )
    shutil.rmtree(given.folder, ignore_errors=True)
    truth = TruthSet.simulated(given.folder / "set", BUILT_IN[given.states](STATES), options)
    if given.stages:
        whole_updates(given.folder, parts_of(truth, given.parts), given.zdim)
        return
    reads = np.zeros(given.images, int)
    before: Path | None = None
    last: Update | None = None
    table = []
    print("| images | new | confirmed | captured: grown, at once | ratio | latents | matched | CPU s: grown, at once "
          "| visited, at once | how |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for number, star in enumerate(parts_of(truth, given.parts)):
        out = given.folder / f"v{number % 2}"
        with counted((truth.folder / "particles.mrcs").resolve(), reads):
            found = update(out, star, before, given.zdim)
        whole = update(given.folder / "whole", star, None, given.zdim)
        count = max(min(found.confirmed, whole.confirmed), 1)
        ours, theirs = (truth.captured(one.eigenvolumes, count) for one in (found, whole))
        matched = np.nan
        if last is not None:
            both = min(found.confirmed, last.confirmed)
            if both:
                matched = np.abs(np.diag(overlaps(found.eigenvolumes[:both], last.eigenvolumes[:both]))).min()
        total = len(found.latents)
        new = total - (0 if last is None else len(last.latents))
        print(f"| {total:,} | {new} | {found.confirmed}, {whole.confirmed} | {ours:.3f}, {theirs:.3f} | "
              f"{ours / theirs:.3f} | {alike(found, whole, count):.3f} | {matched:.3f} | {found.seconds:.1f}, "
              f"{whole.seconds:.1f} | {found.visited:,}, {whole.visited:,} | {found.why or 'updated'} |",
              flush=True)  # fmt: skip
        table.append((new, total - new, found.visited, found.seconds, found.grown))
        before, last = out, found
    print(f"\nimages read {reads.min()} to {reads.max()} times each")
    updates = np.array([row[:4] for row in table if row[4]], float)
    for name, values in (("visits", updates[:, 2]), ("CPU seconds", updates[:, 3])):
        per_new = values / updates[:, 0]
        slope = np.polyfit(updates[:, 1], values, 1)[0] if len(updates) > 1 else np.nan
        print(f"{name}: {np.median(per_new):.4g} for each new image, {slope:.4g} for each old one: "
              f"ratio {slope / np.median(per_new):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
