"""The part of the page that moves: the cloud, and the map at the cursor, in the reader's own browser.

Its script is built from shared/covaria/view/page and is the only one that the page's policy lets run; its data are
text that cannot become markup. Where no script runs, or nothing can be drawn, a picture stands there.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from covaria.report.picture import Picture

SCRIPT = Path(__file__).parent / "static" / "explore.js"
NAME = re.compile(r"[a-z0-9_./]{1,80}", re.IGNORECASE)
CONTENT = re.compile(r"[A-Za-z0-9+/]*={0,2}")
MOST_FILES = 200


@dataclass(frozen=True)
class Live:
    """data: JSON, names -> packed bytes as base64, made by `checked`; still: what stands there without a script."""

    data: str
    still: Picture | None


def checked(content: bytes) -> str | None:
    """plots/explore.json as text that is safe within a page; None where it holds anything else."""
    try:
        files = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(files, dict) or not 0 < len(files) <= MOST_FILES:
        return None
    for name, packed in files.items():
        if not NAME.fullmatch(name) or not isinstance(packed, str) or not CONTENT.fullmatch(packed):
            return None
    return json.dumps(files, separators=(",", ":"))


@cache
def script() -> str:
    """What runs in the page. Raises ValueError for one that would end early in it."""
    text = SCRIPT.read_text()
    if "</script" in text.lower():
        raise ValueError("the report's script would end early in a page")
    return text


def policy(*, live: bool) -> str:
    """What the page may do: show what it holds, and run the one script."""
    ours = f"script-src 'sha256-{b64encode(sha256(script().encode()).digest()).decode()}'; " if live else ""
    return f"default-src 'none'; {ours}img-src data: blob:; style-src 'unsafe-inline'"


def block(live: Live) -> Iterator[str]:
    """The part, before the script has found it."""
    yield '<h2>Move through it</h2><div id="covaria-explore">'
    if live.still is not None:
        words = escape(live.still.caption)
        yield f'<figure><img alt="{words}" src="{live.still.source}"><figcaption>{words}</figcaption></figure>'
    yield (
        '<p class="quiet">A picture: here the map follows the cursor where this file is opened in a browser that lets '
        "it run and draws with WebGL 2.</p></div>"
        f'<script type="application/json" id="covaria-data">{live.data}</script>'
    )
