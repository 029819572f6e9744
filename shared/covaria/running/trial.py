"""Whether a device computes: `python -m covaria.running.trial DEVICE` says nothing and exits with 0, or says why not.

A process of its own, so that a driver that hangs or crashes takes nothing with it.
"""

from __future__ import annotations

import sys

import torch

from covaria.errors import CovariaError
from covaria.running.devices import resolve_device

SIDE = 256
CLOSE = 1e-3


def complaint(asked: str) -> str:
    """What is wrong with the device `asked` for; "" where a product and a Fourier transform there are right."""
    try:
        device = resolve_device(asked)
        values = torch.linspace(-1, 1, SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE)
        there = values.to(device)
        for name, compute in (("a matrix product", torch.mm), ("a Fourier transform", _spectrum)):
            right, found = compute(values, values), compute(there, there).cpu()
            if not torch.allclose(found, right, rtol=CLOSE, atol=CLOSE * float(right.abs().max())):
                return f"{name} on {device} is wrong"
    except (RuntimeError, CovariaError) as error:
        return str(error).splitlines()[0][:300]
    return ""


def _spectrum(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = torch.fft.rfft2(left) * torch.fft.rfft2(right)
    return product.abs()


if __name__ == "__main__":
    found = complaint(sys.argv[1])
    print(found)
    raise SystemExit(1 if found else 0)
