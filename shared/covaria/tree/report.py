"""report.html from what lies in OUT: which figures, in which order, how many bytes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covaria.errors import CovariaError
from covaria.findings import Findings, population_words
from covaria.opening import open_inside
from covaria.report.live import Live, checked
from covaria.report.page import Section, StateRow, page
from covaria.report.picture import Picture
from covaria.request.model import Request
from covaria.tree.folders import AnalysisTree, DensityTree
from covaria.tree.paths import Tree
from covaria.tree.readme import next_commands, stage_rows

MOST_BYTES = 10 << 20
"""Of all figures together: 15 MB of page, when four bytes stand for three, with room for the words."""
MOST_FOR_ONE = 3 << 20
MOST_THAT_MOVES = 5 << 20
"""Of the cloud and the maps as text."""
ROOM_FOR_THE_SCRIPT = 1 << 17
STILL = "Particles, centres and paths; maps at the ends of the components."
MARKS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".gif": b"GIF8"}
"""How each kind begins: what does not is not shown."""

Wanted = Sequence[tuple[Path, str]]


def report(
    tree: Tree, document: Mapping[str, Any], findings: Findings, states_of_stages: Iterable[Mapping[str, Any]] = ()
) -> str:
    """The page for OUT's job.json `document`. Files that are damaged, links or too large are named, not shown.

    states_of_stages: what is known of each stage, with the files that it wrote: what has gone since is said.
    """
    request = Request.model_validate(document["parameters"], extra="ignore")
    analysis = AnalysisTree(tree.analysis(request.analysis_zdim, request.analysis.name))
    shelf = _Shelf(tree.out)
    live = _live(shelf, analysis)
    states = tuple(_state_rows(shelf, analysis, findings))
    gone = [name for state in states_of_stages for name in state.get("files", {}) if not (tree.out / name).is_file()]
    sections = [Section(title, *shelf.pictures(wanted)) for title, wanted in _chapters(tree, analysis)]
    return page(document, findings, sections, states, stage_rows(document), next_commands(document), gone, live)


def _chapters(tree: Tree, analysis: AnalysisTree) -> Iterator[tuple[str, Wanted]]:
    """What stands beneath which heading; figures that this run has no reason to make are simply absent."""
    yield (
        "Components in pictures",
        (
            (
                tree.eigenvalues_plot,
                "The z-score that decides, the variance, and how finely each component is found again.",
            ),
            (tree.sensitivity_plot, "Motions that these images would have shown, were they there."),
            (tree.overview_plot, "Slices through the largest variance, and surfaces at the ends of each component."),
            *((analysis.component_movie(k), f"The mean along component {k + 1}, -2 to 2 sd.") for k in range(6)),
            (tree.latent_pairs_plot, "Where the particles lie along the confirmed components."),
        ),
    )
    yield (
        "The mean map",
        (
            (tree.early_mean_plot, "While the run goes on: its slices, with the mask."),
            (analysis.mean_movie, "Turning; yellow to red: where it moves."),
            (tree.local_resolution_plot, "Surface in the colours of the local resolution."),
            (tree.mean_fsc_plot, "Fourier shell correlation of its half-maps."),
            (tree.mask_plot, "The masks over it."),
        ),
    )
    yield (
        "Density and paths",
        (
            (analysis.density_plot, "How often each conformation occurs, and what that means in kT."),
            *((analysis.trajectory_movie(number), f"The volumes along path {number}.") for number in range(6)),
            (analysis.pca_single_plot, "Particles along the one confirmed component."),
            *((analysis.pca_plot(first), "Particles, centres and paths.") for first in range(5)),
            (analysis.umap_centers_plot, "Neighbourhoods laid flat, for the eye only: distances mean little."),
        ),
    )
    yield (
        "How good is it?",
        (
            (analysis.populations_plot, "How many particles belong to each state."),
            (analysis.state_fsc_plot, "Fourier shell correlation of each state's half-maps."),
            (analysis.state_resolution_plot, "Local resolution of each state."),
            (tree.angular_plot, "Directions of view."),
            (tree.particles_plot, "Defocus, micrographs and contrast."),
            (tree.contrast_histogram, "Contrast of the particles."),
            (tree.noise_plot, "Noise by spatial frequency."),
            (DensityTree(tree.density).l_curve_plot, "How the smoothness of the density was chosen."),
        ),
    )


def _live(shelf: _Shelf, analysis: AnalysisTree) -> Live | None:
    """The part that moves, and the picture for readers that run no script; None where there is none, or none sound."""
    content = shelf.bytes_of(analysis.explore, MOST_THAT_MOVES)
    data = None if content is None else checked(content)
    if content is None or data is None:
        return None
    shelf.left -= len(content) * 3 // 4 + ROOM_FOR_THE_SCRIPT
    stills = (shelf.read(path, STILL) for path in (analysis.pca_plot(0), analysis.pca_single_plot))
    return Live(data, next((one for one in stills if one is not None), None))


def _state_rows(shelf: _Shelf, analysis: AnalysisTree, findings: Findings) -> Iterator[StateRow]:
    for number, one in enumerate(findings.states):
        volume = analysis.center(number).relative_to(shelf.out).as_posix()
        picture = shelf.read(analysis.state_picture(number), one.name)
        words = population_words(one)
        yield StateRow(one.name, one.particles, one.share, words, one.resolution_angstrom, volume, picture)


@dataclass
class _Shelf:
    """The figures of OUT, until there is no room left for more."""

    out: Path
    left: int = field(default=MOST_BYTES)

    def pictures(self, wanted: Wanted) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
        """(those that can be shown, the names of those that are there but cannot)."""
        shown, missing = [], []
        for path, caption in wanted:
            picture = self.read(path.with_suffix(".svg"), caption) or self.read(path, caption)
            if picture is not None:
                shown.append(picture)
            elif path.exists() or path.is_symlink():
                missing.append(path.relative_to(self.out).as_posix())
        return tuple(shown), tuple(missing)

    def read(self, path: Path, caption: str) -> Picture | None:
        """The figure at `path`; None where there is none that can be shown."""
        content = self.bytes_of(path, min(MOST_FOR_ONE, self.left))
        if content is None or not content.startswith(MARKS[path.suffix]):
            return None
        self.left -= len(content)
        return Picture(path.relative_to(self.out).as_posix(), caption, content)

    def bytes_of(self, path: Path, most_bytes: int) -> bytes | None:
        """A file of OUT; None where there is none of that size that can be read."""
        try:
            with open_inside(self.out, path.relative_to(self.out).as_posix(), most_bytes=most_bytes) as file:
                return file.read()
        except (CovariaError, OSError):
            return None
