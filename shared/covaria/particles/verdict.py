"""Can this file be run, and what does it need?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from covaria.particles.plausible import LEAST_IMAGES


def verdict(summary: Mapping[str, Any]) -> dict[str, Any]:
    """{ready, needs, text} of what `inspect` found: one sentence, "ready to run" or "needs --datadir ..."."""
    needs = list(_needs(summary))
    if needs:
        text = "needs " + "; and ".join(needs)
    else:
        count = len(summary["doubts"])
        text = "ready to run" + (f"; look at {count} doubt{'s' if count > 1 else ''} below first" if count else "")
    return {"ready": not needs, "needs": needs, "text": text}


def _needs(summary: Mapping[str, Any]) -> Iterator[str]:
    missing, stacks = summary["missing"], summary["stacks"]
    if missing["stacks"]:
        yield (
            f"--datadir FOLDER: {stacks['missing']} of {stacks['named']} image stacks are not found "
            f"(the first: {missing['stacks'][0]})"
        )
    if missing["poses"]:
        yield f"poses, from the file of a refinement or by --poses FILE.pkl (missing: {', '.join(missing['poses'])})"
    alone = [name for name in missing["ctf"] if name not in missing["poses"]]
    if alone:
        yield f"a CTF, by --ctf FILE.pkl, --passthrough FILE.cs or --no-ctf (missing: {', '.join(alone)})"
    if summary["in_use"] < 2 * LEAST_IMAGES:
        yield f"more particles: {summary['in_use']} in use, each half-set needs {LEAST_IMAGES}"
