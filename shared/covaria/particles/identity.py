"""Which image a row is, so that a later version of the same file finds it again: by its image's name, not its place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.metadata import Metadata
from covaria.particles.model import Particles

SAME_ROTATION, SAME_PIXELS, SAME_OF_CTF = 1e-5, 1e-3, 1e-5
"""Differences that printing leaves: of a matrix' elements, of origins in pixels, of CTF parameters relatively."""
AGAIN = "run `covaria run` with --growing again, into a new folder"


def row_keys(metadata: Metadata) -> NDArray[np.void]:
    """(N,) 16 bytes for each row: the hash of its uid, where the file has them, else of its stack's name as the file
    writes it and its place there; and of how many rows before have the same.

    Raises InvalidInput where the file names no images.
    """
    stack, image = metadata.stack_of_row, metadata.image_of_row
    if stack is None or image is None or not metadata.stack_names:
        raise InvalidInput("names no images, so that rows could be found again", file=metadata.source,
                           hint="give a .star or .cs file")  # fmt: skip
    names = [hashlib.blake2b(name.encode(errors="surrogateescape")).digest() for name in metadata.stack_names] + [b""]
    if metadata.uid is None:
        whose = [b"%b%d" % (names[place], number) for place, number in zip(stack.tolist(), image.tolist(), strict=True)]
    else:
        whose = [b"uid %d" % uid for uid in metadata.uid.tolist()]
    seen: dict[bytes, int] = {}
    keys = bytearray()
    for name in whose:
        again = seen[name] = seen.get(name, -1) + 1
        keys += hashlib.blake2b(b"%b/%d" % (name, again), digest_size=16).digest()
    return np.frombuffer(bytes(keys), dtype="V16").copy()


@dataclass(frozen=True)
class Rows:
    """What a version of a growing set keeps of its rows; arrays only.

    key (N,) as `row_keys`; deviation, peak, clipped (N,) as in `scan.Spread`; micrograph_key (N,) 8 bytes of the
    micrograph's name; stack_key (M,) 16 bytes of a stack's name and stamp (M, 2) its size and time when it was read;
    box, pixel_size_angstrom () of the images before they were made smaller; version ()
    """

    key: NDArray[np.void]
    deviation: NDArray[np.float64]
    peak: NDArray[np.float64]
    clipped: NDArray[np.float64]
    micrograph_key: NDArray[np.void]
    stack_key: NDArray[np.void]
    stamp: NDArray[np.int64]
    box: NDArray[np.int64]
    pixel_size_angstrom: NDArray[np.float64]
    version: NDArray[np.int64]
    before: NDArray[np.int64]
    """(N,) the row of the version before, -1: new."""
    moved: NDArray[np.bool_]
    """(N,) poses or CTF are not those of the version before."""

    @property
    def stamps(self) -> dict[bytes, tuple[int, int]]:
        """Size and time of each stack by its key."""
        return {key.tobytes(): (int(a), int(b)) for key, (a, b) in zip(self.stack_key, self.stamp, strict=True)}

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By field name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def read_rows(path: Path, roots: Roots = ANYWHERE) -> Rows:
    """What a version kept of its rows. Raises MissingFile, InvalidInput."""
    with roots.open(path, hint=AGAIN) as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return Rows(**{field.name: stored[field.name] for field in fields(Rows)})
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise InvalidInput(f"cannot be read ({error})", file=path, hint=AGAIN) from None


def stack_keys(metadata: Metadata) -> NDArray[np.void]:
    """(M,) 16 bytes for each stack that the file names."""
    names = (name.encode(errors="surrogateescape") for name in metadata.stack_names)
    return _hashes([hashlib.blake2b(name, digest_size=16).digest() for name in names], 16)


def micrograph_keys(metadata: Metadata, count: int) -> NDArray[np.void]:
    """(N,) 8 bytes for each row's micrograph; zeros where the file does not say."""
    if metadata.micrograph is None:
        return np.zeros(count, "V8")
    names = [hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
             for name in metadata.micrograph_names]  # fmt: skip
    table = _hashes([*names, bytes(8)], 8)
    return table[metadata.micrograph]


def _hashes(values: list[bytes], size: int) -> NDArray[np.void]:
    return np.frombuffer(b"".join(values), dtype=f"V{size}").copy()


def rows_before(keys: NDArray[np.void], known: NDArray[np.void]) -> NDArray[np.int64]:
    """(N,) the place of each key among the `known` ones, -1 where it is not there."""
    places: Mapping[bytes, int] = {key: place for place, key in enumerate(known.tolist())}
    return np.array([places.get(key, -1) for key in keys.tolist()], dtype=np.int64)


def moved_rows(now: Particles, then: Particles, before: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) rows of `now` that `then` has as well (at `before`), with another pose or CTF. Both on the same grid."""
    kept = np.flatnonzero(before >= 0)
    old = before[kept]
    moved = np.zeros(len(now), bool)
    differ = (np.abs(now.rotations[kept] - then.rotations[old]) > SAME_ROTATION).any((1, 2))
    differ |= (np.abs(now.translations[kept] - then.translations[old]) > SAME_PIXELS).any(1)
    ours, theirs = now.ctf.columns(), then.ctf.columns()
    if ours.keys() != theirs.keys():
        moved[kept] = True
        return moved
    for name, values in ours.items():
        close = np.isclose(values[kept].astype(float), theirs[name][old].astype(float), SAME_OF_CTF, 1e-6)
        differ |= ~close.reshape(len(kept), -1).all(1)
    moved[kept] = differ
    return moved
