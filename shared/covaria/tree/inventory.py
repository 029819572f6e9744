"""What lies in an output directory, by kind, as job.json lists it and README.txt explains it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covaria.json_data import is_text
from covaria.tree.entry import Entry, Part, find, owned
from covaria.tree.folders import AnalysisTree, ChosenStatesTree, DensityTree, PostprocessTree
from covaria.tree.handed_over import DepositTree, MaskTree, NewcomersTree, OutliersTree, RecovarTree, SubsetTree
from covaria.tree.own_state import STATE
from covaria.tree.paths import Tree


@dataclass(frozen=True)
class Kind:
    """A kind of output: its name in job.json, and one sentence for README.txt."""

    name: str
    meaning: str


KINDS = (
    Kind("report", "everything that was found on one page, without network: start here"),
    Kind("downsampled", "the images at the smaller box, with a STAR file for any other program"),
    Kind("maps", "the mean map; mean_filt is filtered to its local resolution, mean_half1/2_unfil are the half-maps"),
    Kind("masks", "the soft solvent mask and the dilated mask that was used"),
    Kind(
        "eigenvolumes",
        "principal components of the motion, strongest first (the sum of squares over voxels is 1)",
    ),
    Kind("variance_maps", "where the density varies: variance from the first components"),
    Kind("model", "eigenvalues, noise, half-sets and settings (plain pickles of numpy arrays)"),
    Kind(
        "latent_coordinates",
        "one row for each particle of the input file, in its order; NaN where a particle was left out; noreg: no prior",
    ),
    Kind("latent_precision", "how well each coordinate is known (inverse covariance)"),
    Kind("contrasts", "the contrast of each particle, mean 1"),
    Kind(
        "density",
        "the conformational density: a probability density on a grid, whose integral is 1; its bounds and alpha",
    ),
    Kind("components", "the mean map moved along each confirmed component, from -2 to 2 standard deviations"),
    Kind("movies", "components and paths as movies; open.cxc shows them all in ChimeraX"),
    Kind("clusters", "volumes at the k-means centres; centers.txt has their coordinates"),
    Kind("basins", "volumes at the peaks of the density's basins: the stable states, the most populated first"),
    Kind("trajectories", "volumes along a path of least cost between two centres; path.json has the path"),
    Kind("states", "volumes at the chosen latent points; half1/2_unfil are the half-maps"),
    Kind("analysis_data", "labels and centres of the clusters, end points of the trajectories"),
    Kind("selected", "the selected particles in the format of their source, and their row numbers from 0"),
    Kind("outliers", "who is set aside, by micrograph and optics group; what the latent coordinates depend on"),
    Kind("postprocessed", "the sharpened map, its mask and local resolution, FSC and Guinier tables"),
    Kind("exported", "the run in another program's layout and units"),
    Kind("newcomers", "other particles in the run's coordinates, and how their populations differ"),
    Kind("refined", "the particles with refined poses, in the format of their source: for RELION or cryoSPARC"),
    Kind("plots", "figures: start with these"),
)

FOLDERS: tuple[type[Part], ...] = (
    AnalysisTree,
    DensityTree,
    ChosenStatesTree,
    SubsetTree,
    OutliersTree,
    MaskTree,
    PostprocessTree,
    NewcomersTree,
    RecovarTree,
    DepositTree,
)
"""What a folder without Covaria's own state may be."""


def listed(root: Path) -> dict[str, Entry]:
    """Every file beneath `root` that the table names: path relative to `root`, divided by / -> its line.

    `root` is an output directory, or a folder that one stage made and that carries its own job.json.
    """
    parts: tuple[type[Part], ...] = (Tree,) if (root / STATE).is_dir() else FOLDERS
    found: dict[str, Entry] = {}
    for part in parts:
        for top in owned(part, root):
            for path in top.rglob("*") if top.is_dir() else (top,):
                relative = path.relative_to(root).as_posix()
                known = path.is_file() and not path.is_symlink() and is_text(relative)
                row = find(part, relative) if known else None
                if row is not None:
                    found.setdefault(relative, row)
    return found


def inventory(root: Path) -> dict[str, list[str]]:
    """Paths relative to `root` by kind, sorted; kinds that are not there are left out."""
    found: dict[str, list[str]] = {}
    for path, row in listed(root).items():
        kind = kind_of(row)
        if kind:
            found.setdefault(kind, []).append(path)
    return {kind.name: sorted(found[kind.name]) for kind in KINDS if kind.name in found}


def kind_of(row: Entry) -> str:
    """The kind of a line; volumes are clusters at centres, basins at peaks, trajectories along a path, else states."""
    if row.kind != "volumes":
        return row.kind
    folder = row.pattern.rpartition("{name}")[0]
    named = {"kmeans/": "clusters", "basins/": "basins"}
    return next((kind for end, kind in named.items() if folder.endswith(end)), "trajectories" if folder else "states")
