"""What an option says of itself, and the types of paths: the words in which all that can be asked for is declared.

A field of a request is a number, a word, a truth value, a part of the request, or a path that says its kind. Any other
declaration fails where its class is made, so no path can be asked for that a service does not look at.
"""

from __future__ import annotations

import types
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema
from pydantic.fields import FieldInfo

READING, MODEL, ENSEMBLE, RUNNING = "Reading the particles", "The model", "States and density", "Running"
"""The panels of --help."""

MAX_PATH, MAX_NAME = 4096, 255
"""Characters of a path, bytes of one name in it: Linux's limits."""

LABEL = "[A-Za-z][A-Za-z0-9.-]{0,63}"
"""What a person may call one of several results."""


class Kind(StrEnum):
    """What becomes of a path."""

    INPUT_FILE = "input file"
    """Read; its size and time are part of the job's identity, its sum is recorded."""
    INPUT_FOLDER = "input folder"
    """Searched for files that an input file names."""
    OUTPUT = "output"
    """Written."""


@dataclass(frozen=True)
class Option:
    """A field as a person meets it.

    name      the parameter, where the field's own would be ambiguous; the long option is made from it
    flags     the options, where not `--name`
    off       the option that says no: False, or None for a value
    argument  given by its position
    """

    help: str
    panel: str | None = None
    _: KW_ONLY
    name: str = ""
    flags: tuple[str, ...] = ()
    off: str = ""
    off_help: str = ""
    metavar: str | None = None
    argument: bool = False


class Part(BaseModel):
    """A group of options. A path that does not say its kind, or a field without Option, raises TypeError here."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            _look_through(f"{cls.__name__}.{name}", field.annotation, tuple(field.metadata))
            if part_of(field) is None and option_of(field) is None:
                raise TypeError(f"{cls.__name__}.{name} has no Option(help, panel)")


def option_of(field: FieldInfo) -> Option | None:
    """What the field says of itself."""
    return next((item for item in field.metadata if isinstance(item, Option)), None)


def part_of(field: FieldInfo) -> type[Part] | None:
    """The group of options that the field holds, if it holds one."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Part) else None


def path_kind(field: FieldInfo) -> Kind | None:
    """The kind of the field's paths, None where it holds none."""
    kinds = [mark for _, marks in _leaves(field.annotation, tuple(field.metadata)) for mark in marks]
    return next((mark for mark in kinds if isinstance(mark, Kind)), None)


@cache
def paths_and_parts(part: type[Part]) -> dict[str, Kind | None]:
    """Of a part's fields those that lead to a path: the kind of it, None for a part."""
    kinds = {name: path_kind(field) for name, field in part.model_fields.items()}
    return {name: kinds[name] for name, field in part.model_fields.items() if kinds[name] or part_of(field)}


def leaf_types(field: FieldInfo) -> list[Any]:
    """The types of the field's values: without None, without the tuple around them."""
    return [leaf for leaf, _ in _leaves(field.annotation, ()) if leaf is not types.NoneType]


def keyword_of(name: str, option: Option) -> str:
    """How Python names the option `name` (part.field): as the command line does, without dashes and without "no"."""
    return option.name or (name.rpartition(".")[2] if option.help else option.off.removeprefix("--no-"))


def _look_through(where: str, annotation: Any, marks: tuple[Any, ...]) -> None:
    for leaf, own in _leaves(annotation, marks):
        if isinstance(leaf, type) and issubclass(leaf, PurePath):
            if not any(isinstance(mark, Kind) for mark in own):
                raise TypeError(f"{where} is a path of no kind: use InputFile, InputFolder or Output")
        elif get_origin(leaf) is not Literal and not (
            isinstance(leaf, type) and (leaf in (int, float, bool, str, types.NoneType) or issubclass(leaf, Part))
        ):
            raise TypeError(f"{where} is {leaf!r}, in which a path could pass unseen")


def _leaves(annotation: Any, marks: tuple[Any, ...]) -> list[tuple[Any, tuple[Any, ...]]]:
    """(type, the marks on that very type) of all alternatives and items."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _leaves(arguments[0], (*arguments[1:], *(mark for mark in marks if not isinstance(mark, Kind))))
    if origin in (Union, types.UnionType):
        return [leaf for item in arguments for leaf in _leaves(item, ())]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _leaves(arguments[0], ())
    return [(annotation, marks)]


def _bounded(path: Path) -> Path:
    text = str(path)
    if len(text) > MAX_PATH:
        raise ValueError(f"a path of {len(text)} characters, at most {MAX_PATH} are possible")
    if any(len(name.encode(errors="replace")) > MAX_NAME for name in path.parts):
        raise ValueError(f"a name of more than {MAX_NAME} bytes in a path")
    return path


_PATH = (AfterValidator(_bounded), WithJsonSchema({"type": "string", "format": "path", "maxLength": MAX_PATH}))

InputFile = Annotated[Path, Kind.INPUT_FILE, *_PATH]
InputFolder = Annotated[Path, Kind.INPUT_FOLDER, *_PATH]
Output = Annotated[Path, Kind.OUTPUT, *_PATH]


def declared(part: type[Part], prefix: str = "") -> dict[str, FieldInfo]:
    """Every option of `part` and the parts in it: part.field -> its field, in the order of declaration."""
    found: dict[str, FieldInfo] = {}
    for name, field in part.model_fields.items():
        inner = part_of(field)
        found |= {f"{prefix}{name}": field} if inner is None else declared(inner, f"{prefix}{name}.")
    return found
