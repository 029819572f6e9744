"""A job from a flat table of parameters, as recipes and other systems' registrations have it.

`particles` names the set; `reconstruction.zdim` or `zdim` an option; proposal, visit, instrument, sample whose it is;
what identifies it in the other system (dcid, program_id, ...) comes back in every event, in `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from covaria.errors import InvalidInput
from covaria.messages.envelope import first_problem
from covaria.messages.work import JobClass
from covaria.operations.out_template import fill
from covaria.plain import printable
from covaria.request.model import Request
from covaria.request.options import declared, keyword_of, option_of
from covaria.request.origin import Origin

ORIGIN = {"microscope": "instrument", **{name: name for name in Origin.model_fields if name != "metadata"}}
"""Parameter -> field of the origin."""
IDENTIFIERS = (
    "guid", "recipe_ID", "dcid", "dcg_id", "program_id", "autoproc_program_id", "processing_job_id", "session_id",
    "tag", "picker_id", "particle_classification_group_id",
)  # fmt: skip
PARTICLES, OUT, CLASS, POOL, METADATA = "particles", "out", "job_class", "pool", "metadata."
MOST = 200


@dataclass(frozen=True)
class Wanted:
    """What a table of parameters asks for."""

    request: Request
    origin: Origin
    job_class: JobClass
    pool: str = ""


def read_parameters(given: Mapping[str, Any], template: str, roots: Sequence[Path]) -> Wanted:
    """Raises InvalidInput that names the parameter. A value may be text, as recipes have it."""
    if len(given) > MOST:
        raise InvalidInput(f"{len(given)} parameters, at most {MOST} are read", hint="send what Covaria needs")
    options, origin, labels, job_class = _options(), dict[str, Any](), dict[str, str](), "bulk"
    document: dict[str, Any] = {}
    pool = ""
    for name, value in given.items():
        if value in (None, "", "None"):
            continue
        if name == CLASS:
            job_class = str(value)
        elif name == POOL:
            pool = _word(name, value)
        elif name in ORIGIN:
            origin[ORIGIN[name]] = _word(name, value)
        elif name in IDENTIFIERS or name.startswith(METADATA):
            labels[name.removeprefix(METADATA)] = _word(name, value)
        elif name in options or name == OUT:
            _put(document, options.get(name, OUT), value)
        else:
            raise InvalidInput(
                f"no parameter {printable(str(name)[:64])!r}",
                hint=f"an option of docs/options.md, {', '.join(ORIGIN)}, {', '.join(IDENTIFIERS)}, or {METADATA}NAME",
            )
    return replace(_whole(document, {**origin, "metadata": labels}, job_class, template, roots), pool=pool)


def _whole(
    document: dict[str, Any], whose: dict[str, Any], job_class: str, template: str, roots: Sequence[Path]
) -> Wanted:
    if job_class not in ("live", "bulk"):
        raise InvalidInput(f"job_class is {printable(job_class[:64])!r}", hint="live or bulk")
    try:
        origin = Origin.model_validate(whose)
        particles = document.get("ingest", {}).get(PARTICLES)
        if particles is None:
            raise InvalidInput("no particles are named", hint="the parameter `particles`: a STAR or .cs file")
        if OUT not in document:
            if not template:
                raise InvalidInput("no output folder is named", hint="the parameter `out`, or COVARIA_OUT_TEMPLATE")
            document[OUT] = fill(template, Path(str(particles)), origin, roots)
        return Wanted(Request.model_validate(document), origin, cast(JobClass, job_class))
    except ValidationError as error:
        raise InvalidInput(first_problem(error), hint="docs/options.md lists every option and its bounds") from None


def _options() -> dict[str, str]:
    """What a parameter may be called -> part.field: with its part, or alone as Python and the command line call it."""
    found = dict[str, str]()
    for name, field in declared(Request).items():
        option = option_of(field)
        if name not in (OUT, "overwrite") and option is not None:
            found |= {name: name, keyword_of(name, option): name}
    return found


def _put(document: dict[str, Any], name: str, value: Any) -> None:
    part, _, field = name.rpartition(".")
    if isinstance(value, str) and "tuple" in str(declared(Request)[name].annotation):
        value = [word.strip() for word in value.strip("[]() ").split(",")]
    (document.setdefault(part, {}) if part else document)[field] = value


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise InvalidInput(f"{name} is neither a word nor a number", hint="send it as text")
    return str(value)
