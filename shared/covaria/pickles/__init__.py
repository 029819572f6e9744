"""Pickles read without running anything: an interpreter for the few opcodes that data need.

Python's own unpickler calls whatever a file names, and its C code trusts what numpy's constructors are told. This one
has a fixed table of names (numpy's array constructors in all their spellings), builds arrays itself from checked parts,
and knows no other way to call anything. Every pickle that Covaria reads, its own included, goes through it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.pickles.arrays import PickleRefused
from covaria.pickles.machine import Machine

__all__ = ["PickleRefused", "load_pickle", "parse_pickle"]

MAX_BYTES = 4 * 2**30


def load_pickle(path: Path, *, roots: Roots = ANYWHERE, shown: Path | None = None, hint: str = "") -> Any:
    """The data in a pickle of any protocol: None, bool, int, float, str, bytes, list, tuple, set, range, numpy arrays
    and numbers, dict with keys of text or whole numbers; a pandas Index as what is in it.

    Raises MissingFile, and InvalidInput for anything else; nothing that the file names is ever run.
    """
    with roots.open(path, most_bytes=MAX_BYTES, shown=shown, hint=hint) as file:
        content = file.read()
    try:
        return parse_pickle(content)
    except PickleRefused as reason:
        raise InvalidInput(
            f"is refused as a pickle: {reason}",
            file=shown or path,
            hint=hint
            or "only numpy arrays, lists, tuples, sets, dictionaries and numbers are read; write it with those",
        ) from None


def parse_pickle(data: bytes) -> Any:
    """As `load_pickle`, from bytes. Raises PickleRefused."""
    try:
        return Machine(data).run()
    except PickleRefused:
        raise
    except (
        ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError, MemoryError,
        RecursionError,
    ) as error:  # fmt: skip
        raise PickleRefused(f"damaged or not a pickle ({str(error)[:100] or type(error).__name__})") from None
