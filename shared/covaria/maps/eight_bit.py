"""What the bytes of MRC mode 0 mean: MRC2014 says signed, IMOD's stamp and flag say which, old programs say nothing.

IMOD (https://bio3d.colorado.edu/imod/doc/mrc_format.txt): words 39 and 40 of the header are its stamp and flags. With
the stamp, flag 1 means that the file holds value - 128 as a signed byte; without the flag, bytes are unsigned.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

IMOD_STAMP = 1146047817
STAMP_AT, FLAGS_AT = 152, 156
SIGNED_FLAG = 1
SELDOM = 1e-3
NEAR_THE_MIDDLE = 176.0
"""The upper half of the bytes lies on average below this where it continues the lower one, above where it is -1, -2"""
WRAPPED = 2.0
"""Bytes taken as signed spread so many times wider than taken as unsigned where the middle of the range is wrapped."""


class ByteKind(Enum):
    """How a byte becomes a value."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    SHIFTED = "signed, 128 below the value"

    @property
    def dtype(self) -> str:
        return "u1" if self is ByteKind.UNSIGNED else "i1"

    @property
    def offset(self) -> float:
        return 128.0 if self is ByteKind.SHIFTED else 0.0


def stamped_kind(header: bytes, order: str) -> ByteKind | None:
    """What IMOD's stamp says; None where it is not there. `order` is "<" or ">"."""
    stamp, flags = (int(np.frombuffer(header, order + "i4", 1, place)[0]) for place in (STAMP_AT, FLAGS_AT))
    if stamp != IMOD_STAMP:
        return None
    return ByteKind.SHIFTED if flags & SIGNED_FLAG else ByteKind.UNSIGNED


def wraps(values: NDArray[np.uint8]) -> bool:
    """Whether unstamped bytes, read as signed, fall into two heaps at -128 and 127: they were written unsigned."""
    if not values.size:
        return False
    counts = np.bincount(values.reshape(-1), minlength=256)
    unsigned = np.arange(256.0)
    signed = np.where(unsigned < 128, unsigned, unsigned - 256)
    if _variance(counts, signed) > WRAPPED * _variance(counts, unsigned):
        return True
    low, high = counts[:128].sum(), counts[128:].sum()
    if min(low, high) < SELDOM * counts.sum():  # read as signed, all values are shifted alike
        return False
    return bool(counts[128:] @ unsigned[128:] / high < NEAR_THE_MIDDLE)


def _variance(counts: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    mean = float(counts @ values) / counts.sum()
    return float(counts @ (values - mean) ** 2 / counts.sum())
