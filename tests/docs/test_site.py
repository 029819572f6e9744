"""The site builds, and a link to what is not there fails the build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(config: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(target)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})


def test_every_page_and_link_of_the_site(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "guide" / "faq" / "index.html").read_text()
    assert "Nothing confirmed" in page
    fetched = [word for word in page.split('"') if word.startswith("http") and word.endswith((".css", ".js"))]
    assert fetched == [], "nothing is fetched from elsewhere"


def test_a_broken_link_or_anchor_fails(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nnav: [README.md]\n")
    for text, words in (("[a](b.md)", "'b.md', but the target is not found"), ("[a](#b)", "no such anchor")):
        (tmp_path / "docs" / "README.md").write_text(f"# Page\n\n{text}\n")
        done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert done.returncode != 0 and words in done.stderr, done.stderr
