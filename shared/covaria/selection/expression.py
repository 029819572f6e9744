"""`--where "contrast > 0.5 and micrograph != 'x.mrc'"`: a condition on columns, read by rules, never evaluated as code.

Python's grammar, of which only comparisons, and / or / not, + - * /, in, numbers, texts and names of columns are known.
A comparison with NaN (a particle that was left out) is false.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput

LONGEST = 4000
EXAMPLE = "for example: contrast > 0.5 and cluster in (1, 3)"

Values = NDArray[Any]
Columns = Mapping[str, Values]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """A condition that was read; `columns` are the names that it needs."""

    text: str
    tree: ast.expr
    columns: frozenset[str]

    def rows(self, columns: Columns) -> NDArray[np.bool_]:
        """(N,) where the condition holds. Raises InvalidInput for a comparison that has no meaning."""
        try:
            with np.errstate(all="ignore"):
                found = _Reader(self.text, columns).value(self.tree)
        except RecursionError:
            raise InvalidInput(f"{self.text[:60]!r}... is nested too deeply", hint="use a selection file") from None
        if not isinstance(found, np.ndarray) or found.dtype != np.bool_:
            raise InvalidInput(f"{self.text!r} is no condition", hint=EXAMPLE)
        return found


def read_expression(text: str) -> Expression:
    """Read a condition. Raises InvalidInput where it is none."""
    if len(text) > LONGEST:
        raise InvalidInput(f"a condition of {len(text)} characters", hint=f"at most {LONGEST}; use a selection file")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InvalidInput(f"{text!r} cannot be read as a condition", hint=EXAMPLE) from None
    return Expression(text, tree, names)


def _as_float(whole: int) -> float:
    """The nearest float; infinite beyond the largest."""
    try:
        return float(whole)
    except OverflowError:
        return np.inf if whole > 0 else -np.inf


class _Reader:
    """Walks a condition over the columns."""

    def __init__(self, text: str, columns: Columns) -> None:
        self.text, self.columns = text, columns

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                found = [self._condition(one) for one in values]
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return join.reduce(found)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self._condition(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](self._number(left), self._number(right))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = zip(sides[:-1], ops, sides[1:], strict=True)
                return np.logical_and.reduce([self._compare(a, op, b) for a, op, b in pairs])
            case ast.Name(id=name):
                return self.columns[name]
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() as whole) if not -(2**63) <= whole < 2**64:
                return _as_float(whole)
            case ast.Constant(value=int() | float() | str() as constant):
                return constant
        raise self._unknown(node)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> NDArray[np.bool_]:
        first = self.value(left)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List):
                raise self._unknown(right)
            alike = [self._alike(operator.eq, first, self.value(one)) for one in right.elts]
            inside = np.asarray(np.logical_or.reduce([np.zeros(np.shape(first), bool), *alike]))
            return inside if isinstance(op, ast.In) else ~inside
        if type(op) not in _COMPARE:
            raise self._unknown(left)
        return self._alike(_COMPARE[type(op)], first, self.value(right))

    def _alike(self, compare: Callable[[Any, Any], Any], first: Any, second: Any) -> NDArray[np.bool_]:
        kinds = {np.asarray(side).dtype.kind in "USO" for side in (first, second)}
        if len(kinds) > 1:
            raise InvalidInput(f"{self.text!r} compares a number with a text", hint="texts stand in quotes")
        return np.asarray(compare(first, second), dtype=bool)

    def _condition(self, node: ast.expr) -> NDArray[np.bool_]:
        found = self.value(node)
        if not isinstance(found, np.ndarray) or found.dtype != np.bool_:
            raise InvalidInput(f"{self.text!r}: and, or, not join conditions", hint=EXAMPLE)
        return found

    def _number(self, node: ast.expr) -> Any:
        found = self.value(node)
        if np.asarray(found).dtype.kind not in "iuf":
            raise InvalidInput(f"{self.text!r} calculates with what is no number", hint=EXAMPLE)
        return np.asarray(found, dtype=np.float64)  # whole numbers would come round at their end

    def _unknown(self, node: ast.expr) -> InvalidInput:
        what = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
        return InvalidInput(f"{what!r} is not known in a condition", hint=EXAMPLE)
