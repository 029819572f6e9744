"""model/zdim_<q>/: latent coordinates, with prior and without, in the input file's row order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.latents.model import Latents
from covaria.tree import Tree, atomic

RECONSTRUCT_FIRST = "run `covaria reconstruct` first"
RECONSTRUCT_AGAIN = "run `covaria reconstruct` again"


def write_latents(tree: Tree, regularised: Latents, unregularised: Latents) -> None:
    """Both estimates at one dimension; the contrasts are those of the regularised one."""
    zdim = regularised.zdim
    tree.zdim(zdim).mkdir(parents=True, exist_ok=True)
    atomic.save_npy(tree.latent_coords(zdim), regularised.coordinates)
    atomic.save_npy(tree.latent_precision(zdim), regularised.precision)
    atomic.save_npy(tree.latent_coords_noreg(zdim), unregularised.coordinates)
    atomic.save_npy(tree.latent_precision_noreg(zdim), unregularised.precision)
    atomic.save_npy(tree.contrasts(zdim), regularised.contrasts)
    atomic.save_npy(tree.contrasts_noreg(zdim), regularised.contrasts)


def stored_zdim(tree: Tree, zdim: int) -> int:
    """`zdim`, where OUT holds latent coordinates of that dimension. Raises InvalidInput."""
    stored = tree.zdims()
    if zdim not in stored:
        words = ", ".join(map(str, stored)) or "none"
        raise InvalidInput(
            f"zdim {zdim} was not computed; stored: {words}", file=tree.model, hint="choose one of them with --zdim"
        )
    return zdim


def read_latents(tree: Tree, zdim: int) -> Latents:
    """The estimates with prior; mapped, not read: nobody needs them all. Raises MissingFile and InvalidInput."""
    return _read(zdim, tree.latent_coords(zdim), tree.latent_precision(zdim), tree.contrasts(zdim))


def read_unregularised(tree: Tree, zdim: int) -> Latents:
    """The estimates without prior; mapped, not read. Raises MissingFile and InvalidInput."""
    return _read(zdim, tree.latent_coords_noreg(zdim), tree.latent_precision_noreg(zdim), tree.contrasts(zdim))


def _read(zdim: int, coordinates: Path, precision: Path, contrasts: Path) -> Latents:
    table = _mapped(coordinates, (None, zdim))
    return Latents(table, _mapped(precision, (len(table), zdim, zdim)), _mapped(contrasts, (len(table),)))


def _mapped(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=RECONSTRUCT_FIRST)
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InvalidInput(f"is not a readable array ({error})", file=path, hint=RECONSTRUCT_AGAIN) from error
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("N" if length is None else str(length) for length in shape)
        found = " x ".join(map(str, array.shape))
        raise InvalidInput(f"has shape {found}, expected {wanted}", file=path, hint=RECONSTRUCT_AGAIN)
    if array.dtype.kind != "f":
        raise InvalidInput(f"holds {array.dtype}, expected real numbers", file=path, hint=RECONSTRUCT_AGAIN)
    return array
