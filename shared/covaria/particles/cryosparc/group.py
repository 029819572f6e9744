"""cryoSPARC's group descriptions (.csg), which name the files to give instead."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots

MAX_BYTES = 2**20


def group_description(path: Path, roots: Roots = ANYWHERE) -> InvalidInput:
    """The refusal of a .csg, with the .cs files that it names."""
    names: list[str] = []
    with suppress(InvalidInput, OSError), roots.open(path, most_bytes=MAX_BYTES) as file:
        text = file.read().decode("utf-8", errors="replace")
        names = list(dict.fromkeys(re.findall(r"metafile:\s*['\"]?>?([^\s'\"]+\.cs)", text)))
    main = [name for name in names if "passthrough" not in name]
    others = [name for name in names if "passthrough" in name]
    words = " ".join([*main[:1], *(f"--passthrough {name}" for name in others)]) or "the .cs files beside it"
    return InvalidInput(
        "is a description of a group of files, not a table of particles", file=path, hint=f"give {words}"
    )
