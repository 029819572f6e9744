"""Arrays out of pickles: numpy's constructors done by hand, from checked parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

_DTYPE = re.compile(r"[<>|=]?(b1|\?|[iu][1248]|f[248])")

MAX_RANGE = 2**31


class PickleRefused(Exception):
    """The stream asks for something that data do not need."""


@dataclass(frozen=True)
class Name:
    """A name of the table below, as it stands on the stack."""

    name: str


@dataclass
class Dtype:
    """A plain number type under construction."""

    text: str
    order: Literal["<", ">", "=", "|"] = "="

    def numpy(self) -> np.dtype:
        """As numpy has it."""
        dtype = np.dtype(self.text)
        return dtype.newbyteorder(self.order) if self.order in "<>" and dtype.itemsize > 1 else dtype


@dataclass
class ArrayPlace:
    """An array whose content may still come (BUILD)."""

    value: np.ndarray | None = None


def named(full: str) -> Name:
    """The name "module name" of the stream, if data may use it."""
    if full not in _NAMES:
        raise PickleRefused(f"it asks for {full.replace(' ', '.', 1)[:100]}, which data never need")
    return Name(_NAMES[full])


def call(function: Any, arguments: Any) -> Any:
    """What REDUCE asks for."""
    if not isinstance(function, Name) or type(arguments) is not tuple:
        raise PickleRefused("it calls something that is not numpy's")
    return _CALLS[function.name](*arguments)


def build(target: Any, state: Any) -> None:
    """What BUILD asks for."""
    if isinstance(target, Dtype):
        _set_dtype(target, state)
    elif isinstance(target, ArrayPlace):
        _set_array(target, state)
    else:
        raise PickleRefused(f"it sets the state of {type(target).__name__}")


def _reconstruct(kind: Any, shape: Any, _: Any) -> ArrayPlace:
    if kind != Name("ndarray") or shape != (0,):
        raise PickleRefused("an array is made in an unknown way")
    return ArrayPlace()


def _dtype(text: Any, *_: Any) -> Dtype:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise PickleRefused(f"an array of {str(text)[:40]!r}, which is no plain number")
    return Dtype(text)


def _set_dtype(target: Dtype, state: Any) -> None:
    if (
        type(state) is not tuple
        or len(state) < 5
        or state[2:5] != (None, None, None)
        or state[1] not in ("<", ">", "|", "=")
    ):
        raise PickleRefused("a number type with parts that plain numbers do not have")
    target.order = state[1]


def _set_array(target: ArrayPlace, state: Any) -> None:
    if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], Dtype):
        raise PickleRefused("damaged array")
    _, shape, dtype, fortran, content = state
    target.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Dtype, shape: Any, order: str) -> np.ndarray:
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, bytes | bytearray) or type(shape) is not tuple or len(shape) > 8:
        raise PickleRefused("damaged array")
    if not all(type(side) is int and side >= 0 for side in shape) or order not in ("C", "F"):
        raise PickleRefused("damaged array")
    kind = dtype.numpy()
    count = 1
    for side in shape:
        count *= side
    if count * kind.itemsize != len(content):
        raise PickleRefused(f"an array of shape {shape} with {len(content)} bytes")
    result: np.ndarray = np.frombuffer(content, kind).reshape(shape, order=order).astype(kind.newbyteorder("="))  # type: ignore[call-overload]
    return result


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> ArrayPlace:
    if not isinstance(dtype, Dtype):
        raise PickleRefused("damaged array")
    return ArrayPlace(_array(content, dtype, shape, order))


def _scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, Dtype):
        raise PickleRefused("damaged number")
    return _array(content, dtype, (), "C")[()]


def _encode(text: Any, codec: Any) -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise PickleRefused("text in an unknown encoding")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    """Old protocols write an empty byte string as a call of `bytes` with nothing."""
    if arguments:
        raise PickleRefused("bytes are made in an unknown way")
    return b""


def _set(items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple, set):
        raise PickleRefused("a set is made in an unknown way")
    return set(items)


def _range(*arguments: Any) -> range:
    if not 1 <= len(arguments) <= 3 or not all(type(value) is int and abs(value) < 2**62 for value in arguments):
        raise PickleRefused("a range is made in an unknown way")
    made = range(*arguments)
    if len(made) > MAX_RANGE:
        raise PickleRefused(f"a range of {len(made)} numbers")
    return made


def _pandas_index(kind: Any, parts: Any) -> Any:
    """The numbers of a pandas Index or RangeIndex."""
    if not isinstance(kind, Name) or type(parts) is not dict:
        raise PickleRefused("a pandas index is made in an unknown way")
    if kind.name == "RangeIndex":
        return _range(parts.get("start"), parts.get("stop"), parts.get("step"))
    return parts.get("data")


_NAMES = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    "__builtin__ bytes": "no_bytes",
    "builtins bytes": "no_bytes",
    **{f"{module} {name}": "set" for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{f"{module} {name}": "range" for module in ("builtins", "__builtin__") for name in ("range", "xrange")},
    "pandas.core.indexes.base _new_Index": "_new_Index",
    "pandas.core.indexes.base Index": "Index",
    "pandas.core.indexes.range RangeIndex": "RangeIndex",
    "pandas Index": "Index",
    "pandas RangeIndex": "RangeIndex",
    **{f"pandas.core.indexes.numeric {kind}": "Index" for kind in ("Int64Index", "UInt64Index", "NumericIndex")},
    **{f"numpy.{core}.multiarray {name}": name for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
    **{f"numpy.{core}.numeric _frombuffer": "_frombuffer" for core in ("core", "_core")},
}


def _refuse_call(*_: Any) -> Any:
    raise PickleRefused("an array is made in an unknown way")


_CALLS: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "dtype": _dtype,
    "encode": _encode,
    "no_bytes": _no_bytes,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "ndarray": _refuse_call,
    "set": _set,
    "range": _range,
    "_new_Index": _pandas_index,
    "Index": _refuse_call,
    "RangeIndex": _refuse_call,
}
