"""The map on the card: what it is coloured by, what a frame costs, an atomic model in it, pictures and movies of it."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_pages import Client, Watched
from matplotlib.image import imread

from covaria.cli import application
from covaria.errors import InvalidInput, MissingFile
from covaria.explorer.run_files import RunFiles
from covaria.tree import Tree

VIEW = "const painter = document.querySelector('canvas.map').painter, view = painter.view;"
SIDE = 100
PIXELS = """const {gl} = view, pixels = new Uint8Array(4 * SIDE * SIDE);
  painter.canvas.width = painter.canvas.height = SIDE;
  const shot = (rough) => { view.clear(); view.draw(painter.look, 0, 0, SIDE, SIDE, rough);
    gl.readPixels(0, 0, SIDE, SIDE, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return btoa(String.fromCharCode(...pixels)); };""".replace("SIDE", str(SIDE))


@pytest.fixture(scope="module")
def window(chromium: Any, serving: Callable[..., Client], finished: Tree) -> Iterator[Watched]:
    watched = Watched(chromium, serving(finished.out.parent))
    watched.screen("explore")
    watched.tab.get_by_text("Atomic model, picture, movie").click()
    yield watched
    assert watched.said == []
    watched.context.close()


def pixels(window: Watched, before: str, rough: str = "false") -> np.ndarray:
    """(SIDE, SIDE, 3) of the map, from below."""
    found = window.tab.evaluate(f"() => {{ {VIEW} {PIXELS} {before}; return shot({rough}); }}")
    return np.frombuffer(base64.b64decode(found), np.uint8).reshape(SIDE, SIDE, 4)[..., :3] / 255


@pytest.mark.parametrize("paint", ["motion", 1])
def test_colours_are_what_they_say(window: Watched, finished: Tree, paint: str | int) -> None:
    run = RunFiles(finished.out)
    found = window.tab.evaluate(
        f"([z, paint]) => {{ {VIEW} view.at(z, paint); return [...view.read(1)]; }}", [[0.4, -1], paint]
    )
    cut = [run.maps.cut(one, 64) for one in run.maps.whole]
    expected = np.sqrt(cut[1] ** 2 + cut[2] ** 2) if paint == "motion" else cut[2]
    assert np.abs(np.reshape(found, expected.shape) - expected).max() < 0.02 * np.abs(expected).max()


def test_what_is_passed_over_holds_no_surface(window: Watched) -> None:
    """Rays leap over blocks in which the sum cannot reach the level: the picture is the one without leaps."""
    for z, level in (([0, 0], 1.0), ([1.5, -1], 0.6), ([-2, 2], 1.5)):
        place = f"painter.look.level = view.maps.level * {level}; view.at({z})"
        leaping = pixels(window, place)
        plain = pixels(window, f"{place}; view.fields[view.chosen].bound.fill(1e9); view.fields[view.chosen].told = ''")
        assert (leaping.min(-1) < 0.99).mean() > 0.02, "there is something to see"
        assert (np.abs(leaping - plain).max(-1) > 0.1).mean() < 0.002
        window.tab.evaluate(
            f"() => {{ {VIEW} view.fields[view.chosen].added = ''; painter.look.level = view.maps.level; }}"
        )


def test_a_rough_frame_shows_the_same(window: Watched) -> None:
    whole, rough = (pixels(window, "view.at([1, 0.5])", which) for which in ("false", "true"))
    assert np.abs(whole - rough).mean() < 0.01


def test_what_a_frame_costs(window: Watched, finished: Tree) -> None:
    """One draw call for four layers, one for the rays, one byte a block to the card, nothing from the server."""
    size = RunFiles(finished.out).described["maps"]["levels"][0]["size"]
    asked = len(window.asked)
    calls, uploaded = window.tab.evaluate(f"""() => {{ {VIEW}
      view.use(false); view.calls = view.uploaded = 0;
      for (let n = 0; n < 10; n++) {{ view.at([n / 10, -n / 20]); view.draw(painter.look, 0, 0, 100, 100, true); }}
      return [view.calls / 10, view.uploaded / 10]; }}""")
    assert calls == -(-size[2] // 4) + 1
    assert uploaded == np.prod([-(-side // 4) for side in size])
    assert len(window.asked) == asked


def backbone(middle: np.ndarray, count: int = 6) -> list[np.ndarray]:
    return [middle + np.array([3.8 * (n - (count - 1) / 2), 0, 0]) for n in range(count)]


def pdb(places: list[np.ndarray], chain: str = "A") -> str:
    lines = [
        f"ATOM  {n:5d}  CA  ALA {chain}{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        for n, (x, y, z) in enumerate(places, 1)
    ]
    return "\n".join(
        [*lines, "HETATM  999 CA    CA B 999       0.000   0.000   0.000  1.00  0.00          CA", "END", ""]
    )


def cif(places: list[np.ndarray]) -> str:
    names = ("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "auth_asym_id")
    fields = (*names, "Cartn_x", "Cartn_y", "Cartn_z")
    rows = [f"ATOM {n} C CA . ALA A {x:.3f} {y:.3f} {z:.3f}" for n, (x, y, z) in enumerate(places, 1)]
    sugar = 'ATOM 99 C "C5\'" . A Z 1.0 2.0 3.0'
    return "\n".join(["data_x", "loop_", *(f"_atom_site.{name}" for name in fields), *rows, sugar, "#", ""])


def chosen(window: Watched, name: str, text: str) -> None:
    window.tab.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
    )


@pytest.mark.parametrize(("name", "written"), [("model.pdb", pdb), ("model.cif", cif)])
def test_an_atomic_model_lies_where_its_map_is(
    window: Watched, finished: Tree, name: str, written: Callable[[list[np.ndarray]], str]
) -> None:
    maps = RunFiles(finished.out).described["maps"]
    middle = np.full(3, maps["box"] / 2 * maps["pixel_angstrom"])
    aside = np.array([30.0, -20.0, 25.0])
    chosen(window, name, written(backbone(middle + aside)))
    window.tab.get_by_text("backbone of 6 residues in 1 chain.").wait_for()
    window.tab.wait_for_timeout(300)
    found = pixels(window, "painter.look.level = 1e9; view.at([0, 0])")
    window.tab.evaluate(f"() => {{ {VIEW} painter.look.level = view.maps.level; }}")
    rows, columns = np.nonzero(found.min(-1) < 0.95)
    right, up, _ = np.array(maps["axes"]) @ aside / maps["reach_angstrom"]
    assert len(rows) > 8
    assert np.allclose([2 * columns.mean() / SIDE - 1, 2 * rows.mean() / SIDE - 1], [right, up], atol=0.03)
    window.tab.get_by_role("button", name="Take the model away").click()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("model.pdb", "ATOM      1  CA  ALA A   1      nonsense\n", "line 1: the coordinates are no numbers"),
        ("model.pdb", "HEADER\n", "holds no C-alpha and no phosphorus"),
        ("model.cif", "data_x\nloop_\n_atom_site.id\n1\n", "holds no C-alpha and no phosphorus"),
        ("model.txt", "", "is no atomic model"),
    ],
)
def test_a_bad_model_is_told(window: Watched, name: str, text: str, words: str) -> None:
    chosen(window, name, text)
    window.tab.get_by_text(words).wait_for()
    chosen(window, "good.pdb", pdb(backbone(np.full(3, 1e4))))
    window.tab.get_by_text("outside of the map").wait_for()
    window.tab.get_by_role("checkbox", name="move it to the box's centre").check()
    window.until("!document.body.textContent.includes('outside of the map')")
    window.tab.get_by_role("button", name="Take the model away").click()


def test_the_model_that_the_server_was_given(
    chromium: Any, serving: Callable[..., Client], finished: Tree, tmp_path: Path
) -> None:
    (tmp_path / "given.pdb").write_text(pdb(backbone(np.full(3, 128.0))))
    window = Watched(chromium, serving(finished.out.parent, model=tmp_path / "given.pdb"))
    tab = window.screen("explore")
    tab.get_by_text("Atomic model, picture, movie").click()
    tab.get_by_text("given.pdb: backbone of 6 residues").wait_for()
    assert window.said == []
    window.context.close()


def test_a_model_that_is_none_is_refused_at_the_start(finished: Tree, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    (tmp_path / "model.pdb").write_text("no atoms\n")
    for name, error in (("model.pdb", InvalidInput), ("gone.pdb", MissingFile)):
        done = CliRunner().invoke(application(), ["view", str(finished.out), "--model", str(tmp_path / name)])
        assert isinstance(done.exception, error), done.output


def test_pictures_and_movies(window: Watched) -> None:
    tab = window.tab
    tab.set_viewport_size({"width": 400, "height": 300})
    said = {}
    for button, kind in (("Save picture (PNG)", "png"), ("Save movie", "webm"), ("Save its frames (PNG)", "zip")):
        tab.get_by_label("movie of").select_option("component 1, -2 to 2 sd")
        with tab.expect_download() as coming:
            tab.get_by_role("button", name=button).click()
        assert coming.value.suggested_filename.endswith(kind)
        said[kind] = Path(coming.value.path()).read_bytes()
    assert imread(io.BytesIO(said["png"])).std() > 0.05
    assert said["webm"][:4] == bytes.fromhex("1a45dfa3") and len(said["webm"]) > 5000
    with zipfile.ZipFile(io.BytesIO(said["zip"])) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 60
        first, quarter = (imread(io.BytesIO(archive.read(archive.namelist()[k]))) for k in (0, 15))
    assert first.shape == quarter.shape and (np.abs(first - quarter).max(-1) > 0.1).mean() > 0.005
