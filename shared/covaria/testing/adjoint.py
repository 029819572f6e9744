"""Two linear maps are adjoint: what every operator with a gradient must show."""

from __future__ import annotations

from collections.abc import Callable

import torch


def assert_adjoint(
    forward: Callable[[torch.Tensor], torch.Tensor],
    adjoint: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    relative: float = 1e-5,
) -> None:
    """<forward(x), y> = <x, adjoint(y)> in the plain inner product, within `relative` of |forward(x)| |y|.

    x and y are random members of the two spaces. Raises AssertionError; also where forward(x) is nothing.
    """
    image, back = forward(x).double(), adjoint(y).double()
    assert image.shape == y.shape, f"forward gives {tuple(image.shape)}, y is {tuple(y.shape)}"
    assert back.shape == x.shape, f"adjoint gives {tuple(back.shape)}, x is {tuple(x.shape)}"
    left, right = float((image * y.double()).sum()), float((x.double() * back).sum())
    scale = float(image.norm() * y.double().norm())
    assert scale > 0, "forward(x) or y is zero: that would show nothing"
    assert abs(left - right) <= relative * scale, f"<Ax, y> = {left}, <x, A*y> = {right}, |Ax| |y| = {scale}"
