"""The two shapes of an estimator: a sum over images of one half-set, and a row for each image.

Both are of whitened batches under a model that is frozen while the pass lasts. What they depend on is hashed into a
fingerprint: sums of different fingerprints are not added, and half a pass is not gone on with under another model.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any, Self

import numpy as np
import torch

from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise


def fingerprint(*parts: Any) -> str:
    """One hash of numbers, words, arrays, tensors and dataclasses and tuples of them: equal bytes, equal hash."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        _digest(part, digest)
    return digest.hexdigest()


def _digest(part: Any, digest: hashlib.blake2b) -> None:
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray):
        digest.update(f"{part.dtype.str}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif is_dataclass(part):
        digest.update(type(part).__name__.encode())
        for field in fields(part):
            _digest(getattr(part, field.name), digest)
    elif isinstance(part, (tuple, list)):
        digest.update(f"({len(part)}".encode())
        for item in part:
            _digest(item, digest)
    elif part is None or isinstance(part, (bool, int, float, str, np.generic)):
        digest.update(f"{type(part).__name__}:{part!r};".encode())
    else:
        raise TypeError(f"{type(part).__name__} has no fingerprint")


class DifferentModels(ValueError):
    """Sums that were taken under different frozen models do not add."""


class OverImages:
    """What a walk over the images has to know.

    noise             whitens the batches
    radius            they reach this shell
    floats_per_pixel  numbers that `add` or `of` holds at a time for each pixel of a batch
    fingerprint       of all that the result depends on besides the images
    """

    def __init__(self, noise: Noise, radius: int, floats_per_pixel: int, *frozen: Any) -> None:
        self.noise, self.radius, self.floats_per_pixel = noise, radius, floats_per_pixel
        self.fingerprint = fingerprint(type(self).__name__, noise, radius, *frozen)


class Sums(OverImages, ABC):
    """A sum over images of one half-set. Subclasses name the attributes that are sums in `SUMMED`."""

    SUMMED: tuple[str, ...] = ("grid",)

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Add a batch of whitened images."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that is a sum, by name."""
        return {name: getattr(self, name) for name in self.SUMMED}

    def with_tensors(self, tensors: dict[str, torch.Tensor]) -> Self:
        """The same frozen model with other sums."""
        other = copy.copy(self)
        for name, tensor in tensors.items():
            setattr(other, name, tensor)
        return other

    def empty(self) -> Self:
        """The same frozen model with nothing added yet."""
        return self.with_tensors({name: torch.zeros_like(tensor) for name, tensor in self.tensors().items()})

    def __add__(self, other: Self) -> Self:
        """The sums over both sets of images. Raises DifferentModels."""
        if self.fingerprint != other.fingerprint:
            raise DifferentModels(f"{type(self).__name__} under {self.fingerprint} and under {other.fingerprint}")
        theirs = other.tensors()
        return self.with_tensors({name: own + theirs[name] for name, own in self.tensors().items()})


class Rows(OverImages, ABC):
    """Numbers of each image."""

    @abstractmethod
    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Named rows (b, ...) of a batch of whitened images."""
