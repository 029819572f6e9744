"""analysis_<zdim>/: clusters, paths and what is known of each state, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE
from covaria.pickles import load_pickle
from covaria.tree import AnalysisTree

ANALYSE_AGAIN = "run `covaria analyze` again"
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class ClusterTable:
    """centers (K, k) latent coordinates; labels (N,) number of each particle's centre, -1 where left out."""

    centers: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) particles nearest to each centre."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.centers))

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K,) of the particles in use."""
        shares: NDArray[np.float64] = self.counts / max(int(self.counts.sum()), 1)
        return shares


def read_clusters(tree: AnalysisTree) -> ClusterTable:
    """Raises MissingFile, InvalidInput."""
    stored = load_pickle(tree.kmeans_result, hint=ANALYSE_AGAIN)
    if not isinstance(stored, dict) or not {"centers", "labels"} <= stored.keys():
        raise InvalidInput("holds no centres and labels", file=tree.kmeans_result, hint=ANALYSE_AGAIN)
    centers, labels = np.asarray(stored["centers"], dtype=float), np.asarray(stored["labels"])
    if (
        centers.ndim != 2
        or labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or not np.isfinite(centers).all()
        or (len(labels) and not -1 <= labels.min() <= labels.max() < len(centers))
    ):
        found = f"centres {centers.shape}, labels {labels.shape} {labels.dtype}"
        raise InvalidInput(f"holds {found}", file=tree.kmeans_result, hint=ANALYSE_AGAIN)
    return ClusterTable(centers, labels.astype(np.int64))


def read_paths(tree: AnalysisTree) -> list[NDArray[np.float64]]:
    """Each trajectory's points (m, k) in latent coordinates. Raises InvalidInput for a damaged one."""
    found: list[NDArray[np.float64]] = []
    while (path := tree.trajectory(len(found)).path_json).is_file():
        found.append(read_path(path))
    return found


def read_path(path: Path) -> NDArray[np.float64]:
    """The points (m, k) of a path.json, latent coordinates. Raises MissingFile, InvalidInput."""
    try:
        points = np.asarray(_read_json(path).get("path", []), dtype=float)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise InvalidInput("holds no path", file=path, hint=ANALYSE_AGAIN)
    return points


def read_state_resolution(path: Path) -> float | None:
    """Where the half-maps' FSC falls below 1/7, angstrom, from a state's params.json; None where nobody measured it."""
    if not path.is_file():
        return None
    known = _read_json(path).get("half_map_resolution_angstrom")
    value = known.get("fsc_1/7") if isinstance(known, dict) else None
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) and value > 0 else None


def _read_json(path: Path) -> dict[str, Any]:
    with ANYWHERE.open(path, most_bytes=MOST_BYTES, hint=ANALYSE_AGAIN) as file:
        content = file.read()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("is not a JSON object", file=path, hint=ANALYSE_AGAIN)
    return found
