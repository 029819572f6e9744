"""How good the images of each place are: grid square, hole, micrograph, optics group, as far as the file tells."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covaria.feedback import LONGEST_NAME, MOST_LATENTS, MOST_PLACES, Place, PlaceKind, Places
from covaria.particles import Particles
from covaria.plain import printable
from covaria.results.particle_table import HALF, ParticleTable, read_particle_table
from covaria.tree import Tree
from covaria.tree.book import read_if_sound, write_book
from covaria.tree.shapes import MicrographsShape

IN_NAMES: dict[PlaceKind, re.Pattern[str]] = {
    "grid_square": re.compile(r"GridSquare_\d+", re.IGNORECASE),
    "hole": re.compile(r"FoilHole_\d+", re.IGNORECASE),
}
"""As EPU names them, in the micrograph's path."""

Codes = NDArray[np.int64]


def quality_by_place(particles: Particles, names: Sequence[str], table: ParticleTable) -> list[Places]:
    """For each kind of place of which the file tells more than nothing. names: of the micrographs, by code."""
    used = np.flatnonzero(table.columns["half_set"] >= 0)
    if not len(used):
        return []
    numbers = _Numbers(table, used)
    whole = numbers.place("all", np.ones(len(used), bool))
    found = []
    for kind, (codes, words) in _groupings(particles, names).items():
        at = codes[used]
        if not (at >= 0).any():
            continue
        sizes = np.bincount(at[at >= 0], minlength=len(words))
        order = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
        places = tuple(numbers.place(words[code], at == code) for code in order[:MOST_PLACES].tolist())
        found.append(Places(kind=kind, places=places, left_out=len(order) - len(places), whole=whole))
    return found


def _groupings(particles: Particles, names: Sequence[str]) -> dict[PlaceKind, tuple[Codes, list[str]]]:
    """(N,) the place of each row, -1 where it is not told, and the places' names."""
    found: dict[PlaceKind, tuple[Codes, list[str]]] = {}
    group = particles.optics_group
    if len(np.unique(group)) > 1:
        found["optics_group"] = (group, [str(number + 1) for number in range(int(group.max()) + 1)])
    micrograph = np.where(particles.micrograph < len(names), particles.micrograph, -1)
    if not names:
        return found
    for kind, pattern in IN_NAMES.items():
        seen = [match.group() if (match := pattern.search(name)) else "" for name in names]
        words = sorted({*seen} - {""})
        if words:
            code_of = {word: code for code, word in enumerate(words)} | {"": -1}
            table = np.array([*(code_of[word] for word in seen), -1])
            found[kind] = (table[micrograph], words)
    found["micrograph"] = (micrograph, [printable(name)[-LONGEST_NAME:] for name in names])
    return found


class _Numbers:
    """What is known of each row in use."""

    def __init__(self, table: ParticleTable, used: NDArray[np.int64]) -> None:
        columns = {name: values[used] for name, values in table.columns.items()}
        latents = [values for name, values in columns.items() if name.startswith("latent_")][:MOST_LATENTS]
        self._latents = np.stack(latents, 1) if latents else np.zeros((len(used), 0))
        self._contrast, self._counts = columns["contrast"], columns["weight"] > HALF
        self._empty, self._outlier = columns["p_empty"] > HALF, columns["p_outlier"] > HALF

    def place(self, name: str, here: NDArray[np.bool_]) -> Place:
        counts = here & self._counts
        return Place(
            name=name[:LONGEST_NAME],
            images=int(here.sum()),
            contrast=round(float(self._contrast[counts].mean()), 4) if counts.any() else None,
            empty=float(self._empty[here].mean()),
            outliers=float(self._outlier[here].mean()),
            latents=tuple(round(float(one), 4) for one in self._latents[counts].mean(0)) if counts.any() else (),
        )


def write_places(tree: Tree, particles: Particles) -> None:
    """For the event, from the table of particles and the names that ingest kept."""
    kept = read_if_sound(tree, tree.micrographs, MicrographsShape)
    names = [] if kept is None else kept["names"]
    found = quality_by_place(particles, names, read_particle_table(tree, len(particles)))
    write_book(tree, tree.places, {"kinds": [one.model_dump(mode="json") for one in found]})
