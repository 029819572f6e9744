"""State volumes of many targets in as few passes over the images as memory allows."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.states.assemble import assemble
from covaria.estimation.states.estimates import ResidualMaps, residual_map, residual_maps
from covaria.estimation.states.neighbourhoods import Neighbourhoods, leading, neighbourhood_sizes, neighbourhoods
from covaria.estimation.states.sums import CHANNELS, ring_sums, space_for
from covaria.imaging.volumes import completed, padded_shape
from covaria.maps.volume import read_volume
from covaria.request.disk import volume_bytes
from covaria.running.passes import Pass
from covaria.running.room import require_room
from covaria.running.side_by_side import side_by_side, workers
from covaria.stage import Context
from covaria.states.files import write_state
from covaria.states.run import Run, checked_targets, load_run
from covaria.tree import Tree

OVERHEAD_BYTES = 600 << 20
"""The interpreter with its libraries, where the system does not say what this process holds."""
BATCH_BYTES = 128 << 20
"""Batches of images and Fourier transforms in flight."""


@dataclass(frozen=True)
class StateGroup:
    """Targets (T, zdim) whose volumes go to `directory` as <prefix>000.mrc, <prefix>001.mrc ..."""

    directory: Path
    prefix: str
    targets: NDArray[np.floating]


@dataclass(frozen=True)
class _Target:
    group: int
    directory: Path
    name: str
    point: NDArray[np.float64]


def compute_states(
    tree: Tree,
    zdim: int,
    targets: NDArray[np.floating],
    directory: Path,
    prefix: str = "center",
    *,
    b_factor: float = 0.0,
    context: Context,
    run: Run | None = None,
) -> list[Path]:
    """Volumes at latent points (T, zdim): `compute_state_groups` for one directory."""
    return compute_state_groups(
        tree, zdim, [StateGroup(directory, prefix, targets)], b_factor=b_factor, context=context, run=run
    )[0]


def compute_state_groups(
    tree: Tree,
    zdim: int,
    groups: Sequence[StateGroup],
    *,
    b_factor: float = 0.0,
    context: Context,
    run: Run | None = None,
) -> list[list[Path]]:
    """Write the volumes of every group, all groups in the same passes; the filtered volumes' paths, group by group.

    run   the images and the model that they are made of (default: OUT's own, at its box)
    Of several ranks, the first puts the volumes together and writes them; the others return no paths.

    x(z*) = mu + U z* + kernel average of what mu + U z_i leaves of each image near z*, each half-set on its own.
    Raises InvalidInput and MissingFile for targets or an OUT that cannot be used; what `context.progress` raises.
    """
    wanted = [
        _Target(number, Path(group.directory), f"{group.prefix}{index:03d}", point)
        for number, group in enumerate(groups)
        for index, point in enumerate(checked_targets(tree, zdim, group.targets))
    ]
    run = load_run(tree, zdim, context) if run is None else run
    if wanted:
        needed = len(wanted) * volume_bytes(run.images.box, run.total)
        require_room(wanted[0].directory, needed, f"{len(wanted)} volumes")
    together = context.ranks.least(targets_together(run, context.memory_bytes))  # each holds another amount already
    passes = [wanted[start : start + together] for start in range(0, len(wanted), together)]
    context.log.info("states: %d targets, %d in each pass over %d images", len(wanted), together, len(run.images))
    paths: list[list[Path]] = [[] for _ in groups]
    everyone: torch.Tensor | None = None
    device, leads = run.images.device, run.images.leads
    space = space_for(min(together, len(wanted)), len(neighbourhood_sizes(len(leads))), run.images)
    known = run.model.latents.take(leads)
    latents, precision = leading(known.coordinates, known.precision, run.confirmed)
    of = run.images.of_leads
    for number, part in enumerate(passes):
        neighbours = [neighbourhoods(t.point[: run.confirmed], latents, precision) for t in part]
        of_images = [replace(n, distance=of(n.distance), ring=of(n.ring)) for n in neighbours]
        walks = _Walks(context, number, len(passes), len(run.images.mine))
        residuals, found = _accumulate(run, of_images, walks, space, with_everyone=everyone is None)
        everyone = found if everyone is None else everyone
        if not context.ranks.first:
            continue
        make = partial(_made, run, everyone, b_factor)
        for path in side_by_side(make, list(zip(part, neighbours, *residuals, strict=True)), device=device):
            target = wanted[sum(map(len, paths))]
            paths[target.group].append(path)
            context.progress("state volumes", sum(map(len, paths)), len(wanted), "volumes")
    return paths


def _made(
    run: Run,
    everyone: torch.Tensor,
    b_factor: float,
    of: tuple[_Target, Neighbourhoods, ResidualMaps, ResidualMaps],
) -> Path:
    """One state's volumes, put together and written."""
    target, neighbours, *residuals = of
    images = run.images
    state = assemble(
        run.model,
        target.point,
        (residuals[0], residuals[1]),
        everyone,
        neighbours.sizes,
        len(images.leads),
        images.scale,
        images.pixel_size_angstrom,
    )
    return write_state(target.directory, target.name, state, target.point, neighbours, run, b_factor)


@dataclass(frozen=True)
class _Walks:
    """Pass `number` of `count` over `images` images, the half-sets one after the other."""

    context: Context
    number: int
    count: int
    images: int

    def after(self, gone: int) -> Pass:
        """The walk that follows `gone` images of this pass."""
        return Pass(self.context, "states", after=self.number * self.images + gone, total=self.count * self.images)


def _accumulate(
    run: Run, neighbours: list[Neighbourhoods], walks: _Walks, space: list[torch.Tensor], *, with_everyone: bool
) -> tuple[list[list[ResidualMaps]], torch.Tensor]:
    """Residual maps of every target for each half-set, [half][target], and the map of all images' residuals."""
    gone = 0
    residuals, everyone = [], []
    for half in (0, 1):
        walk = walks.after(gone)
        sums = ring_sums(run.images, run.model, half, neighbours, walk, space, with_everyone=with_everyone)
        gone += int((run.images.half[run.images.mine] == half).sum())
        if not walks.context.ranks.first:
            continue
        rings = [sums.completed(index) for index in range(len(neighbours))]
        residuals.append(list(side_by_side(residual_maps, rings, device=run.images.device)))
        if sums.everyone is not None:
            everyone.append(residual_map(completed(sums.everyone, 1)))
    return residuals, torch.stack(everyone) if everyone else torch.empty(0)


def targets_together(run: Run, memory_bytes: int) -> int:
    """How many targets one pass can take: each needs its rings' sums for one half-set and its maps for both.

    Counted besides: what this process holds already (the images are part of it, and what earlier stages left), the
    linear model (real and padded), the sums and map of all images, and the space in which targets' volumes are put
    together, as many at a time as there are threads.
    """
    images, box = run.images, run.images.box
    cells = int(np.prod(padded_shape(box // 2 - 1, 1)))
    candidates = len(neighbourhood_sizes(len(images.leads))) + 1
    maps = 4 * box**3
    held = 12 * box**2 * (box // 2 + 1)
    each = 4 * CHANNELS * cells * (candidates - 1) + 2 * (candidates - 1) * maps + 2 * held
    components = 1 + run.model.halves[0].count
    if images.device.type == "cuda":
        memory_bytes, held_already = int(0.8 * torch.cuda.mem_get_info(images.device)[0]), 0
    else:
        held_already = resident_bytes()
    making = workers(len(images.leads), images.device) * (8 * CHANNELS * cells + 12 * candidates * maps)
    fixed = held_already + components * (8 * cells + 4 * maps) + 4 * CHANNELS * cells + making + BATCH_BYTES
    result: int = max(1, (int(0.9 * memory_bytes) - fixed) // each)
    return result


def resident_bytes() -> int:
    """What this process holds of the memory, its libraries included (Linux; elsewhere a guess)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return OVERHEAD_BYTES
    return pages * resource.getpagesize()


def preview_volume(tree: Tree, targets: NDArray[np.floating]) -> NDArray[np.float32]:
    """mu + U z at latent points (T, k) from mean_filt.mrc and eigen_pos*.mrc: (T, D, D, D), no pass over the images."""
    points = np.asarray(targets, dtype=np.float32)
    mean, _ = read_volume(tree.mean_filtered)
    eigenvolumes = np.stack([read_volume(tree.eigenvolume(k))[0] for k in range(points.shape[1])])
    return (mean + np.tensordot(points, eigenvolumes, axes=1)).astype(np.float32)
