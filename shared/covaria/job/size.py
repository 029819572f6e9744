"""How large a job's images are, once ingest has read them: what decides which pool of workers it waits for."""

from __future__ import annotations

import math
import zipfile
from dataclasses import replace
from typing import IO

from numpy.lib import format as npy

from covaria.errors import CovariaError
from covaria.messages.envelope import Message
from covaria.opening import open_inside
from covaria.tree import Tree

BYTES_PER_PIXEL = 8
"""Of a Fourier pixel, float32."""
MOST_ROWS = 10**10
MOST_BOX = 10**5


def sized(message: Message) -> Message:
    """The message with the size of its images, where that is known by now and not said yet."""
    if message.work.images_gb is not None:
        return message
    size = images_gb(Tree(message.work.request.out))
    if size is None:
        return message
    work = message.work.model_copy(update={"images_gb": size})
    return replace(message, work=work, data={**message.data, "images_gb": size})


def images_gb(tree: Tree) -> float | None:
    """What half of a Fourier disk of each particle's image takes in memory, GB; None before ingest.

    Only the sizes of two arrays in `.covaria/particles.npz` are looked at.
    """
    try:
        with open_inside(tree.state, tree.particles.name) as file, zipfile.ZipFile(file) as stored:
            with stored.open("rotations.npy") as entry:
                rows = _shape(entry)[0]
            with stored.open("box.npy") as entry:
                _shape(entry)
                box = int.from_bytes(entry.read(8), "little", signed=True)
    except (CovariaError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile, RuntimeError):
        return None
    if not (0 < rows <= MOST_ROWS and 0 < box <= MOST_BOX):
        return None
    return round(rows * math.pi / 8 * box**2 * BYTES_PER_PIXEL / 1e9, 3)


def _shape(entry: IO[bytes]) -> tuple[int, ...]:
    """Of an array; behind it lie its values. Raises ValueError."""
    version = npy.read_magic(entry)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape: tuple[int, ...] = read(entry)[0]
    return shape
