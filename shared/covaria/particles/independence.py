"""Which rows are one measurement: rows that name one image, copies and picks of one particle, segments of one filament.

Half-maps agree on whatever their half-sets share. Rows that share pixels therefore belong into one half-set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import Metadata
from covaria.particles.stacks.locate import LocatedStacks

CLOSE = 0.1
"""Two picks nearer than this fraction of the box show the same particle in nearly the same pixels."""

Codes = NDArray[np.int64]


def objects(metadata: Metadata, stacks: LocatedStacks, used: NDArray[np.bool_]) -> tuple[Codes | None, tuple[str, ...]]:
    """(N,) the object of each row, None where every row in use is one of its own; and notes that count."""
    groupings = {"images that several rows name": _images(stacks)}
    groupings |= {grouping.what: grouping.codes for grouping in metadata.objects}
    if metadata.particle is not None:
        groupings["particles of several tilts"] = metadata.particle
    picks = _picks(metadata, stacks.box, used)
    if picks is not None:
        groupings["particles picked more than once"] = picks
    kept, notes = [], []
    for what, codes in groupings.items():
        sizes = np.bincount(codes[used])
        if sizes.max(initial=0) > 1:
            kept.append(codes)
            several = sizes[sizes > 1]
            notes.append(f"{len(several)} {what} ({int(several.sum())} rows): each stays in one half-set")
    return (joined(kept) if kept else None), tuple(notes)


def joined(groupings: list[Codes]) -> Codes:
    """Codes of rows that any of the groupings (N,) puts together, directly or through others."""
    if len(groupings) == 1:
        return groupings[0]
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(groupings[0])
    offsets = np.cumsum([count, *(int(codes.max()) + 1 for codes in groupings)])
    rows = np.tile(np.arange(count), len(groupings))
    nodes = np.concatenate([codes + offset for codes, offset in zip(groupings, offsets[:-1], strict=True)])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, nodes)), shape=(offsets[-1], offsets[-1]))
    codes: Codes = connected_components(graph, directed=False)[1][:count].astype(np.int64)
    return codes


def _images(stacks: LocatedStacks) -> Codes:
    """One code for each image; a row without an image is one of its own."""
    count = len(stacks)
    key = stacks.stack_of_row * (int(stacks.image_of_row.max(initial=0)) + 1) + stacks.image_of_row
    none = stacks.stack_of_row < 0
    key = np.where(none, -1 - np.arange(count), key)
    codes: Codes = np.unique(key, return_inverse=True)[1].astype(np.int64)
    return codes


def _picks(metadata: Metadata, box: int, used: NDArray[np.bool_]) -> Codes | None:
    """One code for picks of one micrograph that lie within `CLOSE` of a box (of micrograph pixels, or larger ones)."""
    places, micrograph = metadata.places_pixels, metadata.micrograph
    if places is None or micrograph is None or metadata.particle is not None:
        return None
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    known = np.flatnonzero(used & np.isfinite(places).all(axis=1))
    if not len(known):
        return None
    reach = CLOSE * box
    extent = float(np.ptp(places[known], axis=0).max()) + 2 * reach
    apart = np.column_stack([places[known], micrograph[known] * extent])
    pairs = cKDTree(apart).query_pairs(reach, output_type="ndarray")
    count = metadata.count
    first, second = known[pairs[:, 0]], known[pairs[:, 1]]
    graph = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    codes: Codes = connected_components(graph, directed=False)[1].astype(np.int64)
    return codes
