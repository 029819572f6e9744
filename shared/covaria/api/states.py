"""One map from the particles near a latent point."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.api.volume import State, Volume
from covaria.results.analysis import read_state_resolution
from covaria.running.console import patient_console
from covaria.running.context import bookless_context
from covaria.running.devices import resolve_device
from covaria.running.stopper import Stopper
from covaria.states import compute_states
from covaria.tree import Tree, VolumeFiles
from covaria.tree.integrity import check_for


def state_at(tree: Tree, point: NDArray[np.float64], device: str, memory_gb: float | None) -> State:
    """The map at a latent point (zdim,). OUT stays as it is. Raises DamagedFile, InvalidInput, Interrupted."""
    check_for(tree, "analysis")
    console = patient_console()
    with tempfile.TemporaryDirectory(prefix="covaria-") as name, Stopper(console) as stopper:
        folder = Path(name)
        with bookless_context(
            tree, "state", folder / "run.log", device=resolve_device(device),
            memory_bytes=None if memory_gb is None else int(memory_gb * 1e9), console=console, stopper=stopper,
        ) as context:  # fmt: skip
            compute_states(tree, len(point), point[None], folder, "state", context=context)
        return _read(VolumeFiles(folder, "state000"))


def _read(files: VolumeFiles) -> State:
    volume = Volume.read(files.volume)
    return State(
        volume.values, volume.pixel_size_angstrom,
        halves=(Volume.read(files.half(1)), Volume.read(files.half(2))),
        local_resolution=Volume.read(files.local_resolution),
        resolution_angstrom=read_state_resolution(files.params),
    )  # fmt: skip
