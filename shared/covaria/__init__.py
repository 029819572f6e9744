"""Covaria: from cryo-EM particle images to the ensemble of conformations they show."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covaria.api import open_run as open
    from covaria.api import run

__all__ = ["__version__", "open", "run"]
__version__ = "0.1.0"

# Threads that wait must sleep, not spin: with more threads than cores (several workers on a node), spinning
# barriers take a pass over the images from seconds to minutes. Read by the OpenMP runtimes when torch and numba load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
# Volumes on large pages: gather and scatter touch a page for each voxel. Read when torch allocates first.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_IN_API = {"open": "open_run", "run": "run"}


def __getattr__(name: str) -> object:
    """`covaria.open` and `covaria.run`, loaded when they are asked for: a worker imports neither pandas nor torch."""
    if name in _IN_API:
        return getattr(import_module("covaria.api"), _IN_API[name])
    raise AttributeError(f"module 'covaria' has no attribute {name!r}")
