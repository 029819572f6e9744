"""Pickles read without running anything: an interpreter for the few opcodes that data need.

Python's own unpickler calls whatever a file names. This one has a fixed table of names (numpy's array constructors in
all their spellings), builds arrays itself from checked parts, and knows no other way to call anything.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from covaria.errors import InvalidInput

MAX_BYTES = 4 * 2**30
MAX_OPERATIONS = 100_000_000
_DTYPE = re.compile(r"[<>|=]?(b1|\?|[iu][1248]|f[248])")


class Refused(Exception):
    """The stream asks for something that data do not need."""


@dataclass(frozen=True)
class _Name:
    name: str


@dataclass
class _Dtype:
    text: str
    order: Literal["<", ">", "=", "|"] = "="

    def numpy(self) -> np.dtype:
        dtype = np.dtype(self.text)
        return dtype.newbyteorder(self.order) if self.order in "<>" and dtype.itemsize > 1 else dtype


@dataclass
class _Array:
    value: np.ndarray | None = None


class _Mark:
    pass


_MARK = _Mark()


def load_pickle(path: Path, *, shown: Path | None = None) -> Any:
    """The data in a pickle of any protocol: None, bool, int, float, str, bytes, list, tuple, numpy arrays and numbers.

    Raises InvalidInput for anything else; nothing that the file names is ever run.
    """
    shown = shown or path
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InvalidInput(
            f"{size} bytes is more than such a file can need ({MAX_BYTES})", file=shown, hint="check what it holds"
        )
    try:
        return parse_pickle(path.read_bytes())
    except Refused as reason:
        raise InvalidInput(
            f"is refused as a pickle: {reason}",
            file=shown,
            hint="only numpy arrays, lists, tuples and numbers are read; write it again with those",
        ) from None


def parse_pickle(data: bytes) -> Any:
    """As `load_pickle`, from bytes. Raises Refused."""
    try:
        return _finished(_Machine().run(data))
    except Refused:
        raise
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        UnicodeError,
        MemoryError,
    ) as error:
        raise Refused(f"damaged or not a pickle ({str(error)[:100] or type(error).__name__})") from None


class _Machine:
    """A stack, a memo and one method for each kind of opcode."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > MAX_OPERATIONS:
                raise Refused("too many operations")
            name = opcode.name
            if name == "STOP":
                if len(self.stack) != 1:
                    raise Refused("damaged: values left over")
                return self.stack[0]
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Refused(f"operation {name} is not allowed")
        raise Refused("damaged: no end")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Refused("damaged: mark out of place")
        return value

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise Refused("damaged: no mark")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def drop(self, _: Any) -> None:
        self.stack.pop()

    def drop_to_mark(self, _: Any) -> None:
        self.since_mark()

    def remember(self, place: int | None) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise Refused("damaged: nothing to remember")
        self.memo[len(self.memo) if place is None else int(place)] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused("damaged: appending to something that is no list")
        target.extend(values)

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(values))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_named(f"{module} {name}"))

    def reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or type(arguments) is not tuple:
            raise Refused("it calls something that is not numpy's")
        self.stack.append(_CALLS[function.name](*arguments))

    def build(self, _: Any) -> None:
        state, target = self.pop(), self.pop()
        if isinstance(target, _Dtype):
            _set_dtype(target, state)
        elif isinstance(target, _Array):
            _set_array(target, state)
        else:
            raise Refused(f"it sets the state of {type(target).__name__}")
        self.stack.append(target)


def _named(full: str) -> _Name:
    if full not in _NAMES:
        raise Refused(f"it asks for {full.replace(' ', '.', 1)[:100]}, which data never need")
    return _Name(_NAMES[full])


def _reconstruct(kind: Any, shape: Any, _: Any) -> _Array:
    if kind != _Name("ndarray") or shape != (0,):
        raise Refused("an array is made in an unknown way")
    return _Array()


def _dtype(text: Any, *_: Any) -> _Dtype:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise Refused(f"an array of {str(text)[:40]!r}, which is no plain number")
    return _Dtype(text)


def _set_dtype(target: _Dtype, state: Any) -> None:
    if (
        type(state) is not tuple
        or len(state) < 5
        or state[2:5] != (None, None, None)
        or state[1] not in ("<", ">", "|", "=")
    ):
        raise Refused("a number type with parts that plain numbers do not have")
    target.order = state[1]


def _set_array(target: _Array, state: Any) -> None:
    if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], _Dtype):
        raise Refused("damaged array")
    _, shape, dtype, fortran, content = state
    target.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: _Dtype, shape: Any, order: str) -> np.ndarray:
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, bytes | bytearray) or type(shape) is not tuple or len(shape) > 8:
        raise Refused("damaged array")
    if not all(type(side) is int and side >= 0 for side in shape) or order not in ("C", "F"):
        raise Refused("damaged array")
    kind = dtype.numpy()
    count = 1
    for side in shape:
        count *= side
    if count * kind.itemsize != len(content):
        raise Refused(f"an array of shape {shape} with {len(content)} bytes")
    result: np.ndarray = np.frombuffer(content, kind).reshape(shape, order=order).astype(kind.newbyteorder("="))  # type: ignore[call-overload]
    return result


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    if not isinstance(dtype, _Dtype):
        raise Refused("damaged array")
    return _Array(_array(content, dtype, shape, order))


def _scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise Refused("damaged number")
    return _array(content, dtype, (), "C")[()]


def _encode(text: Any, codec: Any) -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise Refused("text in an unknown encoding")
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    """Old protocols write an empty byte string as a call of `bytes` with nothing."""
    if arguments:
        raise Refused("bytes are made in an unknown way")
    return b""


def _finished(value: Any, depth: int = 0) -> Any:
    """The value with array placeholders replaced. Two levels are enough for a tuple or list of arrays or numbers."""
    if isinstance(value, _Array):
        if value.value is None:
            raise Refused("an array without content")
        return value.value
    if type(value) in (list, tuple):
        if depth > 1:
            raise Refused("lists nested too deeply")
        return type(value)(_finished(item, depth + 1) for item in value)
    if isinstance(value, _Name | _Dtype | _Mark):
        raise Refused("a name instead of data")
    return value


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    ]
)
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": _Machine.drop,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "PUT": lambda m, place: m.remember(place),
    "BINPUT": lambda m, place: m.remember(place),
    "LONG_BINPUT": lambda m, place: m.remember(place),
    "MEMOIZE": lambda m, _: m.remember(None),
    "GET": lambda m, place: m.stack.append(m.memo[int(place)]),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "GLOBAL": lambda m, name: m.stack.append(_named(name)),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
_NAMES = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    "__builtin__ bytes": "no_bytes",
    "builtins bytes": "no_bytes",
    **{f"numpy.{core}.multiarray {name}": name for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
    **{f"numpy.{core}.numeric _frombuffer": "_frombuffer" for core in ("core", "_core")},
}


def _refuse_call(*_: Any) -> Any:
    raise Refused("an array is made in an unknown way")


_CALLS: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "dtype": _dtype,
    "encode": _encode,
    "no_bytes": _no_bytes,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "ndarray": _refuse_call,
}
