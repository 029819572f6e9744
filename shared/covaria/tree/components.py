"""What a finished reconstruction says of its components: how large each is, how many are confirmed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.pickles import load_pickle
from covaria.tree.paths import Tree

HINT = "run `covaria reconstruct` again"


@dataclass(frozen=True)
class ComponentSizes:
    """eigenvalues (K,), descending: the variance of each latent coordinate; the first `confirmed` are confirmed."""

    eigenvalues: NDArray[np.float64]
    confirmed: int

    @property
    def deviations(self) -> NDArray[np.float64]:
        """(K,) standard deviation of the motion along each component, in density x voxel^(1/2)."""
        return np.asarray(np.sqrt(np.maximum(self.eigenvalues, 1e-30)))


def read_component_sizes(tree: Tree) -> ComponentSizes:
    """From model/params.pkl. Raises MissingFile, InvalidInput."""
    params = load_pickle(tree.params, hint="run `covaria reconstruct` first")
    if not isinstance(params, dict) or not {"s", "significant_components"} <= params.keys():
        raise InvalidInput("lacks `s` (eigenvalues) or `significant_components`", file=tree.params, hint=HINT)
    eigenvalues = np.asarray(params["s"], dtype=float)
    confirmed = int(params["significant_components"])
    if eigenvalues.ndim != 1 or not 0 <= confirmed <= len(eigenvalues) or not np.isfinite(eigenvalues).all():
        raise InvalidInput(
            f"has eigenvalues of shape {eigenvalues.shape}, {confirmed} of them confirmed", file=tree.params, hint=HINT
        )
    return ComponentSizes(eigenvalues, confirmed)
