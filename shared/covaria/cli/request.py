"""From a command's options to a Request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from covaria.cli.options import Chosen
from covaria.cli.together import refuse_contradictions
from covaria.errors import InvalidInput
from covaria.request.model import Request
from covaria.request.options import Part
from covaria.request.paths import INPUTS, absolute
from covaria.request.stages import STAGES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

P = TypeVar("P", bound=Part)

SAYINGS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_long": "may have at most {max_length} characters",
    "too_long": "may have at most {max_length} entries",
    "too_short": "needs at least {min_length} entries",
    "value_error": "{error}",
    "extra_forbidden": "is not known to this version",
}
"""What a refusal of the models means, in a person's words."""


def build_request(
    out: Path, options: Chosen, stored: Mapping[str, Any] | None = None, stages: Sequence[str] = STAGES
) -> Request:
    """A Request for `stages` from a command's options, over an earlier run's request where there is one.

    What was not said is then as it was in that run. Raises InvalidInput for a value that the models refuse, and for
    options that cannot work together.
    """
    document: dict[str, Any] = {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in (stored or {}).items()
    }
    document |= {"out": out, "overwrite": False}
    document.setdefault("ingest", {})
    for option, value in (options.given if stored is not None else options.values).items():
        part, _, field = option.rpartition(".")
        (document.setdefault(part, {}) if part else document)[field] = value
    request = checked(Request, document, options.flags)
    refuse_contradictions(request, options.given, options.flags, stages)
    return absolute(request, INPUTS)


def checked(model: type[P], document: Mapping[str, Any], flags: Mapping[str, str], part: str = "") -> P:
    """`document` as a part of a request. Raises InvalidInput that names the option."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _refusal(error.errors()[0], flags, part) from None


def stored_request(out: Path) -> dict[str, Any]:
    """What an earlier command asked for in OUT. Raises InvalidInput where OUT is not Covaria's."""
    from covaria.tree import Tree, record

    found = record.read_request(Tree(out))
    if found is None:
        raise InvalidInput(
            "is not an output directory of Covaria", file=out, hint="run `covaria ingest PARTICLES -o OUT` first"
        )
    stored: dict[str, Any] = found["request"]
    return stored


def stored_with_motion(out: Path) -> dict[str, Any]:
    """The same of an OUT in which motion was looked for. Raises InvalidInput where that was left out."""
    stored = stored_request(out)
    if stored.get("reconstruction", {}).get("only_mean"):
        raise InvalidInput(
            "holds the mean map alone: no motion was looked for",
            file=out,
            hint=f"`covaria reconstruct {shlex.quote(str(out))} --no-only-mean --overwrite` first",
        )
    return stored


def _refusal(problem: ErrorDetails, flags: Mapping[str, str], part: str) -> InvalidInput:
    names = [part] if part else []
    names += [word for word in problem["loc"] if isinstance(word, str)]
    option = next(
        (flag for end in range(len(names), 0, -1) if (flag := flags.get(".".join(names[:end])))), ".".join(names)
    )
    context, found = problem.get("ctx", {}), problem["input"]
    says = SAYINGS[problem["type"]].format(**context) if problem["type"] in SAYINGS else problem["msg"]
    hint = "see --help"
    if problem["type"] == "multiple_of" and isinstance(found, int):
        lower = found - found % context["multiple_of"]
        hint = f"the nearest are {lower:g} and {lower + context['multiple_of']:g}"
    return InvalidInput(f"{option}: {says}; found {str(found)[:200]!r}", hint=hint)
