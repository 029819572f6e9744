"""The books in OUT/.covaria: how they are written, and the one reader of what lies there.

What lies in an output folder is a stranger's claim. A book is read without following a link, as a regular file of a
bounded size and of an owner who may write there, and must have its shape; its seal is the sum of its content. Where one
is damaged (a power cut, a flipped bit), its copy is read instead, and the damage is said. Books written before 0.2 have
no seal and no copy: they are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from covaria.errors import InvalidInput, MissingFile
from covaria.json_data import why_not_data
from covaria.opening import may_write_there, open_inside
from covaria.tree.atomic import json_bytes
from covaria.tree.paths import Tree

log = logging.getLogger(__name__)

MAX_BYTES = 32 * 2**20
SEAL = "seal"
COPY = ".copy"
_SUM = re.compile(r"[0-9a-f]{64}")
_ODD = re.compile(rb"\\u[dD]|NaN|Infinity|[ \[:,]-?[0-9.]+[eE]\+?[0-9]{3}|[0-9]{19}")
FEW = 100
"""Brackets; a book with more, or with anything odd, is looked through before it is believed."""
_NOTHING, _END = b"{}\n", b"\n}\n"
_SEAL_LINE = b'\n  "%b": "%%b"' % SEAL.encode() + _END


class DamagedBook(InvalidInput):
    """A book that is there and cannot be believed."""


class Shape(BaseModel):
    """What a book must hold; more is kept."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


def sealed(value: Mapping[str, Any]) -> bytes:
    """A book's bytes: JSON with the sum of the rest at its end."""
    return _with_seal(json_bytes(value))


def _with_seal(body: bytes) -> bytes:
    """The bytes of a book without a seal, and its line: what `json_bytes` makes of both, made once."""
    opened = b"{" if body == _NOTHING else body[: -len(_END)] + b","
    return opened + _SEAL_LINE % hashlib.sha256(body).hexdigest().encode()


def _without_seal(data: bytes) -> bytes:
    opened = data[: -len(_SEAL_LINE % (b"0" * 64))]
    return _NOTHING if opened == b"{" else opened[:-1] + _END


def write_book(tree: Tree, path: Path, value: Mapping[str, Any], *, with_copy: bool = False) -> None:
    """Write a book with the tree's pen, and first its copy where the loss of the book would lose work."""
    content = sealed(value)
    if with_copy:
        tree.write_bytes(copy_of(path), content)
    tree.write_bytes(path, content)


def copy_of(path: Path) -> Path:
    """Where a book's copy lies."""
    return path.with_name(path.name + COPY)


def read_book(tree: Tree, path: Path, shape: type[BaseModel]) -> dict[str, Any] | None:
    """The book at `path`, or its copy where it is damaged; None where it is not there. Raises DamagedBook."""
    try:
        return _read(tree, path, shape)
    except MissingFile:
        return None
    except DamagedBook as damage:
        try:
            value = _read(tree, copy_of(path), shape)
        except (MissingFile, DamagedBook):
            raise damage from None
        _warn(f"{damage.message}; its copy is used")
        return value


def read_if_sound(tree: Tree, path: Path, shape: type[BaseModel]) -> dict[str, Any] | None:
    """As `read_book`; a damaged book whose loss only repeats work counts as absent, and the damage is said."""
    try:
        return read_book(tree, path, shape)
    except DamagedBook as damage:
        _warn(f"{damage.message}; it is left out of account")
        return None


def parse_book(data: bytes, path: Path) -> tuple[dict[str, Any], bool]:
    """A book's content without its seal, and whether it has one. Raises DamagedBook."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBook(f"is not readable JSON ({str(error)[:80]})", file=path, hint=_HINT) from None
    if not isinstance(value, dict):
        raise DamagedBook("is no JSON object", file=path, hint=_HINT)
    if _ODD.search(data) or data.count(b"{") + data.count(b"[") > FEW:
        problem = why_not_data(value, any_bytes=True)
        if problem:
            raise DamagedBook(problem, file=path, hint=_HINT)
    if not value:
        return {}, False
    last = next(reversed(value))
    if last != SEAL:
        if isinstance(value[last], str) and _SUM.fullmatch(value[last]):
            raise DamagedBook("its seal is damaged", file=path, hint=_HINT)
        return value, False
    value.pop(SEAL)
    if _with_seal(_without_seal(data)) != data:
        raise DamagedBook("its content is not what was written", file=path, hint=_HINT)
    return value, True


_HINT = "`covaria verify` says what else is damaged"


def _read(tree: Tree, path: Path, shape: type[BaseModel]) -> dict[str, Any]:
    try:
        with open_inside(tree.out, path.relative_to(tree.out).as_posix(), most_bytes=MAX_BYTES) as file:
            if not may_write_there(os.fstat(file.fileno()), path.parent):
                raise DamagedBook("belongs to somebody else", file=path, hint="remove what stands there")
            data = file.read(MAX_BYTES + 1)
    except MissingFile:
        raise
    except InvalidInput as error:
        raise DamagedBook(error.message, hint=error.hint) from None
    return believe(data, path, shape)[0]


def believe(data: bytes, path: Path, shape: type[BaseModel]) -> tuple[dict[str, Any], bool]:
    """`parse_book` of a book that must have a shape. Raises DamagedBook."""
    value, has_seal = parse_book(data, path)
    try:
        shape.model_validate(value)
    except (ValidationError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "nested too deeply"}
        where = ".".join(map(str, first["loc"]))
        raise DamagedBook(f"{where}: {first['msg']}", file=path, hint=_HINT) from None
    return value, has_seal


@cache
def _warn(message: str) -> None:
    """Once: books are read again and again."""
    log.warning("%s", message)
