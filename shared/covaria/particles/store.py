"""Particles on disk between stages: one .npz, no pickles, stacks in the same output named relative to it."""

from __future__ import annotations

import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from covaria.errors import InvalidInput, MissingFile
from covaria.opening import ANYWHERE, Roots
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.stacks.images import StackImages
from covaria.particles.stacks.resampling import Resampling
from covaria.tree.pen import FREE, Pen

VERSION = 3
READABLE = (1, 2, VERSION)
"""Version 1, of Covaria 0.1.0, has no gain, no B-factors, and reads bytes as signed; 2 has no aberrations and
one box for all,
and each image is a particle."""
ARRAYS = ("rotations", "translations", "optics_group", "half_set", "micrograph", "used")


def save(path: Path, particles: Particles, pen: Pen = FREE) -> None:
    """Write `particles` to `path` with `pen`, whole or not at all. Images must be `StackImages`.

    A stack inside the output directory (the parent of the folder that holds `path`) is stored relative to `path`, so
    that the output may be moved; any other by its absolute path.
    """
    images = particles.images
    if not isinstance(images, StackImages):
        raise TypeError(f"images of type {type(images).__name__} cannot be stored; only stacks on disk can")
    folder = path.absolute().parent
    arrays = {name: getattr(particles, name) for name in ARRAYS}
    arrays |= {f"ctf_{name}": values for name, values in particles.ctf.columns().items()}
    if images.gain is not None:
        arrays["gain"] = images.gain
    if particles.particle is not None:
        arrays |= {"particle": particles.particle, "by_stack": np.bool_(particles.by_stack)}
    if particles.together is not None:
        arrays |= {"together": particles.together, "copies": np.int64(particles.copies)}
    if images.resampling is not None:
        arrays |= {f"resampling_{entry.name}": getattr(images.resampling, entry.name) for entry in fields(Resampling)}
    arrays |= {
        "version": np.int64(VERSION),
        "source": np.str_(particles.source),
        "box": np.int64(particles.box),
        "pixel_size_angstrom": np.float64(particles.pixel_size_angstrom),
        "notes": np.array(particles.notes, dtype=np.str_),
        "stack_paths": np.array([_stored(stack, folder) for stack in images.paths], dtype=np.str_),
        "stack_of_row": images.file,
        "image_of_row": images.index,
        "unsigned_bytes": np.bool_(images.unsigned_bytes),
    }
    pen.write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load(path: Path, roots: Roots = ANYWHERE) -> Particles:
    """What `save` wrote. Stacks are opened when first read, beneath `roots`. Raises MissingFile or InvalidInput."""
    if not path.exists():
        raise MissingFile("the prepared particles are not there", file=path, hint="run the ingest stage first")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if int(arrays["version"]) not in READABLE:
            raise InvalidInput(
                f"version {int(arrays['version'])}, {VERSION} expected", file=path, hint="run the ingest stage again"
            )
        images = StackImages(
            paths=tuple(Path(os.path.normpath(path.absolute().parent / str(name))) for name in arrays["stack_paths"]),
            file=arrays["stack_of_row"],
            index=arrays["image_of_row"],
            box=int(arrays["box"]),
            gain=arrays.get("gain"),
            unsigned_bytes=bool(arrays.get("unsigned_bytes", False)),
            roots=roots,
            resampling=_resampling(arrays),
        )
        return Particles(
            source=Path(str(arrays["source"])),
            box=int(arrays["box"]),
            pixel_size_angstrom=float(arrays["pixel_size_angstrom"]),
            ctf=ContrastTransfer(
                **{
                    entry.name: arrays[f"ctf_{entry.name}"]
                    for entry in fields(ContrastTransfer)
                    if f"ctf_{entry.name}" in arrays or entry.default is MISSING
                }
            ),
            images=images,
            particle=arrays.get("particle"),
            together=arrays.get("together"),
            copies=int(arrays.get("copies", 1)),
            by_stack=bool(arrays.get("by_stack", False)),
            notes=tuple(str(note) for note in arrays["notes"]),
            **{name: arrays[name] for name in ARRAYS},
        )
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise InvalidInput(f"cannot be read ({error})", file=path, hint="run the ingest stage again") from None


def _resampling(arrays: dict[str, Any]) -> Resampling | None:
    if "resampling_kind" not in arrays:
        return None
    columns = {entry.name: arrays[f"resampling_{entry.name}"] for entry in fields(Resampling)}
    return Resampling(**columns | {"box": int(columns["box"])})


def _stored(stack: Path, folder: Path) -> str:
    absolute = stack.absolute()
    if absolute.is_relative_to(folder.parent):
        return os.path.relpath(absolute, folder)
    return str(absolute)
