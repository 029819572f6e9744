"""A run for a web server that only serves files, or as one .html: for journals, archives, a mail attachment."""

from __future__ import annotations

import json
import shutil
import tempfile
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path

from covaria.errors import InvalidInput, RefusedOutput
from covaria.explorer.run_files import RunFiles
from covaria.plain import printable
from covaria.tree import atomic
from covaria.view.routes import STATIC

MOST_IN_ONE = 50_000
"""Particles in one .html."""
DATA = "data"
_REST = "style-src {style}; img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
POLICY = "default-src 'none'; script-src {script}; " + _REST


def export(run: RunFiles, target: Path) -> int:
    """Write `target`, a new folder or a .html; how many bytes. Raises RefusedOutput, InvalidInput."""
    if target.exists() or target.is_symlink():
        raise RefusedOutput("is there already", file=target, hint="give a new name")
    if run.problems or run.described["problems"]:
        first = run.described["problems"][0]
        raise InvalidInput(f"{first['part']}: {first['message']}", hint=first["hint"] or "mend the run first")
    if target.suffix == ".html":
        content = one_page(run)
        atomic.write_bytes(target, content)
        return len(content)
    return _folder(run, target)


def one_page(run: RunFiles) -> bytes:
    """Everything in one .html that opens from a disk. Raises InvalidInput above MOST_IN_ONE particles."""
    drawn = run.described["drawn"]
    if drawn > MOST_IN_ONE:
        raise InvalidInput(
            f"{drawn:,} particles are too many for one .html ({MOST_IN_ONE:,})", hint="give a folder: --export DIR"
        )
    files = {name: b64encode(run.read(name)).decode() for name in run.names()}
    script, style = (STATIC / "assets" / name for name in ("page.js", "page.css"))
    code, looks = script.read_text(), style.read_text()
    if "</script" in code.lower():
        raise ValueError("the page's script would end early in a .html")
    policy = POLICY.format(script=_hash(code), style=_hash(looks), connect="'none'")
    body = (
        f'<body><div id="page"></div><script type="application/json" id="covaria-data">{json.dumps(files)}</script>'
        f'<script type="module">{code}</script></body></html>\n'
    )
    return (_head(run, policy) + f"<style>{looks}</style></head>{body}").encode()


def _folder(run: RunFiles, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as made:
        whole = Path(made) / "whole"
        shutil.copytree(STATIC, whole)
        policy = POLICY.format(script="'self'", style="'self'", connect="'self'")
        (whole / "index.html").write_text(
            _head(run, policy) + '<meta name="covaria-source" content="files">'
            '<link rel="stylesheet" href="./assets/page.css"><script type="module" src="./assets/page.js"></script>'
            '</head><body><div id="page"></div></body></html>\n'
        )
        for name in run.names():
            path = whole / DATA / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(run.read(name))
        whole.rename(target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _head(run: RunFiles, policy: str) -> str:
    title = escape(printable(run.tree.out.name))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
