"""Which density an analysis stands on."""

from __future__ import annotations

from covaria.opening import ANYWHERE, Roots
from covaria.request.model import Request
from covaria.trajectory import DensityGrid, marginal_density, read_density
from covaria.tree import Tree


def density_of(request: Request, tree: Tree, confirmed: int, roots: Roots = ANYWHERE) -> DensityGrid | None:
    """The density given or made, over the confirmed components alone; None where there is none."""
    if request.analysis.density is not None:
        density = read_density(request.analysis.density, roots)
    elif request.density.enabled and tree.density_knee.is_file():
        density = read_density(tree.density_knee)
    else:
        return None
    return marginal_density(density, max(confirmed, 1))
