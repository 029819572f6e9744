"""The page as text. What comes from outside (names, notes, options) passes `safe` and cannot become markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from covaria.findings import Findings
from covaria.plain import printable
from covaria.report import live as moving
from covaria.report.live import Live
from covaria.report.picture import Picture
from covaria.report.style import STYLE

THRESHOLD = 4
"""Of the held-out z-score."""
MOST_NAMED = 5


@dataclass(frozen=True)
class Section:
    """A heading, and the figures beneath it; `missing` are the names of those that could not be shown."""

    title: str
    pictures: tuple[Picture, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class StateRow:
    """A state as the table shows it: where its map lies beneath OUT, and its picture, if there is one."""

    name: str
    particles: int
    share: float
    population: str
    resolution_angstrom: float | None
    volume: str
    picture: Picture | None


def page(
    document: Mapping[str, Any],
    findings: Findings,
    sections: Sequence[Section],
    states: Sequence[StateRow],
    stages: Sequence[Sequence[str]],
    following: Sequence[str],
    gone: Sequence[str] = (),
    live: Live | None = None,
) -> str:
    """The report of a job.json `document`; `stages` rows of a table, `following` the commands that make sense now.

    gone: files that the run wrote and that are not there any more; live: what the reader moves through.
    """
    body = "\n".join(
        [
            *_head(document, findings, gone),
            *_components(findings),
            *(() if live is None else moving.block(live)),
            *(part for section in sections[:2] for part in _section(section)),
            *_states(states),
            *(part for section in sections[2:] for part in _section(section)),
            *_run(document, stages, following),
        ]
    )
    title = safe(f"Covaria: {document['parameters'].get('out', '')}")
    policy = moving.policy(live=live is not None)
    script = "" if live is None else f"<script>{moving.script()}</script>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main>{script}</body></html>\n"
    )


def safe(text: object) -> str:
    """`text` as a reader sees it: nothing of it is markup, nothing of it turns a line around."""
    return escape(printable(str(text)))


def _head(document: Mapping[str, Any], findings: Findings, gone: Sequence[str]) -> Iterator[str]:
    """The headline first: what was found, unless there is something graver to say."""
    headline, *rest = findings.lines()
    error = document.get("error")
    if document["status"] != "succeeded":
        words = {"failed": "This run failed.", "cancelled": "This run was cancelled."}
        first = words.get(document["status"], "This run is not finished: what follows is what is there so far.")
        yield f"<h1>{first}</h1>"
        if error:
            hint = f" {safe(error['hint'])}" if error.get("hint") else ""
            yield f'<p class="warning">{safe(error["message"])}{hint}</p>'
        yield f'<p class="lead">{safe(headline)}</p>'
    else:
        yield f"<h1>{safe(headline)}</h1>"
    yield f'<p class="quiet">{safe(document["parameters"].get("out", ""))}</p>'
    if gone:
        more = f" and {len(gone) - MOST_NAMED} more" if len(gone) > MOST_NAMED else ""
        named = f"{_codes(gone[:MOST_NAMED])}{more}"
        yield f'<p class="warning">Files that the run wrote are not there any more: {named}</p>'
    yield "<ul>" + "".join(_line(line) for line in [*rest, *document.get("notes", [])]) + "</ul>"


def _line(line: str) -> str:
    warning = line.startswith("Warning: ")
    return f'<li class="warning">{safe(line)}</li>' if warning else f"<li>{safe(line)}</li>"


def _components(findings: Findings) -> Iterator[str]:
    if findings.tested is None:
        return
    yield "<h2>Components of motion</h2>"
    yield (
        f"<p>A component counts when each half of the particles predicts the other half better with it than without: "
        f"the held-out z-score of both halves is above {THRESHOLD}. {findings.tested} were looked for.</p>"
    )
    if findings.components:
        rows = [
            (str(number), f"{one.z_score:.1f}", f"{100 * one.share:.1f} %")
            for number, one in enumerate(findings.components, 1)
        ]
        yield _table(("component", "held-out z-score (smaller half's)", "share of the confirmed variance"), rows)


def _states(states: Sequence[StateRow]) -> Iterator[str]:
    if not states:
        return
    yield "<h2>States</h2><p>Maps at the centres of the latent cloud, one level, one camera.</p>"
    yield '<table class="states"><thead><tr><th>state</th><th></th><th>particles</th><th>share</th>'
    yield "<th>population (90 % interval)</th><th>resolution (FSC 1/7)</th><th>map</th></tr></thead><tbody>"
    for row in states:
        shown = "" if row.picture is None else _image(row.picture, row.name)
        resolution = "" if row.resolution_angstrom is None else f"{row.resolution_angstrom:.1f} Å"
        yield (
            f"<tr><td>{safe(row.name)}</td><td>{shown}</td><td>{row.particles:,}</td><td>{100 * row.share:.1f} %</td>"
            f"<td>{safe(row.population)}</td><td>{resolution}</td><td><code>{safe(row.volume)}</code></td></tr>"
        )
    yield "</tbody></table>"


def _section(section: Section) -> Iterator[str]:
    if not section.pictures and not section.missing:
        return
    yield f"<h2>{safe(section.title)}</h2>"
    for picture in section.pictures:
        yield f"<figure>{_image(picture, picture.caption)}<figcaption>{safe(picture.caption)} "
        yield f"<code>{safe(picture.name)}</code></figcaption></figure>"
    if section.missing:
        yield f'<p class="warning">Not shown, because not there, damaged or too large: {_codes(section.missing)}</p>'


def _run(document: Mapping[str, Any], stages: Sequence[Sequence[str]], following: Sequence[str]) -> Iterator[str]:
    yield "<h2>The run</h2>"
    yield f"<pre>{safe(document['command_line'])}</pre>"
    yield _table(("stage", "status", "time", "rate", "memory", "device"), stages)
    if following:
        yield "<h3>Next</h3><pre>" + "\n".join(safe(line) for line in following) + "</pre>"
    facts = {"covaria": document["covaria_version"], **document.get("environment", {})}
    yield "<h3>Versions</h3>" + _table(("what", "version"), [(str(k), _short(v)) for k, v in facts.items()])
    inputs = [(str(one.get("path", "")), str(one.get("size", one.get("size_bytes", "")))) for one in document["inputs"]]
    if inputs:
        yield "<h3>Inputs</h3>" + _table(("file", "bytes"), inputs)
    options = [(name, _short(value)) for name, value in _flat(document["parameters"]) if value not in (None, [], {})]
    yield "<details><summary>All options</summary>" + _table(("option", "value"), options) + "</details>"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield prefix + str(name), item


def _short(value: object, most: int = 300) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= most else text[:most] + " ..."


def _image(picture: Picture, words: str) -> str:
    return f'<img alt="{safe(words)}" src="{picture.source}">'


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{safe(name)}</code>" for name in names)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{safe(name)}</th>" for name in header)
    lines = "".join("<tr>" + "".join(f"<td>{safe(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
