"""model/particles.parquet: what was found of each particle, a row for each row of the input file.

| column | what |
|---|---|
| `half_set` | 0 or 1; null where the row was not used |
| `unit`, `image_row` | of a symmetric map: which asymmetric unit of which row, both from 0 |
| `contrast`, `contrast_sd` | of the mean map's slice, mean 1, and its standard error |
| `noise_level` | noise variance over that of its optics group |
| `p_empty` | probability that the image holds no particle |
| `p_outlier` | of its most outlying band of shells |
| `p_outlier_to_<k>` | of the band whose last shell is k |
| `noise_to_<k>` | its own noise in that band, over its optics group's: level and outliers together |
| `residual` | mean power of what the model leaves, over its own noise: 1 where it fits |
| `shift_x`, `shift_y`, `..._sd` | what its translation lacks, pixels, and posterior standard deviation |
| `rotation_x`, `rotation_y`, `rotation_z`, `..._sd` | what its rotation lacks about the image's axes, degrees |
| `defocus_error`, `..._sd` | after `--defocus-errors`: what its defocus lacks, angstrom |
| `refined_shift_x`, .. | after `--refine-poses`: what was added to its pose; what stands above is lacking still |
| `refined_..._sd_before`, `..._sd` | standard deviation of what the file's pose lacked, and the refined one lacks |
| `latent_<k>` | confirmed coordinates at the largest zdim |
| `weight` | how far it counted in every sum |

Numbers are NaN where the row was not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from covaria.errors import InvalidInput, MissingFile
from covaria.results.latents import RECONSTRUCT_AGAIN, RECONSTRUCT_FIRST
from covaria.tree import Tree, atomic

if TYPE_CHECKING:
    from covaria.imaging.noise import Noise
    from covaria.particles.model import Particles

HALF = 0.5
POSE_ERRORS = ("shift_x", "shift_y", "rotation_x", "rotation_y", "rotation_z")
DEFOCUS_ERROR = "defocus_error"
REFINED = tuple(f"refined_{name}" for name in POSE_ERRORS)


@dataclass(frozen=True)
class ParticleTable:
    """Columns by name, each (N,) in the input file's order; `half_set` is -1 where a row was not used."""

    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["half_set"])

    @property
    def band_noise(self) -> np.ndarray:
        """Each image's own noise by band, (N, bands)."""
        found = [values for name, values in self.columns.items() if name.startswith("noise_to_")]
        return np.stack(found, 1).astype(np.float64)

    @property
    def weight(self) -> np.ndarray:
        return np.asarray(self.columns["weight"], np.float64)


def has_refined_poses(tree: Tree) -> bool:
    """Whether the run of OUT moved its particles."""
    return REFINED[0] in particle_columns(tree)


def with_refined_poses(tree: Tree, particles: Particles) -> Particles:
    """The particles that the run of OUT read, at the poses that it refined; as they are where it did not.

    Raises InvalidInput for a table of other particles.
    """
    if not has_refined_poses(tree):
        return particles
    moved = np.stack([read_particle_column(tree, len(particles), name) for name in REFINED], 1)
    moved[~np.isfinite(moved)] = 0.0  # rows that were not used
    turn = Rotation.from_rotvec(moved[:, 2:], degrees=True).as_matrix()
    return replace(particles, rotations=turn @ particles.rotations, translations=particles.translations + moved[:, :2])


def write_particle_table(tree: Tree, table: ParticleTable) -> None:
    """As Parquet: read by pandas, polars, R and every database."""
    import pyarrow
    from pyarrow import parquet

    half_set = table.columns["half_set"]
    arrays = {name: pyarrow.array(values) for name, values in table.columns.items()}
    arrays["half_set"] = pyarrow.array(half_set.astype(np.int8), mask=half_set < 0)
    atomic.write_stream(tree.particle_table, lambda file: parquet.write_table(pyarrow.table(arrays), file))


def counting(tree: Tree, total: int) -> np.ndarray:
    """Which of `total` rows count for more than half an image, (total,) bool; all where a version of Covaria that wrote
    no table made the model. Raises InvalidInput."""
    if not tree.particle_table.is_file():
        return np.ones(total, bool)
    weight = read_particle_table(tree, total).weight
    counts: np.ndarray = np.isfinite(weight) & (weight > HALF)
    return counts


def noise_of_images(tree: Tree, noise: Noise, rows: np.ndarray, total: int) -> Noise:
    """`noise` with the own noise and weight of the images at `rows` of `total`; where there is no table, as it is."""
    if not tree.particle_table.is_file():
        return noise
    table = read_particle_table(tree, total)
    return replace(noise, bands=table.band_noise[rows], weight=table.weight[rows])


def particle_columns(tree: Tree) -> tuple[str, ...]:
    """The names of the numbers that the table holds; none where there is no table."""
    if not tree.particle_table.is_file():
        return ()
    with _readable(tree):
        from pyarrow import parquet

        names = parquet.read_schema(tree.particle_table).names
    return tuple(name for name in names if name != "half_set")


def read_particle_column(tree: Tree, total: int, name: str) -> np.ndarray:
    """One column of numbers, (total,) float64. Raises MissingFile, InvalidInput."""
    with _readable(tree):
        from pyarrow import parquet

        values = parquet.read_table(tree.particle_table, columns=[name])[name].to_numpy()
    if values.dtype.kind not in "iuf" or len(values) != total:
        found = f"column {name} has {len(values)} values of {values.dtype} for {total} particles"
        raise InvalidInput(found, file=tree.particle_table, hint=RECONSTRUCT_AGAIN)
    return np.asarray(values, np.float64)


@contextmanager
def _readable(tree: Tree) -> Iterator[None]:
    import pyarrow

    path = tree.particle_table
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=RECONSTRUCT_FIRST)
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"is not a readable table ({error})", file=path, hint=RECONSTRUCT_AGAIN) from error


def read_particle_table(tree: Tree, total: int) -> ParticleTable:
    """Raises MissingFile, and InvalidInput for a file that is not such a table of `total` rows."""
    path = tree.particle_table
    with _readable(tree):
        from pyarrow import parquet

        stored = parquet.read_table(path)
    names = stored.column_names
    missing = [name for name in ("half_set", "weight", "p_empty", "p_outlier") if name not in names]
    if missing or not any(name.startswith("noise_to_") for name in names):
        raise InvalidInput(f"lacks {', '.join(missing) or 'noise_to_...'}", file=path, hint=RECONSTRUCT_AGAIN)
    if len(stored) != total:
        raise InvalidInput(f"has {len(stored)} rows for {total} particles", file=path, hint=RECONSTRUCT_AGAIN)
    columns = {name: stored[name].to_numpy() for name in names if name != "half_set"}
    half_set = np.asarray(stored["half_set"].fill_null(-1).to_numpy(), np.int8)
    wrong = [name for name, values in columns.items() if values.dtype.kind != "f"]
    if wrong:
        raise InvalidInput(f"column {wrong[0]} does not hold real numbers", file=path, hint=RECONSTRUCT_AGAIN)
    return ParticleTable({"half_set": half_set, **columns})
