"""model/params.pkl: the parameters of a reconstruction. Read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from covaria import __version__
from covaria.errors import InvalidInput
from covaria.pickles import load_pickle
from covaria.results.latents import RECONSTRUCT_AGAIN, RECONSTRUCT_FIRST
from covaria.tree import Tree, atomic

if TYPE_CHECKING:
    from covaria.imaging.noise import Noise

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Parameters:
    """params.pkl, key by key. Densities and noise in grey levels of the stack.

    volume_shape (D, D, D); voxel_size angstrom; s eigenvalues (K,); noise_var_used (D // 2 - 1,) noise power by shell
    noise_group_factor (groups,); data_sign +1 bright, -1 dark particles; uninvert_data the same, as --uninvert-data
    names it; mean_fsc inside the mask, mean_fsc_unmasked, component_fsc (K, D // 2)
    significant_components how many are confirmed, component_z_score (K,) what the other half-set says of each
    image_scale grey level of a unit of the images' cache; input_args the request
    """

    volume_shape: tuple[int, int, int]
    voxel_size: float
    s: np.ndarray
    noise_var_used: np.ndarray
    noise_group_factor: np.ndarray
    data_sign: int
    uninvert_data: str
    mean_fsc: np.ndarray
    mean_fsc_unmasked: np.ndarray
    component_fsc: np.ndarray
    significant_components: int
    component_z_score: np.ndarray
    contrast_sd: float
    image_scale: float
    input_args: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    covaria_version: str = field(default=__version__)

    def noise(self, scale: float, groups: int) -> Noise:
        """The noise power of pixels cached at `scale`."""
        from covaria.imaging.noise import Noise

        spectrum = np.asarray(self.noise_var_used, np.float64) / scale**2
        factor = np.asarray(self.noise_group_factor, np.float64)
        return Noise(spectrum, np.resize(factor, max(groups, len(factor))))


def write_parameters(tree: Tree, parameters: Parameters, others: Mapping[str, Any] | None = None) -> None:
    """A reader older or younger than this version first finds out which one wrote it. `others`: keys that only other
    programs' scripts read."""
    values = {name.name: getattr(parameters, name.name) for name in fields(parameters)}
    first = {name: values.pop(name) for name in ("schema_version", "covaria_version")}
    atomic.write_pickle(tree.params, first | values | dict(others or {}))


def read_parameters(tree: Tree) -> Parameters:
    """Raises MissingFile, and InvalidInput for a file that lacks one of the keys."""
    stored = load_pickle(tree.params, hint=RECONSTRUCT_FIRST)
    names = [name.name for name in fields(Parameters)]
    if isinstance(stored, dict) and "s" in stored:
        stored = {"component_z_score": np.full(len(stored["s"]), np.nan)} | stored  # not in 0.1.0
    missing = [name for name in names if not isinstance(stored, dict) or name not in stored]
    if missing:
        raise InvalidInput(f"lacks {', '.join(missing)}", file=tree.params, hint=RECONSTRUCT_AGAIN)
    return Parameters(**{name: stored[name] for name in names})
