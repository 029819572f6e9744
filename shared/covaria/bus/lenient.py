"""Headers of others are read leniently: what pika cannot decode counts as absent.

A broker passes on any header that has the right form, also a time in the year 10^11 or a table in ten thousand tables;
pika raises from inside its connection then, the message returns to its queue, and every worker that asks for it loses
its connection. Here the table that cannot be read becomes an empty one, and the message is dealt with.
"""

from __future__ import annotations

import struct
from typing import Any

import pika.data

_decode_table = pika.data.decode_table


def decode_table(encoded: bytes, offset: int) -> tuple[dict[Any, Any], int]:
    """pika's decode_table, but {} for what it cannot read. Raises struct.error for a table cut short."""
    end = offset + 4 + int(struct.unpack_from(">I", encoded, offset)[0])
    try:
        table, _ = _decode_table(encoded, offset)
    except Exception:  # ValueError, OverflowError, RecursionError, InvalidFieldTypeException, ...
        return {}, end
    return table, end


def read_leniently() -> None:
    """Let pika, in this process, decode by this module."""
    pika.data.decode_table = decode_table


def text(value: object) -> str:
    """A short string as pika gives it: bytes where it is not UTF-8."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value or "")
