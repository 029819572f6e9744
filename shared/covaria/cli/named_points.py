"""Latent points by name: a k-means centre, a particle, a basin of the density, a percentile of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covaria.errors import InvalidInput, MissingFile

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from covaria.results.confirmed import ConfirmedLatents
    from covaria.tree import Tree

    Point = NDArray[np.float64]

FORMS = "center:3, particle:17, basin:0 or percentile:1:95 (component 1, 95 %)"


class NamedPoints:
    """The points of OUT at one zdim. Each raises InvalidInput or MissingFile for what is not there."""

    def __init__(self, tree: Tree, zdim: int) -> None:
        self.tree, self.zdim = tree, zdim

    def named(self, text: str) -> Point:
        """`center:3` and its like, (zdim,)."""
        kind, _, rest = text.partition(":")
        makers = {
            "center": self.center, "centre": self.center, "particle": self.particle, "basin": self.basin,
            "percentile": self.percentile,
        }  # fmt: skip
        if kind not in makers:
            raise InvalidInput(f"{text!r} is no named point", hint=FORMS)
        return makers[kind](rest)

    def center(self, text: str) -> Point:
        """A k-means centre by its number."""
        from covaria.tree import AnalysisTree
        from covaria.tree.artifacts import read_kmeans

        known = read_kmeans(AnalysisTree(self.tree.analysis(self.zdim))).centers
        point: Point = known[_number(text, "centre", len(known))]
        return point

    def particle(self, text: str) -> Point:
        """Where a particle lies, by its row from 0."""
        import numpy as np

        known = self._latents.coordinates
        point: Point = known[_number(text, "particle", len(known))]
        if not np.isfinite(point).all():
            raise InvalidInput(f"particle {text} was left out of the run", hint="give another row")
        return point

    def basin(self, text: str) -> Point:
        """The peak of a basin of the density, by its number."""
        from covaria.results.basins import load_basins
        from covaria.trajectory import lift_point
        from covaria.tree import DensityTree

        density = DensityTree(self.tree.density)
        if not density.basins.is_file():
            raise MissingFile("there are no stable states", file=density.basins, hint="run `covaria density` first")
        found, latents = load_basins(density), self._latents
        peak = found.peaks[_number(text, "basin", len(found))]
        return lift_point(peak[: max(latents.confirmed, 1)], latents.coordinates[latents.rows])

    def percentile(self, text: str) -> Point:
        """COMPONENT:PERCENT, the other coordinates those that particles there have on average."""
        import numpy as np

        from covaria.trajectory.lift import local_mean

        component, _, percent = text.partition(":")
        latents = self._latents
        number = _number(component, "component", latents.confirmed, first=1)
        try:
            share = float(percent)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 100:
            raise InvalidInput(f"{percent!r} is no percentile", hint="0 to 100, as percentile:1:95")
        known = latents.coordinates[latents.rows]
        axis = known[:, [number - 1]]
        place = np.percentile(axis, [share])[None]
        others: Point = local_mean(place, axis, known)[0]
        others[number - 1] = place[0, 0]
        return others

    @property
    def _latents(self) -> ConfirmedLatents:
        from covaria.results.confirmed import load_latents

        return load_latents(self.tree, self.zdim)


def all_points(tree: Tree, zdim: int, points: Path | None, named: dict[str, str | None]) -> Point:
    """Those of the file, then the named ones in the order of the options, (T, zdim)."""
    import numpy as np

    from covaria.cli.points import read_points

    known = NamedPoints(tree, zdim)
    found = [] if points is None else [read_points(points)]
    for kind, text in named.items():
        found += [known.named(f"{kind}:{word.strip()}")[None] for word in text.split(",")] if text else []
    if not found:
        raise InvalidInput("no point is given", hint="--points FILE, --center, --particle, --basin or --percentile")
    width = found[0].shape[1]
    if any(one.shape[1] != width for one in found):
        raise InvalidInput(f"{points} holds points of {width} numbers, zdim is {zdim}", hint=f"{zdim} numbers a row")
    return np.concatenate(found)


def _number(text: str, what: str, count: int, first: int = 0) -> int:
    if not text.strip().isdigit() or not first <= int(text) < count + first:
        there = f"they go from {first} to {count + first - 1}" if count else "there is none"
        raise InvalidInput(f"there is no {what} {text.strip()!r}", hint=there)
    return int(text)
