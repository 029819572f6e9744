"""A selection as a small JSON that the command and the page share: conditions, joined by and, or, not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE
from covaria.plain import explain

MAX_BYTES = 256 << 20
Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Row = Annotated[int, Field(ge=0)]


class _Condition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(_Condition):
    """Rows for which an expression holds."""

    kind: Literal["where"] = "where"
    expression: Annotated[str, Field(min_length=1, max_length=4000)]


class Box(_Condition):
    """Rows whose columns lie between bounds, both included."""

    kind: Literal["box"] = "box"
    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    low: tuple[Number, ...]
    high: tuple[Number, ...]

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if not len(self.columns) == len(self.low) == len(self.high):
            raise ValueError("needs one low and one high bound for each column")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("has a low bound above the high one")
        return self


class Polygon(_Condition):
    """Rows inside a closed line in the plane of two columns; one that crosses itself is refused."""

    kind: Literal["polygon"] = "polygon"
    columns: tuple[Name, Name]
    points: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=3, max_length=100_000)]


class _Nearness(_Condition):
    """So many rows, or all within a distance."""

    columns: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    count: Annotated[int, Field(ge=1)] | None = None
    within: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.count is None) == (self.within is None):
            raise ValueError("needs either a count or a distance (within)")
        return self


class Near(_Nearness):
    """The rows nearest to a point of some columns."""

    kind: Literal["near"] = "near"
    point: tuple[Number, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.point) != len(self.columns):
            raise ValueError("needs a point with one coordinate for each column")
        return self


class Along(_Nearness):
    """The rows nearest to a line through points of some columns."""

    kind: Literal["along"] = "along"
    points: Annotated[tuple[tuple[Number, ...], ...], Field(min_length=2, max_length=100_000)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(len(point) != len(self.columns) for point in self.points):
            raise ValueError("needs points with one coordinate for each column")
        return self


class Rows(_Condition):
    """Rows by number, from 0, in the input file's order."""

    kind: Literal["rows"] = "rows"
    rows: tuple[Row, ...]


class Sample(_Condition):
    """So many of a selection's rows, drawn by a seed."""

    kind: Literal["sample"] = "sample"
    count: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    of: Selection


class All(_Condition):
    """Rows in every one of the selections."""

    kind: Literal["and"] = "and"
    of: Annotated[tuple[Selection, ...], Field(min_length=1, max_length=1000)]


class Any(_Condition):
    """Rows in at least one of the selections."""

    kind: Literal["or"] = "or"
    of: Annotated[tuple[Selection, ...], Field(min_length=1, max_length=1000)]


class Not(_Condition):
    """Rows in use that a selection does not hold."""

    kind: Literal["not"] = "not"
    of: Selection


Selection = Annotated[
    Where | Box | Polygon | Near | Along | Rows | Sample | All | Any | Not,
    Field(discriminator="kind"),
]
for _model in (Sample, All, Any, Not):
    _model.model_rebuild()
_SELECTION: TypeAdapter[Selection] = TypeAdapter(Selection)


def read_selection(path: Path) -> Selection:
    """The selection in a JSON file. Raises MissingFile, InvalidInput."""
    with ANYWHERE.open(path, most_bytes=MAX_BYTES) as file:
        content = file.read()
    try:
        return _SELECTION.validate_json(content)
    except (ValidationError, RecursionError) as error:
        raise InvalidInput(
            f"is no selection: {explain(error).message}", file=path, hint="see docs/selections.md"
        ) from None


def selection_json(selection: Selection) -> bytes:
    """The selection as `read_selection` reads it."""
    return _SELECTION.dump_json(selection, indent=2, exclude_none=True) + b"\n"
