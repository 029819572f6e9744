"""What was found, in words that fit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from covaria.findings import Component, Findings, Motion, State, together
from covaria.tree import Tree, record


def found(count: int, **more: Any) -> Findings:
    shares = [0.7, 0.3] if count == 2 else [1.0] * count
    components = tuple(Component(z_score=9.0 - k, share=share) for k, share in enumerate(shares))
    return Findings(particles=1000, used=980, tested=10, components=components, **more)


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (Findings(), "Nothing is known yet"),
        (Findings(used=10, particles=10), "No motion was looked for"),
        (found(0), "No motion was found"),
        (found(1), "1 component of motion confirmed"),
        (found(2), "2 components of motion confirmed"),
    ],
)
def test_the_headline_says_what_was_found(findings: Findings, words: str) -> None:
    assert findings.headline().startswith(words)
    assert findings.lines()[0] == findings.headline()


def test_every_number_has_its_line() -> None:
    states = (State(name="center000", particles=300, share=0.3, resolution_angstrom=7.25),
              State(name="center001", particles=680, share=0.7, resolution_angstrom=6.5))  # fmt: skip
    text = "\n".join(
        found(
            2, resolution_angstrom=5.55, states=states, set_aside={"empty": 12, "none": 0}, warnings=("one view",)
        ).lines()
    )
    for words in (
        "980 of 1,000 particles used", "12 particles set aside: empty", "5.5 Å", "70 % (z = 9.0), 30 % (z = 8.0)",
        "2 maps at centres", "300 to 680 particles", "6.5 to 7.2 Å", "Warning: one view",
    ):  # fmt: skip
        assert words in text
    assert "aside: none" not in text


def reckoned(*seen: tuple[float, float | None, float]) -> Findings:
    """Of all motions tried, those of (mass, way, population) would have been seen."""
    tried = [(m, w, p) for m in (0.05, 0.15, 0.3) for w in (None, 2.0, 6.0) for p in (0.1, 0.3, 0.5)]
    return found(0, sensitivity=tuple(
        Motion(mass=m, way_angstrom=w, population=p, probability=0.95 if (m, w, p) in seen else 0.2)
        for m, w, p in tried
    ))  # fmt: skip


def test_it_says_what_would_have_been_seen() -> None:
    words = "\n".join(reckoned((0.15, 6.0, 0.3), (0.15, 2.0, 0.5), (0.3, 2.0, 0.3), (0.3, None, 0.3)).lines())
    assert "a part of 15 % of the mass that moves by 6 Å in 30 % of the particles" in words
    assert "a part of 30 % of the mass that is missing in 30 % of them" in words
    assert "in 50 % of the particles" in reckoned((0.3, 6.0, 0.5)).lines()[2]
    assert "None of the motions that were tried would have been seen" in "\n".join(reckoned().lines())
    assert "would have been seen" not in "\n".join(found(0).lines())


def test_stages_add_their_parts(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    record.write_findings(tree, "reconstruction", found(1, warnings=("first",), set_aside={"empty": 3}))
    record.write_findings(tree, "analysis", Findings(states=(State(name="center000", particles=4, share=1),)))
    whole = record.read_findings(tree)
    assert whole.confirmed == 1
    assert whole.states[0].particles == 4
    assert whole.warnings == ("first",)
    assert json.loads(tree.stage_findings("analysis").read_text()).keys() == {"states", "seal"}, (
        "a stage says what it knows"
    )
    assert together([]) == Findings()


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError):
        Findings(resolution_angstrom=float("nan"))


@pytest.mark.parametrize(("value", "kept"), [(1.0000000000000007, 1.0), (-1e-16, 0.0), (0.25, 0.25)])
def test_a_share_is_one_however_its_parts_were_rounded(value: float, kept: float) -> None:
    assert Component(z_score=5.0, share=value).share == kept


@pytest.mark.parametrize("value", [1.001, -0.001, float("nan")])
def test_what_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        Component(z_score=5.0, share=value)
