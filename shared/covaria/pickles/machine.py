"""The interpreter: a stack, a memo and one method for each kind of opcode that data need."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from covaria.pickles.arrays import ArrayPlace, Dtype, Name, PickleRefused, build, call, named

MAX_OPERATIONS = 100_000_000
MAX_DEPTH = 16


class Mark:
    """Where a list, tuple or dictionary on the stack begins."""


_MARK = Mark()


class Machine:
    """A stack, a memo and one method for each kind of opcode."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.most_values = 2 * len(data)  # a value takes a byte at least; some may stand in two places
        self.most_bytes = 2 * len(data)  # a file of protocol 2 passes bytes through text first
        self.made_bytes = self.met = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the stream describes. Raises PickleRefused, and what a damaged stream makes Python raise."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self.data)):
            if count > MAX_OPERATIONS:
                raise PickleRefused("too many operations")
            name = opcode.name
            if name == "STOP":
                if len(self.stack) != 1:
                    raise PickleRefused("damaged: values left over")
                return self.finished(self.stack[0])
            if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise PickleRefused(f"operation {name} is not allowed")
        raise PickleRefused("damaged: no end")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleRefused("damaged: mark out of place")
        return value

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise PickleRefused("damaged: no mark")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def drop(self, _: Any) -> None:
        self.stack.pop()

    def drop_to_mark(self, _: Any) -> None:
        self.since_mark()

    def remember(self, place: int | None) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleRefused("damaged: nothing to remember")
        self.memo[len(self.memo) if place is None else int(place)] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise PickleRefused("damaged: appending to something that is no list")
        target.extend(values)

    def add(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise PickleRefused("damaged: adding to something that is no set")
        target.update(values)

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)][::-1]
        self.stack.append(tuple(values))

    def stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(named(f"{module} {name}"))

    def put(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise PickleRefused("damaged: setting items of something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if type(key) not in (str, int):
                raise PickleRefused(f"a dictionary's key is a {type(key).__name__}; text or a whole number is data")
            target[key] = value

    def dictionary(self, _: Any) -> None:
        pairs = self.since_mark()
        self.stack.append({})
        self.put(pairs)

    def reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        self.stack.append(self._counted(call(function, arguments)))

    def build(self, _: Any) -> None:
        state, target = self.pop(), self.pop()
        build(target, state)
        self.stack.append(self._counted(target))

    def _counted(self, made: Any) -> Any:
        """Arrays hold no more than the file does: one piece of it cannot be used for many."""
        array = made.value if isinstance(made, ArrayPlace) else None
        self.made_bytes += len(made) if isinstance(made, bytes) else 0 if array is None else array.nbytes
        if self.made_bytes > self.most_bytes:
            raise PickleRefused("its arrays are larger than the file")
        return made

    def finished(self, value: Any, depth: int = 0) -> Any:
        """The value with places for arrays replaced by their arrays."""
        self.met += 1
        if self.met > self.most_values or depth > MAX_DEPTH:
            raise PickleRefused("values nested too deeply, or within themselves")
        if isinstance(value, ArrayPlace):
            if value.value is None:
                raise PickleRefused("an array without content")
            return value.value
        if type(value) is dict:
            return {key: self.finished(item, depth + 1) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.finished(item, depth + 1) for item in value)
        if isinstance(value, Name | Dtype | Mark):
            raise PickleRefused("a name instead of data")
        return value


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": lambda m, _: m.stack.append(_MARK),
    "POP": Machine.drop,
    "POP_MARK": Machine.drop_to_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "LIST": lambda m, _: m.stack.append(m.since_mark()),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "DICT": Machine.dictionary,
    "SETITEM": lambda m, _: m.put([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.put(m.since_mark()),
    "EMPTY_SET": lambda m, _: m.stack.append(set()),
    "ADDITEMS": lambda m, _: m.add(m.since_mark()),
    "FROZENSET": lambda m, _: m.stack.append(set(m.since_mark())),
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
    "GLOBAL": lambda m, name: m.stack.append(named(name)),
    "STACK_GLOBAL": Machine.stack_global,
    "REDUCE": Machine.reduce,
    "BUILD": Machine.build,
}
