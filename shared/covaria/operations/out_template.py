"""Where results go when who asks names no folder: a facility's template, filled from what is known of the job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.plain import printable
from covaria.request.origin import Origin

FIELDS = ("root", "visit", "proposal", "instrument", "sample", "stem", "year")
_FIELD = re.compile(r"\{([a-z]+)\}")


def is_template(text: str) -> bool:
    """Whether a path names a field that can be filled."""
    return any(name in FIELDS for name in _FIELD.findall(text))


def fill(template: str, particles: Path, origin: Origin, roots: Sequence[Path]) -> Path:
    """The output folder of a set of particles: `{root}/{visit}/processed/covaria/{stem}`, say.

    root: which of the allowed folders holds the particles; stem: their file's name without its suffix; year: now, UTC;
    the others as the job's origin gives them. Raises InvalidInput where one is missing or is no name of a folder.
    """
    values = {**origin.words, "stem": particles.stem, "year": str(datetime.now(UTC).year)}
    root = next((root for root in roots if particles.is_relative_to(root)), None)

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in FIELDS:
            raise InvalidInput(f"{template!r}: no field {{{name}}}", hint=f"one of {', '.join(FIELDS)}")
        if name == "root":
            if root is None:
                raise InvalidInput("lies in none of the allowed folders", file=particles, hint="COVARIA_ROOTS")
            return str(root)
        word = values.get(name, "")
        if not word or word in (".", "..") or "/" in word or printable(word) != word:
            found = f"{printable(word)!r} is no name of a folder" if word else "is not given"
            raise InvalidInput(f"{template!r} needs the {name}, which {found}", hint=f"--{name} NAME, or name OUT")
        return word

    out = Path(_FIELD.sub(value, template))
    if not out.is_absolute():
        raise InvalidInput(f"{template!r} does not begin at the top", hint="begin it with {root} or /")
    return out
