"""Files that are whole or absent: write beside the target, fsync, rename, fsync the directory."""

from __future__ import annotations

import io
import json
import os
import pickle
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from covaria.errors import InvalidInput
from covaria.opening import open_inside

PICKLE_PROTOCOL = 4


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable (a rename is not, until its directory is synced)."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path`: a reader sees the old file or the new one, never part of either. Makes missing folders."""
    write_stream(path, lambda file: file.write(data))


def write_stream(path: str | os.PathLike[str], write: Callable[[BinaryIO], object], folder: Path | None = None) -> None:
    """What `write` puts into a file, at `path` as `write_bytes` does: for what is too large to hold twice.

    It is made in `folder` (default: beside its place) and renamed.
    """
    target = Path(path)
    _put(target, write, folder)
    fsync_directory(target.parent)


def write_together(contents: Mapping[Path, bytes], folder: Path | None = None) -> None:
    """Several files, each as `write_bytes` does, but those that stand there already; each folder is synced once."""
    changed = {target: data for target, data in contents.items() if not _stands(target, data)}
    for target, data in changed.items():
        _put(target, partial(_pour, data), folder)
    for parent in {target.parent for target in changed}:
        fsync_directory(parent)


def _stands(target: Path, data: bytes) -> bool:
    try:
        with open_inside(target.parent, target.name, most_bytes=len(data)) as file:
            return file.read() == data
    except (InvalidInput, OSError):
        return False


def _pour(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _put(target: Path, write: Callable[[BinaryIO], object], folder: Path | None) -> None:
    """Whole and synced under its name; the name itself is not yet durable."""
    if folder is None:
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = (folder or target.parent) / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if folder is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)
        raise


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def json_bytes(value: object) -> bytes:
    """Indented JSON; paths become strings, numpy numbers and arrays become numbers and lists; NaN is refused."""
    return (json.dumps(value, indent=2, default=_jsonable, allow_nan=False) + "\n").encode()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """UTF-8 text, written as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """`json_bytes`, written as `write_bytes` does."""
    write_bytes(path, json_bytes(value))


def write_pickle(path: str | os.PathLike[str], value: object) -> None:
    """A pickle that covaria.pickles reads: builtins and numpy values only. Raises TypeError for anything else."""
    _refuse_foreign(value, "value")
    write_bytes(path, pickle.dumps(value, protocol=PICKLE_PROTOCOL))


def save_npy(path: str | os.PathLike[str], array: ArrayLike) -> None:
    """One array, loadable with allow_pickle=False."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, ArrayLike]) -> None:
    """Named arrays, loadable with allow_pickle=False."""
    values = {name: np.asarray(value) for name, value in arrays.items()}
    write_stream(path, lambda file: np.savez(file, allow_pickle=False, **values))


def _jsonable(value: Any) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a JSON file")


def _refuse_foreign(value: object, where: str) -> None:
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes):
        return
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return
    if isinstance(value, np.ndarray) and kind is np.ndarray:
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{where}: an array of {value.dtype} does not load in a restricted unpickler")
        return
    if isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) not in (str, int):
                raise TypeError(f"{where} key {key!r}: a {type(key).__name__} does not load in a restricted unpickler")
            _refuse_foreign(item, f"{where}[{key!r}]")
        return
    if isinstance(value, (list, tuple)) and kind in (list, tuple):
        for index, item in enumerate(value):
            _refuse_foreign(item, f"{where}[{index}]")
        return
    raise TypeError(f"{where}: {kind.__module__}.{kind.__qualname__} does not load in a restricted unpickler")
