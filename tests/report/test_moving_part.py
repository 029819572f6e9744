"""The part of report.html that moves: in a real browser without network, bounded, harmless."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_browser import Asked, launched
from covaria_pages import write_run

from covaria.explorer import embedded as embedding
from covaria.explorer.embedded import MOST_BYTES, embedded, packed_files
from covaria.explorer.run_files import RunFiles
from covaria.report.live import checked
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import TruthSet
from covaria.tree import AnalysisTree, Tree, record


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """OUT with a report that moves."""
    options = SimulationOptions(n_images=300, box=32, pixel_size_angstrom=8.0, snr=1.0, seed=2)
    truth = TruthSet.simulated(tmp_path_factory.mktemp("set"), BUILT_IN["plane"](9), options)
    tree = write_run(tmp_path_factory.mktemp("runs") / "out", truth)
    run, analysis = RunFiles(tree.out), AnalysisTree(tree.analysis(3))
    for drawing in (*embedded(run.figures, run.request.ingest, analysis), *run.figures.drawings(analysis)):
        if drawing.target in (analysis.explore, analysis.pca_plot(0)):
            drawing.make()
    record.refresh(tree)
    return tree


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    yield from launched()


def test_the_map_follows_the_cursor_in_the_report_itself(chromium: Any, drawn: Tree) -> None:
    window = Asked(chromium, drawn.report.as_uri())
    tab = window.tab
    cloud, shown = tab.locator("canvas.cloud"), tab.locator("canvas.map")
    cloud.wait_for()
    tab.get_by_text("64³ voxels").wait_for()
    assert tab.locator("#covaria-explore > figure").count() == 0, "the picture has made room"
    pictures = []
    for share in (0.15, 0.85):
        cloud.scroll_into_view_if_needed()
        cloud.hover(position={"x": share * 300, "y": share * 300})
        tab.wait_for_timeout(500)
        pictures.append(window.picture(shown))
    assert 0.005 < (np.abs(pictures[0] - pictures[1]).max(-1) > 0.1).mean() < 0.6
    assert window.said == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in window.asked)
    assert len(tab.pdf()) > 20_000, "it can be printed"
    window.context.close()


def test_without_scripts_a_picture_stands_there(chromium: Any, drawn: Tree) -> None:
    window = Asked(chromium, drawn.report.as_uri(), java_script_enabled=False)
    assert window.tab.locator("#covaria-explore > figure img").is_visible()
    assert window.tab.locator("canvas").count() == 0
    window.context.close()


def test_what_it_holds_are_the_run_s_own_values(drawn: Tree) -> None:
    files = json.loads(AnalysisTree(drawn.analysis(3)).explore.read_text())
    held = {name: gzip.decompress(base64.b64decode(packed)) for name, packed in files.items()}
    run = RunFiles(drawn.out)
    for name in (
        "rows.u32",
        "columns/z1.u16",
        "columns/z1_z2_correlation.u16",
        "columns/cluster.u16",
        "maps/64_0.rgba",
    ):
        assert held[name] == run.read(name), name
    described = json.loads(held["run.json"])
    assert described["sampled"] is None and described["drawn"] == 300
    assert described["states"][2]["z"] == run.described["states"][2]["z"]


def test_of_many_particles_a_sample_is_drawn_and_said(drawn: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MOST_POINTS", 40)
    run = RunFiles(drawn.out)
    files = packed_files(run.figures, run.request.ingest)
    described = json.loads(gzip.decompress(files["run.json"]))
    assert (described["sampled"], described["drawn"]) == (300, 40)
    assert run.cloud is not None
    assert gzip.decompress(files["rows.u32"]) == run.cloud.rows[:40].astype("<u4").tobytes()


def test_300000_particles_and_large_maps_stay_small(drawn: Tree) -> None:
    """The worst that can be held: columns and textures of noise, as many as there may be."""
    rng = np.random.default_rng(0)
    column = len(gzip.compress(rng.integers(0, 65535, embedding.MOST_POINTS, np.uint16).tobytes()))
    columns = embedding.MOST_COMPONENTS + 16 + embedding.MOST_WITH_ERRORS * (embedding.MOST_WITH_ERRORS + 1) // 2
    assert column * columns < 3 * MOST_BYTES // 4
    assert drawn.report.stat().st_size < 15e6


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b"{}", b'{"run.json": 3}', b'{"run.json": "</script><script>alert(1)</script>"}',
        b'{"</script>": "AAAA"}', b"[" * 100_000, b"\xff", json.dumps({str(k): "" for k in range(500)}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_not_shown(drawn: Tree, tmp_path: Path, content: bytes) -> None:
    assert checked(content) is None


def test_a_damaged_part_leaves_the_rest(drawn: Tree) -> None:
    explore = AnalysisTree(drawn.analysis(3)).explore
    kept = explore.read_bytes()
    explore.write_bytes(b'{"run.json": "</script>"}')
    record.refresh(drawn)
    text = drawn.report.read_text()
    explore.write_bytes(kept)
    record.refresh(drawn)
    assert "<script" not in text and "script-src" not in text and "The run" in text
    assert "<script>" in drawn.report.read_text()
