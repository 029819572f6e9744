"""report.html: honest first line, everything from outside harmless, bounded, from whatever is left in OUT."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from covaria.findings import Component, Findings, State
from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.report import MOST_FOR_ONE

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 500
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
EVIL = "<script>alert('x')</script>\u202e\x1b[31m"
COMPONENT = Component(z_score=7.25, share=1.0)


class Markup(HTMLParser):
    """Tags in order, addresses, the text of the first heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.texts.setdefault(self.tags[-1], data)


def make(out: Path, findings: Findings | None, status: str = "succeeded", **more: Any) -> Tree:
    """An OUT whose books say that every stage has the status given."""
    tree = Tree(out)
    tree.state.mkdir(parents=True)
    request = Request(out=out, ingest=IngestOptions(particles=Path("particles.star")))
    line = more.pop("command_line", "covaria run particles.star -o out")
    record.write_request(tree, job_id="j", command="run", command_line=line, stages=STAGES, request=request)
    for stage in STAGES:
        tree.stage_dir(stage).mkdir(parents=True)
        record.write_stage_state(tree, stage, {"status": status, **more})
    if findings is not None:
        record.write_findings(tree, "reconstruction", findings)
    return tree


def written(tree: Tree) -> str:
    record.refresh(tree)
    return tree.report.read_text()


@pytest.mark.parametrize(
    ("findings", "status", "first"),
    [
        (Findings(used=9, tested=10, components=(COMPONENT,)), "succeeded", "1 component of motion confirmed"),
        (Findings(used=9, tested=10), "succeeded", "No motion was found"),
        (Findings(used=9, particles=9), "succeeded", "No motion was looked for"),
        (Findings(used=9, tested=10), "failed", "This run failed."),
        (None, "running", "This run is not finished"),
        (Findings(), "queued", "This run is not finished"),
        (Findings(), "cancelled", "This run was cancelled."),
    ],
)
def test_the_first_line_says_what_matters_most(tmp_path: Path, findings: Findings, status: str, first: str) -> None:
    markup = Markup(written(make(tmp_path / "out", findings, status)))
    assert markup.texts["h1"].startswith(first)
    body = markup.tags[markup.tags.index("body") :]
    assert body[:3] == ["body", "main", "h1"], "nothing stands before it"


def test_an_error_and_its_remedy_stand_beneath(tmp_path: Path) -> None:
    error = {"type": "InvalidInput", "message": "row 7 holds nonsense", "hint": "mend it"}
    text = written(make(tmp_path / "out", None, "failed", error=error))
    assert "row 7 holds nonsense mend it" in text


def test_everything_that_was_found_is_there(tmp_path: Path) -> None:
    states = (State(name="center000", particles=1234, share=0.75, resolution_angstrom=7.25),
              State(name="center001", particles=411, share=0.25))  # fmt: skip
    findings = Findings(
        particles=2000, used=1645, resolution_angstrom=5.5, tested=10, components=(COMPONENT,), states=states,
        warnings=("one direction of view",), set_aside={"empty": 12},
    )  # fmt: skip
    tree = make(tmp_path / "out", findings)
    analysis = AnalysisTree(tree.analysis(10))
    for path in (tree.mean_fsc_plot, tree.eigenvalues_plot, analysis.density_plot, analysis.state_picture(0)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    text = written(tree)
    for words in (
        "1,645 of 2,000 particles used", "Mean map: 5.5", "Warning: one direction of view", "12 particles set aside",
        "<td>7.2</td><td>100.0 %</td>", "1,234", "75.0 %", "7.2 Å", "analysis_10/kmeans/center000.mrc",
        "covaria run particles.star -o out", "output/plots/mean_fsc.png", "analysis_10/plots/density/density.png",
        "ingest.particles",
    ):  # fmt: skip
        assert words in text, words
    assert len(Markup(text).addresses) == 4
    assert "report.html" in record.job_document(tree)["outputs"]["report"]


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    tree = make(tmp_path / EVIL.replace("/", "_"), Findings(warnings=(EVIL,)), command_line=f"covaria run {EVIL}")
    record.write_notes(tree, "ingest", [EVIL])
    tree.eigenvalues_plot.parent.mkdir(parents=True)
    tree.eigenvalues_plot.with_suffix(".svg").write_bytes(SVG)
    text = written(tree)
    markup = Markup(text)
    assert "script" not in markup.tags and "\u202e" not in text and "\x1b" not in text
    assert text.count("&lt;script&gt;") >= 3
    assert markup.addresses and all(address.startswith("data:image/") for address in markup.addresses)
    assert "default-src 'none'" in text, "a browser would fetch nothing even if asked to"


def test_what_cannot_be_shown_is_named(tmp_path: Path) -> None:
    tree = make(tmp_path / "out", Findings())
    tree.plots.mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    tree.mean_fsc_plot.symlink_to(secret)
    tree.noise_plot.write_bytes(PNG + bytes(MOST_FOR_ONE))
    tree.mask_plot.write_bytes(b"not a picture")
    text = written(tree)
    assert not Markup(text).addresses
    for path in (tree.mean_fsc_plot, tree.noise_plot, tree.mask_plot):
        assert path.name in text.split("Not shown", 1)[1]


def test_it_stays_below_fifteen_megabytes(tmp_path: Path) -> None:
    states = tuple(State(name=f"center{k:03d}", particles=1, share=0.01) for k in range(100))
    tree = make(tmp_path / "out", Findings(tested=1, components=(COMPONENT,), states=states))
    analysis = AnalysisTree(tree.analysis(10))
    analysis.state_picture(0).parent.mkdir(parents=True)
    for number in range(100):
        analysis.state_picture(number).write_bytes(PNG + bytes(300_000))
    assert 13e6 < len(written(tree)) < 15e6


def test_files_that_have_gone_are_missed(tmp_path: Path) -> None:
    known = {f"model/{name}": {"size": 1, "sha256": "0" * 64} for name in "abcdefg"}
    tree = make(tmp_path / "out", Findings(), files=known)
    tree.model.mkdir()
    (tree.model / "a").write_text("1")
    text = written(tree)
    assert "not there any more" in text and "model/b" in text and "and 19 more" in text
    assert "<code>model/a</code>" not in text


def test_paths_of_any_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out-\udcff"
    assert "\\udcff" in written(make(out, Findings()))


def test_no_address_leads_out(tmp_path: Path) -> None:
    assert not re.search(r"https?://", written(make(tmp_path / "out", Findings())))
