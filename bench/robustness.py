"""What the nuisances of real particles do to a run: the table of `bench/accuracy.py --rows clean,blobs`."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import call

from covaria.maps import read_volume
from covaria.pickles import load_pickle
from covaria.simulation.truth import Truth, best_rank_correlation, captured_variance, precision_recall, read_truth
from covaria.tree import Tree

JUNK = "--empty 0.12 --carbon-edge 0.04 --blobs 0.02"
TOGETHER = f"--pose-error 2,0.7 --defocus-error 400 {JUNK} --micrograph-noise 0.35"
ALL = f"{TOGETHER} --bad-poses 0.1 --views 0.3 --scale-spread 0.5 --gradient 2 --magnification-error 0.03"
CURVED, RIGID = "--states curved --n-states 20", "--states homogeneous"


@dataclass(frozen=True)
class Row:
    title: str
    states: str
    nuisances: str = ""


ROWS = {
    "clean": Row("as simulated", CURVED),
    "blobs": Row("2 % with a bright blob", CURVED, "--blobs 0.02"),
    "edges": Row("4 % with a carbon edge", CURVED, "--carbon-edge 0.04"),
    "empty": Row("12 % pure noise", CURVED, "--empty 0.12"),
    "junk": Row("all three (18 % junk)", CURVED, JUNK),
    "poses": Row("pose errors (2 degrees, 0.7 px)", CURVED, "--pose-error 2,0.7"),
    "micrographs": Row("noise by micrograph (lognormal 0.35)", CURVED, "--micrograph-noise 0.35"),
    "bad-poses": Row("10 % of poses random", CURVED, "--bad-poses 0.1"),
    "views": Row("70 % left out but two views", CURVED, "--views 0.3"),
    "defocus": Row("defocus 400 A off", CURVED, "--defocus-error 400"),
    "scale": Row("grey scale (lognormal 0.5)", CURVED, "--scale-spread 0.5"),
    "gradient": Row("a gradient of 2 sd", CURVED, "--gradient 2"),
    "magnification": Row("magnification (lognormal 0.03)", CURVED, "--magnification-error 0.03"),
    "sum": Row("poses + defocus + junk + micrographs", CURVED, TOGETHER),
    "all": Row("all eleven", CURVED, ALL),
    "rigid": Row("rigid, as simulated", RIGID),
    "rigid-poses": Row("rigid + pose errors", RIGID, "--pose-error 2,0.7"),
    "rigid-sum": Row("rigid + poses + defocus + junk + micrographs", RIGID, TOGETHER),
    "rigid-all": Row("rigid + all eleven", RIGID, ALL),
}
NONE = "-"
ZDIM = 4
FLAGGED = 0.5
"""From this probability on an image counts as flagged."""


def chosen(names: str) -> list[str]:
    """The rows of a list such as `clean,blobs`; `every`: all. Raises ArgumentTypeError where one is not known."""
    rows = list(ROWS) if names == "every" else names.split(",")
    unknown = [name for name in rows if name not in ROWS]
    if unknown:
        raise ArgumentTypeError(f"no row {', '.join(unknown)}: every, or some of {','.join(ROWS)}")
    return rows


def print_table(rows: Sequence[str], folder: Path, *, images: int, box: int, snr: float, seed: int = 0) -> None:
    """Make each row's set anew, run it and print its line of a Markdown table."""
    print(f"\n### Nuisances: {images:,} images of {box} pixels, SNR {snr:g}, seed {seed}\n")
    titles = ["row", "set", "confirmed", "captured by 1", "by 2", "rank, good images", "blobs: precision / recall",
              "edges", "empties", "reconstruct, s"]  # fmt: skip
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name in rows:
        row, dataset = ROWS[name], folder / f"{name}-{images}-{box}-{snr:g}-{seed}"
        out = Path(f"{dataset}-out")
        size = ["--n-images", images, "--box", box, "--snr", snr, "--seed", seed]
        call("simulate", dataset, *row.states.split(), *size, *row.nuisances.split(), "--overwrite")
        call("ingest", dataset / "particles.star", "-o", out, "--no-downsample", "--overwrite")
        began = time.perf_counter()
        call("reconstruct", out, "--zdim", ZDIM, "--overwrite")
        seconds = time.perf_counter() - began
        cells = [name, row.title, *figures(read_truth(dataset), Tree(out)), f"{seconds:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def figures(truth: Truth, tree: Tree) -> list[str]:
    """Confirmed components, variance captured by 1 and 2, the latent's rank correlation, flags of three kinds."""
    confirmed = str(load_pickle(tree.params)["significant_components"])
    eigenvolumes = [read_volume(path)[0].astype(np.float64) for path in sorted(tree.volumes.glob("eigen_pos*.mrc"))[:2]]
    moves = len(truth.volumes) > 1
    captured = [
        f"{captured_variance(truth, eigenvolumes[:count], truth.mask):.3f}"
        if moves and count <= len(eigenvolumes)
        else NONE
        for count in (1, 2)
    ]
    rank = NONE
    if moves and tree.latent_coords(ZDIM).is_file():
        good = truth.images.good
        rank = f"{best_rank_correlation(np.load(tree.latent_coords(ZDIM))[good], truth.latents[good, 0]):.3f}"
    return [confirmed, *captured, rank, *flags(truth, tree.model / "particles.parquet")]


def flags(truth: Truth, table: Path) -> list[str]:
    """Precision and recall for blobs, edges and empties of a run's table of particles; where none is planted, how many
    good images are flagged all the same; a dash where the run has no such table."""
    if not table.is_file():
        return [NONE] * 3
    from pyarrow.parquet import read_table

    columns = read_table(table, columns=["p_empty", "p_outlier"])
    if len(columns) != len(truth.images):
        sys.exit(f"{table}: {len(columns)} rows for {len(truth.images)} images")
    outlier, empty = (np.asarray(columns[name]) > FLAGGED for name in ("p_outlier", "p_empty"))
    images, cells = truth.images, []
    for flagged, planted in ((outlier, images.blob), (outlier, images.carbon_edge), (empty, images.empty)):
        precision, recall = precision_recall(flagged, planted, images.good)
        share = NONE if np.isnan(precision) else f"{precision:.3f}"
        false = int((flagged & images.good).sum())
        cells.append(f"{share} / {recall:.3f}" if planted.any() else f"none; {false} flagged")
    return cells
