"""The page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_pages import Client, Watched

from covaria.explorer.run_files import RunFiles
from covaria.testing import TruthSet
from covaria.tree import AnalysisTree, Tree
from covaria.view.routes import STATIC

SCREENS = ("runs", "overview", "explore", "states", "quality")
MOST_PAGE_BYTES = 1_000_000
SUM = "z => { const {view} = document.querySelector('canvas.map').painter; view.at(z); return [...view.read()]; }"


@pytest.fixture(scope="module")
def client(serving: Callable[..., Client], finished: Tree) -> Client:
    return serving(finished.out.parent)


@pytest.fixture(scope="module")
def window(chromium: Any, client: Client) -> Iterator[Watched]:
    watched = Watched(chromium, client)
    yield watched
    assert watched.said == []
    watched.context.close()


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) < MOST_PAGE_BYTES


def test_the_map_follows_the_cursor_and_no_frame_asks_the_server(window: Watched) -> None:
    tab = window.screen("explore")
    box = tab.locator("canvas.cloud").bounding_box()
    tab.wait_for_timeout(500)
    asked, pictures = len(window.asked), []
    for u, v in ((0.15, 0.2), (0.85, 0.8)):
        tab.mouse.move(box["x"] + u * box["width"], box["y"] + v * box["height"], steps=4)
        tab.wait_for_timeout(600)
        pictures.append(window.picture(tab.locator("canvas.map")))
    assert len(window.asked) == asked
    assert tab.evaluate("performance.getEntriesByName('map').length") > 6
    changed = np.abs(pictures[0] - pictures[1]).max(-1) > 0.1
    assert 0.005 < changed.mean() < 0.6, "another map, from the same camera"
    origin = f"http://127.0.0.1:{window.client.port}/"
    assert all(url.startswith((origin, "blob:", "data:")) for url in window.asked)


def test_the_card_s_sum_is_the_map(window: Watched, finished: Tree) -> None:
    tab = window.screen("explore")
    run = RunFiles(finished.out)
    point = [1.2, -0.7]
    found = np.array(tab.evaluate(SUM, point))
    cut = [run.maps.cut(one, 64) for one in run.maps.whole]
    expected = cut[0] + point[0] * cut[1] + point[1] * cut[2]
    found = found.reshape(expected.shape)
    inside = run.maps.cut(run.maps.mask, 64) > 0.5
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.9995
    assert np.abs(found - expected).max() < 0.02 * expected.max()


def test_a_lasso_becomes_a_star_file(window: Watched, tmp_path: Path) -> None:
    tab = window.screen("explore")
    tab.get_by_role("button", name="Lasso").click()
    window.drag([(0.05, 0.05), (0.5, 0.05), (0.45, 0.95), (0.05, 0.95), (0.05, 0.1)])
    window.until("document.querySelector('.count').textContent.includes(' of ')")
    count = int(tab.locator(".count").text_content().split()[0].replace(",", ""))
    assert 50 < count < 250
    with tab.expect_download() as coming:
        tab.get_by_role("button", name="Save particles").click()
    coming.value.save_as(tmp_path / "particles.star")
    assert (tmp_path / "particles.star").read_text().count("@particles.mrcs") == count
    with tab.expect_download() as coming:
        tab.get_by_role("button", name="Save selection").click()
    coming.value.save_as(tmp_path / "selection.json")
    assert json.loads((tmp_path / "selection.json").read_text())["kind"] == "polygon"
    tab.get_by_role("button", name="Undo").click()
    assert "Nothing is selected" in tab.locator(".count").text_content()


def test_a_line_that_crosses_itself_is_told(window: Watched) -> None:
    tab = window.screen("explore")
    tab.get_by_role("button", name="Lasso").click()
    window.drag([(0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)])
    assert "crosses itself" in tab.locator("[role=alert]").text_content()
    tab.get_by_role("button", name="Close").click()
    tab.get_by_role("button", name="Look", exact=True).click()


def test_with_the_keyboard_alone(window: Watched) -> None:
    """Move the point, pin it, turn the map, select a range and a cluster, undo."""
    tab = window.screen("explore")
    tab.locator("canvas.cloud").focus()
    before = tab.locator(".slider output").first.text_content()
    for _ in range(6):
        tab.keyboard.press("ArrowRight")
    assert tab.locator(".slider output").first.text_content() != before
    tab.keyboard.press("Enter")
    tab.get_by_text("1 pinned").wait_for()
    tab.locator("canvas.map").focus()
    first = window.picture(tab.locator("canvas.map"))
    for _ in range(4):
        tab.keyboard.press("ArrowLeft")
    tab.wait_for_timeout(500)
    assert np.abs(window.picture(tab.locator("canvas.map")) - first).mean() > 0.002
    tab.get_by_role("spinbutton", name="from").focus()
    tab.keyboard.type("0")
    tab.keyboard.press("Enter")
    window.until("document.querySelectorAll('.terms li').length === 1")
    tab.get_by_role("button", name="cluster 0").focus()
    tab.keyboard.press("Space")
    window.until("document.querySelectorAll('.terms li').length === 2")
    undo = tab.get_by_role("button", name="Undo")
    undo.focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")
    window.until("document.querySelectorAll('.terms li').length === 0")


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_violation(window: Watched, screen: str) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    tab = window.screen(screen)
    for details in tab.locator("details:not([open]) > summary").all():
        details.click()
    tab.wait_for_timeout(300)
    assert violations(tab, Path(axe.__file__).parent) == []


def violations(tab: Any, axe: Path) -> list[Any]:
    tab.evaluate((axe / "axe.min.js").read_text())
    found: list[Any] = tab.evaluate(
        "async () => (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    return found


def test_axe_finds_no_violation_where_runs_are_started(
    chromium: Any, serving: Callable[..., Client], copied: Tree, truth: TruthSet
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    window = Watched(chromium, serving(copied.out.parent, jobs=True))
    tab = window.screen("start", "copy")
    tab.get_by_label("name of the run").fill("new")
    tab.get_by_label("particles").fill(str(truth.folder / "particles.star"))
    tab.get_by_role("button", name="Look at them").click()
    tab.get_by_text("Complete: a run can use it.").wait_for()
    tab.get_by_text("All other options").click()
    tab.get_by_text("covaria run").first.wait_for()
    assert violations(tab, Path(axe.__file__).parent) == []
    assert window.said == []
    window.context.close()


def test_a_run_with_a_hole_shows_the_rest(chromium: Any, serving: Callable[..., Client], copied: Tree) -> None:
    copied.eigenvolume(0).unlink()
    AnalysisTree(copied.analysis(3)).kmeans_result.write_bytes(b"no pickle")
    window = Watched(chromium, serving(copied.out.parent))
    for screen in ("overview", "explore", "states", "quality"):
        tab = window.screen(screen, "copy") if screen != "explore" else window.tab
        if screen == "explore":
            tab.goto(tab.url.replace("overview", "explore"))
        tab.get_by_text("eigen_pos0000").first.wait_for()
    window.until("document.querySelectorAll('svg.plot').length > 3")
    assert window.said == []
    window.context.close()


def test_two_windows_do_not_disturb_each_other(window: Watched) -> None:
    first = window.screen("explore")
    second = window.context.new_page()
    second.goto(first.url)
    for tab, cluster in ((first, 0), (second, 3)):
        tab.get_by_role("button", name=f"cluster {cluster}").click()
        tab.get_by_text(f"cluster {cluster} ").first.wait_for()
    assert first.locator(".terms li").count() == 1 and "cluster 0" in first.locator(".terms").text_content()
    second.close()
    first.get_by_role("button", name="Undo").click()
    first.get_by_text("Nothing is selected").wait_for()


def test_a_stopped_server_loses_nothing(
    chromium: Any, serving: Callable[..., Client], finished: Tree, tmp_path: Path
) -> None:
    client = serving(finished.out.parent)
    window = Watched(chromium, client)
    tab = window.screen("explore")
    tab.get_by_role("button", name="cluster 1").click()
    window.until("document.querySelector('.count').textContent.includes(' of ')")
    client.stop()
    tab.get_by_text("The server does not answer").first.wait_for()
    tab.get_by_role("button", name="Save particles").click()
    tab.get_by_text("`covaria view` again").first.wait_for()
    with tab.expect_download() as coming:
        tab.get_by_role("button", name="Save selection").click()
    coming.value.save_as(tmp_path / "selection.json")
    assert json.loads((tmp_path / "selection.json").read_text())["expression"] == "cluster in (1,)"
    box = tab.locator("canvas.cloud").bounding_box()
    tab.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"], steps=3)
    assert tab.locator(".slider output").first.text_content() != "0.00 sd", "the map still follows"
    window.context.close()
