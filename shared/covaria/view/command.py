"""From what a form says to the command line that runs: options as the request declares them, every path looked at."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from covaria.errors import InvalidInput
from covaria.opening import OutsideRoots, Roots
from covaria.plain import explain
from covaria.request.model import Request
from covaria.request.options import Option, declared, leaf_types, option_of
from covaria.request.paths import named_paths

FIRST = ("ingest.downsample", "reconstruction.zdim", "reconstruction.focus_mask", "analysis.n_clusters", "seed")
"""The five options that are asked first; the rest is folded."""
NOT_ASKED = ("out", "ingest.particles", "overwrite", "analysis.output")
OFF = "no"
"""What a form says for an option's flag that says no: --no-downsample."""
START = "from covaria.cli import main; main()"


def options() -> list[dict[str, Any]]:
    """Every option of a run as a form shows it, the first ones first."""
    found = [(name, field, option_of(field)) for name, field in declared(Request).items() if name not in NOT_ASKED]
    shown = [_described(name, field, option) for name, field, option in found if option is not None]
    return sorted(shown, key=lambda one: FIRST.index(one["name"]) if one["name"] in FIRST else len(FIRST))


def arguments(particles: Path, out: Path, said: Mapping[str, str], roots: Roots) -> list[str]:
    """What follows `covaria run`: the options of a form (part.field -> text). Raises InvalidInput, OutsideRoots."""
    fields, words = declared(Request), []
    document: dict[str, Any] = {"out": out, "ingest": {"particles": particles}}
    for name, text in said.items():
        option = option_of(fields[name]) if name in fields and name not in NOT_ASKED else None
        if option is None:
            raise InvalidInput(f"no option {name!r}", hint="reload the page")
        words += _words(name, option, text, truth=leaf_types(fields[name]) == [bool])
        part, _, field = name.rpartition(".")
        (document.setdefault(part, {}) if part else document)[field] = _value(fields[name], text)
    try:
        request = Request.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(explain(error).message, hint="mend it in the form") from None
    for _, path, _ in named_paths(request):
        refuse_outside(path, roots)
    return [str(particles), "-o", str(out), *words]


def stored(request: Request) -> dict[str, str]:
    """What an earlier run was asked, as a form says it: only what differs from the defaults."""
    found = {}
    for name, field in declared(Request).items():
        part, _, leaf = name.rpartition(".")
        value = getattr(getattr(request, part) if part else request, leaf)
        if name in NOT_ASKED or value == field.get_default(call_default_factory=True):
            continue
        found[name] = OFF if value is None else ",".join(map(str, value)) if isinstance(value, tuple) else _text(value)
    return found


def process(command: str, words: list[str]) -> list[str]:
    """A process that runs `covaria COMMAND WORDS` with this Python."""
    return [sys.executable, "-c", START, command, *words]


def refuse_outside(path: Path, roots: Roots) -> None:
    """Raises OutsideRoots; InvalidInput for a path that is not absolute."""
    if not path.is_absolute():
        raise InvalidInput("is not an absolute path", file=path, hint="choose it from the list")
    if not roots.allows(path):
        raise OutsideRoots("lies outside the folders that may be used", file=path, hint="choose it from the list")


def _described(name: str, field: FieldInfo, option: Option) -> dict[str, Any]:
    default = field.get_default(call_default_factory=True)
    words = ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else _text(default)
    has_off = bool(option.help and option.off)
    return {
        "name": name,
        "flag": option.off if not option.help else _flag(name, option),
        "help": f"{option.help} {OFF}: {option.off_help}" if has_off else option.help or option.off_help,
        "panel": option.panel or "",
        "default": words,
        "truth": leaf_types(field) == [bool],
        "first": name in FIRST,
    }


def _flag(name: str, option: Option) -> str:
    own = option.name or name.rpartition(".")[2]
    return option.flags[-1] if option.flags else "--" + own.replace("_", "-")


def _words(name: str, option: Option, text: str, *, truth: bool) -> list[str]:
    flag = _flag(name, option)
    if not truth:
        return [option.off] if text == OFF and option.off else [f"{flag}={text}"]
    if text not in ("true", "false"):
        raise InvalidInput(f"{flag} is {text!r}", hint="true or false")
    if text == "true":
        return [flag] if option.help else []
    return [option.off or flag.replace("--", "--no-", 1)]


def _value(field: FieldInfo, text: str) -> object:
    if leaf_types(field) == [bool]:
        return text == "true"
    option = option_of(field)
    if text == OFF and option is not None and option.off:
        return None
    default = field.get_default(call_default_factory=True)
    return text.split(",") if isinstance(default, tuple) else text


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
