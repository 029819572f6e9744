"""Are two finished OUT folders the same result?

    python -m covaria.testing.compare ONE OTHER

Names must be equal. Volumes and real arrays may differ by rounding (correlation above CORRELATION and relative distance
below DISTANCE), whole numbers and words may not; what tells time, place and machine is not looked at. Plots and logs
are left out: they are made from the rest. What another order of addition changes at will (SENSITIVE: a UMAP, the
density without a prior to speak of, which of two equal candidates weighs more) is compared with --strict alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from covaria.maps.volume import read_volume
from covaria.pickles import load_pickle

CORRELATION, DISTANCE = 0.99999, 3e-3
LEFT_OUT = (
    ".png",
    ".svg",
    ".csv",
    ".gif",
    ".html",
    ".log",
    "command.txt",
    "README.txt",
    "ro-crate-metadata.json",
    "particles.npz",
)
SENSITIVE = re.compile(r".*(umap_embedding|chosen_bandwidth|share_in_mask|shares_by_band|all_densities|roughness).*")
ABOUT_THE_RUN = re.compile(
    r"job_id|.*_at|seconds|images_per_second|peak_memory_bytes|environment|command.*|hostname|out|fingerprint|source"
    r"|covaria_version|particles|preemptions|started|finished|.*path.*|size_bytes|bytes|files|outputs"
)


def differences(one: Path, other: Path) -> Iterator[str]:
    """What is not the same, a line each."""
    names, others = (_names(folder) for folder in (one, other))
    for name in sorted(names ^ others):
        yield f"{name}: only in {one if name in names else other}"
    for name in sorted(names & others):
        yield from _compared(name, _value(one / name), _value(other / name))


def _names(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".covaria" not in path.parts)
    return {str(path.relative_to(folder)) for path in files if not path.name.endswith(LEFT_OUT)}


def _value(path: Path) -> Any:
    if path.suffix == ".mrc":
        return read_volume(path)[0]
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    if path.suffix == ".pkl":
        return load_pickle(path)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    if path.suffix == ".txt":
        return np.loadtxt(path, ndmin=1)
    return path.read_bytes()


def _compared(name: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            if not ABOUT_THE_RUN.fullmatch(str(key)):
                yield from _compared(f"{name}: {key}", one.get(key), other.get(key))
    elif isinstance(one, (list, tuple)) and any(isinstance(item, (dict, list, tuple, np.ndarray)) for item in one):
        if not isinstance(other, (list, tuple)) or len(one) != len(other):
            yield f"{name}: another length"
            return
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _compared(f"{name}[{number}]", first, second)
    elif _real(one) and _real(other):
        yield from _close(name, np.asarray(one, np.float64), np.asarray(other, np.float64))
    elif not np.array_equal(np.asarray(one), np.asarray(other)):
        yield f"{name}: {str(one)[:60]!r} is not {str(other)[:60]!r}"


def _real(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind == "f"
    except ValueError:
        return False


def _close(name: str, one: np.ndarray, other: np.ndarray) -> Iterator[str]:
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        yield f"{name}: shape {one.shape} is not {other.shape}, or other numbers are missing"
        return
    first, second = one[np.isfinite(one)], other[np.isfinite(other)]
    size = max(float(np.linalg.norm(first)), 1e-300)
    distance = float(np.linalg.norm(first - second)) / size
    if distance > DISTANCE:
        yield f"{name}: relative distance {distance:.2g}"
    elif first.size > 2 and first.std() > 0 and second.std() > 0:
        correlation = float(np.corrcoef(first, second)[0, 1])
        if correlation < CORRELATION:
            yield f"{name}: correlation {correlation:.7f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--strict", action="store_true", help="compare what is sensitive to rounding too")
    given = parser.parse_args()
    found = [line for line in differences(given.one, given.other) if given.strict or not SENSITIVE.match(line)]
    print(*found, f"{len(found)} differences", sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
