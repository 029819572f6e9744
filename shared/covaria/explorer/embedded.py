"""plots/explore.json: what report.html moves through, small enough for one page that is mailed.

Names as covaria.explorer.run_files has them -> bytes, packed by gzip, as base64. Of many particles a fair sample, of
large maps a coarse one: run.json says of how many and of what.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from covaria.explorer.cloud import DERIVED, Cloud
from covaria.explorer.volumes import CHANNELS, Maps
from covaria.figures.analysis import AnalysisFigures
from covaria.figures.drawing import Drawing
from covaria.request.model import IngestOptions
from covaria.selection.columns import RunColumns
from covaria.tree import AnalysisTree, atomic, record

MOST_POINTS = 30_000
MOST_COMPONENTS = 3 * CHANNELS - 1
"""That are added to the mean: three textures."""
MOST_WITH_ERRORS = 4
MOST_BYTES = 3 << 20
"""Packed. The coarse maps and the cloud stay below it; finer maps are there where they do too."""
MOST_RATIO = 4
"""How much smaller maps become at best: larger ones are not tried."""


def embedded(figures: AnalysisFigures, ingest: IngestOptions, target: AnalysisTree) -> Iterator[Drawing]:
    """What the report moves through; nothing where no component is confirmed."""
    if figures.latents.confirmed:
        yield Drawing(target.explore, partial(write, figures, ingest))


def write(figures: AnalysisFigures, ingest: IngestOptions, path: Path) -> None:
    """As JSON. Raises CovariaError where a file that it is made of is gone or damaged."""
    files = {name: b64encode(content).decode() for name, content in packed_files(figures, ingest).items()}
    atomic.write_bytes(path, json.dumps(files).encode())


def packed_files(figures: AnalysisFigures, ingest: IngestOptions) -> dict[str, bytes]:
    """Every file by its name, packed."""
    tree, confirmed = figures.tree, min(figures.latents.confirmed, MOST_COMPONENTS)
    table = RunColumns(tree, ingest, figures.source.root)
    cloud = Cloud(tree, table, figures.zdim, confirmed, MOST_POINTS)
    maps = Maps(tree, figures.latents.deviations[:confirmed])
    shown = [name for name in cloud.names if not name.endswith(DERIVED) or _error_is_shown(name)]
    files = {"rows.u32": _packed(cloud.rows.astype("<u4").tobytes())}
    files |= {f"columns/{name}.u16": _packed(cloud.codes(name).tobytes()) for name in shown}
    samplings: list[int] = []
    for sampling in maps.samplings:
        level = maps.described_level(sampling)
        if samplings and CHANNELS * len(level["files"]) * prod(level["size"]) > MOST_RATIO * MOST_BYTES:
            break
        textures = {name: _packed(maps.texture(sampling, k).voxels.tobytes()) for k, name in enumerate(level["files"])}
        if samplings and _size(files | textures) > MOST_BYTES:
            break
        files |= textures
        samplings.append(sampling)
    described = _described(figures, cloud, maps, samplings, shown)
    return {"run.json": _packed(json.dumps(described, allow_nan=False).encode()), **files}


def _described(
    figures: AnalysisFigures, cloud: Cloud, maps: Maps, samplings: list[int], shown: list[str]
) -> dict[str, Any]:
    clusters, confirmed = figures.clusters, cloud.confirmed
    components = record.read_findings(figures.tree).components[:confirmed]
    whole = int(np.count_nonzero(cloud.table.used))
    return {
        "name": figures.tree.out.name,
        "sampled": whole if whole > len(cloud.rows) else None,
        "columns": [asdict(cloud.column(name)) for name in shown],
        "drawn": len(cloud.rows),
        "confirmed": confirmed,
        "components": [one.model_dump() for one in components],
        "maps": maps.described(samplings),
        "states": [
            {
                "name": figures.source.center(number).stem,
                "z": point[:confirmed].tolist(),
                "particles": int(clusters.counts[number]),
                "share": float(clusters.shares[number]),
            }
            for number, point in enumerate(figures.centers)
        ],
        "paths": [points[:, :confirmed].tolist() for points in figures.paths],
    }


def _error_is_shown(name: str) -> bool:
    """z1_error, z1_z2_correlation of the first components."""
    return all(int(part[1:]) <= MOST_WITH_ERRORS for part in name.split("_")[:-1])


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 6, mtime=0)


def _size(files: dict[str, bytes]) -> int:
    return sum(map(len, files.values()))
