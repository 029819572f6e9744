"""What analysis_<zdim>/data and kmeans/centers.txt hold: each value with its writer and its reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.pickles import load_pickle
from covaria.tree import atomic
from covaria.tree.folders import AnalysisTree

ANALYZE_AGAIN = "run `covaria analyze` again"


@dataclass(frozen=True)
class KMeansResult:
    """centers (K, zdim) latent coordinates; labels (N,) each row's centre, -1 where it was left out."""

    centers: NDArray[np.float64]
    labels: NDArray[np.int64]


def write_kmeans(tree: AnalysisTree, result: KMeansResult) -> None:
    """data/kmeans_result.pkl, and the centres alone as kmeans/centers.txt."""
    atomic.write_pickle(tree.kmeans_result, {"centers": result.centers, "labels": result.labels})
    tree.kmeans.mkdir(parents=True, exist_ok=True)
    for path in (tree.centers_txt, tree.centers_again):
        np.savetxt(path, result.centers)


def read_kmeans(tree: AnalysisTree) -> KMeansResult:
    """Raises MissingFile, and InvalidInput for a file that holds something else."""
    stored = _stored(tree.kmeans_result, ("centers", "labels"))
    centers, labels = np.asarray(stored["centers"]), np.asarray(stored["labels"])
    right = centers.ndim == 2 and centers.dtype.kind == "f" and labels.ndim == 1 and labels.dtype.kind in "iu"
    if not right or (len(labels) and not -1 <= labels.min() <= labels.max() < len(centers)):
        raise InvalidInput(
            f"has centers {centers.shape} and labels {labels.shape} that do not fit them",
            file=tree.kmeans_result,
            hint=ANALYZE_AGAIN,
        )
    return KMeansResult(centers.astype(np.float64), labels.astype(np.int64))


@dataclass(frozen=True)
class TrajectoryEndpoints:
    """centers (K, zdim); pairs of numbers of centres, one for each trajectory."""

    centers: NDArray[np.float64]
    pairs: tuple[tuple[int, int], ...]


def write_endpoints(tree: AnalysisTree, endpoints: TrajectoryEndpoints) -> None:
    """data/trajectory_endpoints.pkl, in lists."""
    pairs = [list(pair) for pair in endpoints.pairs]
    atomic.write_pickle(tree.trajectory_endpoints, {"centers": endpoints.centers.tolist(), "pairs": pairs})


def read_endpoints(tree: AnalysisTree) -> TrajectoryEndpoints:
    """Raises MissingFile, and InvalidInput for a file that holds something else."""
    stored = _stored(tree.trajectory_endpoints, ("centers", "pairs"))
    try:
        centers = np.asarray(stored["centers"], np.float64)
        pairs = tuple((int(first), int(second)) for first, second in stored["pairs"])
    except (TypeError, ValueError):
        centers, pairs = np.zeros(0), ()
    if centers.ndim != 2 or any(not 0 <= end < len(centers) for pair in pairs for end in pair):
        raise InvalidInput("has pairs that are none of its centers", file=tree.trajectory_endpoints, hint=ANALYZE_AGAIN)
    return TrajectoryEndpoints(centers, pairs)


def _stored(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    stored = load_pickle(path, hint="run `covaria analyze` first")
    missing = [key for key in keys if not isinstance(stored, dict) or key not in stored]
    if missing:
        raise InvalidInput(f"lacks {', '.join(missing)}", file=path, hint=ANALYZE_AGAIN)
    return dict(stored)
