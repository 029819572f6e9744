"""A subset of a large STAR file: time and memory, as a ratio to copying the file.

python bench/bench_subset.py [--rows 1000000] [--columns 40]
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from covaria.particles.star.subset import write_star_subset


def make(path: Path, rows: int, columns: int) -> None:
    """A particle table of `rows` rows and `columns` columns of numbers as RELION writes them."""
    labels = ["_rlnImageName", *(f"_rlnColumn{k}" for k in range(1, columns))]
    block = [
        " ".join(f"{value:12.6f}" for value in row)
        for row in np.random.default_rng(0).normal(0, 99, (1000, columns - 1))
    ]
    with path.open("w") as file:
        file.write("data_particles\n\nloop_\n" + "".join(f"{name} #{k + 1}\n" for k, name in enumerate(labels)))
        for start in range(0, rows, 1000):
            count = min(1000, rows - start)
            file.writelines(f"{start + k + 1:06d}@stack.mrcs {block[k]}\n" for k in range(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=40)
    given = parser.parse_args()
    keep = np.random.default_rng(1).random(given.rows) < 0.5
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "particles.star", Path(folder) / "subset.star"
        make(source, given.rows, given.columns)
        start = time.perf_counter()
        shutil.copyfile(source, Path(folder) / "copy.star")
        copied = time.perf_counter() - start
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        with target.open("wb") as file:
            write_star_subset(source, keep, file)
        took = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{given.rows:,} rows of {given.columns} columns, {source.stat().st_size / 1e6:.0f} MB, half of them kept"
        )
        print(f"subset {took:.1f} s, {took / copied:.1f} times a copy")
        print(f"peak {peak / 1e6:.2f} GB, {before / 1e6:.2f} before")


if __name__ == "__main__":
    main()
