"""JSON of others as data that can be written again: real characters, finite numbers, a bounded depth."""

from __future__ import annotations

import math
import os

from covaria.plain import printable

MAX_DEPTH = 32
MAX_INTEGER = 2**63
"""Beyond, readers of JSON do not agree."""


def why_not_data(value: object, *, any_bytes: bool = False) -> str:
    """Why what a JSON text holds could not be written again as it came, wherever in it that lies; "" when it can.

    any_bytes: names of files that are not UTF-8 may stand in it, as Python holds them.
    """
    left = [(value, 0)]
    while left:
        value, depth = left.pop()
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
        if isinstance(value, str):
            if not (is_text(value) or (any_bytes and is_name(value))):
                return f"holds half a character: {printable(value[:64])}"
        elif isinstance(value, int | float):
            if not (math.isfinite(value) and abs(value) <= MAX_INTEGER):
                return "holds a number beyond what JSON carries"
        elif isinstance(value, dict):
            left += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            left += [(part, depth + 1) for part in value]
    return ""


def is_text(value: str) -> bool:
    """Whether a text has no half characters (a surrogate alone)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_name(value: str) -> bool:
    """Whether a file may be called so: text, or what Python makes of bytes that are none."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True
