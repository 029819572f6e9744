"""How fast particles come in, as ratios to floors measured in the same run (1.0 is the floor; smaller is impossible).

    python bench/bench_readers.py [--rows 1000000] [--megabytes 512] [--json]

copy floor: the same bytes copied in memory, in pieces of the same size, each into a new array; processor time of this
process, so that other work on the machine counts less. disk floor: the file read from end to end with plain reads into
one buffer, its pages dropped from the system's cache before; wall-clock time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from covaria.particles import StackImages, read_ahead
from covaria.particles.stacks.mrc import write_header
from covaria.particles.star.relion import read_relion

LABELS = [
    "ImageName", "AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst", "DefocusU", "DefocusV",
    "DefocusAngle", "PhaseShift", "OpticsGroup", "MicrographName", "CoordinateX", "CoordinateY", "CtfMaxResolution",
    "CtfFigureOfMerit", "CtfBfactor", "CtfScalefactor", "ClassNumber", "NormCorrection", "RandomSubset",
    "LogLikeliContribution", "MaxValueProbDistribution", "NrOfSignificantSamples", "GroupNumber",
]  # fmt: skip
BATCH = 500


def timed(call: Callable[[], object], times: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """The best seconds of a few runs (other work on the machine only ever adds)."""
    best = float("inf")
    for _ in range(times):
        start = clock()
        call()
        best = min(best, clock() - start)
    return best


def copy_seconds(size: int, piece: int) -> float:
    """Seconds to copy `size` bytes in memory, `piece` at a time, from one large array into fresh ones."""
    source = np.ones(min(size, 2**29) // piece * piece, dtype=np.uint8).reshape(-1, piece)

    def copy() -> None:
        for part in source:
            part.copy()

    return timed(copy, times=5) * size / source.nbytes


def write_star(path: Path, rows: int) -> None:
    """A RELION 3.1 particle file with 25 columns, 200 particles a micrograph."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n")
        file.write("_rlnAmplitudeContrast #4\n_rlnImagePixelSize #5\n_rlnImageSize #6\n1 300.0 2.7 0.1 1.5 256\n\n\n")
        file.write("# version 30001\n\ndata_particles\n\nloop_\n")
        file.writelines(f"_rln{label} #{number}\n" for number, label in enumerate(LABELS, start=1))
        numeric = [rng.uniform(-180, 180, rows) for _ in range(5)] + [rng.uniform(8e3, 3e4, rows) for _ in range(2)]
        for row, values in enumerate(zip(*numeric, strict=True)):
            micrograph = f"Micrographs/FoilHole_{row // 200:07d}_Fractions"
            numbers = " ".join(f"{value:12.6f}" for value in values)
            file.write(
                f"{row % 200 + 1:06d}@Extract/job012/{micrograph}.mrcs {numbers}    20.000000     0.000000     1 "
                f"MotionCorr/job002/{micrograph}.mrc  1234.000000  2345.000000     3.400000     0.100000 "
                f"    0.000000     1.000000     1     0.800000     {row % 2 + 1} 1.234567e+06     0.100000     12 "
                f"{row // 200 + 1:12d} \n"
            )
        file.write("\n")


def bench_star(folder: Path, rows: int) -> dict[str, float]:
    """Reading a STAR file, against the copy floor and against starfile."""
    path = folder / "particles.star"
    write_star(path, rows)
    size = path.stat().st_size
    seconds = timed(lambda: read_relion(path), times=2)
    result = {
        "rows": rows,
        "megabytes": size / 1e6,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "ratio_to_copy": seconds / copy_seconds(size, 2**24),
        "peak_memory_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    try:
        import starfile
    except ImportError:
        return result
    result["ratio_to_starfile"] = seconds / timed(lambda: starfile.read(path), times=1)
    return result


def drop_cache(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def plain_read(path: Path) -> None:
    """The whole file with plain reads into one buffer."""
    buffer = bytearray(1 << 24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def bench_stack(folder: Path, megabytes: int, box: int = 128) -> dict[str, float]:
    """Reading one stack in batches, in order and at random, from the cache and from the disk."""
    count = megabytes * 1_000_000 // (box * box * 4)
    size = count * box * box * 4
    path = folder / "stack.mrcs"
    one = np.random.default_rng(0).normal(size=(500, box, box)).astype("<f4")
    with path.open("wb") as file:
        file.write(write_header(count, box, 1.0, (-5, 5, 0, 1)))
        for start in range(0, count, 500):
            file.write(one[: min(500, count - start)].data)
    rows = np.arange(count)
    batches = np.array_split(rows, -(-count // BATCH))
    scattered = np.array_split(np.random.default_rng(1).permutation(count), len(batches))
    copy = copy_seconds(size, BATCH * box * box * 4)

    def opened() -> StackImages:
        return StackImages((path,), np.zeros(count, np.int64), rows, box)

    def in_batches(images: StackImages, which: list[np.ndarray]) -> None:
        for batch in which:
            images.read(batch)

    def ahead(images: StackImages) -> None:
        for _ in read_ahead(images, batches):
            pass

    def cold(read: Callable[[StackImages], object]) -> float:
        best = float("inf")
        for _ in range(3):
            drop_cache(path)  # works only while nobody maps the file
            best = min(best, timed(lambda: read(opened()), times=1, clock=time.perf_counter))
        return best

    disk = cold(lambda _: plain_read(path))
    return {
        "megabytes": size / 1e6,
        "copy_gigabytes_per_second": size / copy / 1e9,
        "disk_gigabytes_per_second": size / disk / 1e9,
        "cached_in_order_ratio_to_copy": timed(lambda: in_batches(opened(), batches)) / copy,
        "cached_at_random_ratio_to_copy": timed(lambda: in_batches(opened(), scattered)) / copy,
        "cold_in_order_ratio_to_disk": cold(lambda images: in_batches(images, batches)) / disk,
        "cold_read_ahead_ratio_to_disk": cold(ahead) / disk,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = {
            "stack": bench_stack(Path(folder), given.megabytes),
            "star": bench_star(Path(folder), given.rows),
        }
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for name, values in results.items():
        for what, value in values.items():
            print(f"{name:8s} {what:34s} {value:12.4g}")


if __name__ == "__main__":
    main()
