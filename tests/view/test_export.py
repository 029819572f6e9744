"""The page without a server: a folder, one .html."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from covaria.errors import InvalidInput, RefusedOutput
from covaria.explorer.run_files import RunFiles
from covaria.tree import Tree
from covaria.view import export as exporting
from covaria.view.export import export, one_page


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def files_only(finished: Tree, tmp_path: Path) -> Iterator[str]:
    """The address of an exported folder on a server that knows nothing."""
    export(RunFiles(finished.out), tmp_path / "page")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "page")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def opened(chromium: Any, address: str, folder: Path) -> None:
    """It shows what was found, moves through the cloud, and keeps a selection, asking nobody."""
    context = chromium.new_context(viewport={"width": 1000, "height": 700}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    said: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    tab.get_by_role("heading", name="2 components of motion confirmed").wait_for()
    tab.get_by_role("link", name="Explore", exact=True).click()
    tab.get_by_role("button", name="cluster 2").click()
    tab.get_by_text("of 300 particles").wait_for()
    assert tab.get_by_role("button", name="Save particles").count() == 0
    with tab.expect_download() as coming:
        tab.get_by_role("button", name="Save selection").click()
    coming.value.save_as(folder / "selection.json")
    assert "cluster in (2,)" in (folder / "selection.json").read_text()
    assert said == []
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    context.close()


def test_a_folder_for_any_web_server(chromium: Any, files_only: str, tmp_path: Path) -> None:
    opened(chromium, files_only, tmp_path)


def test_one_file_from_a_disk(chromium: Any, finished: Tree, tmp_path: Path) -> None:
    export(RunFiles(finished.out), tmp_path / "page.html")
    opened(chromium, (tmp_path / "page.html").as_uri(), tmp_path)


def test_a_name_in_it_is_no_markup(copied: Tree) -> None:
    target = copied.out.with_name("<script>alert(1)<!--")
    copied.out.rename(target)
    text = one_page(RunFiles(target)).decode()
    assert "<script>alert" not in text.partition("<script type=")[0]


def test_what_is_there_stays(finished: Tree, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(RefusedOutput, match="is there already"):
        export(RunFiles(finished.out), tmp_path / "page")


def test_too_many_for_one_file(finished: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_IN_ONE", 299)
    with pytest.raises(InvalidInput, match="300 particles are too many for one"):
        export(RunFiles(finished.out), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_a_hole_is_not_exported(copied: Tree, tmp_path: Path) -> None:
    copied.eigenvolume(0).unlink()
    with pytest.raises(InvalidInput, match="eigen_pos0000"):
        export(RunFiles(copied.out), tmp_path / "page")
    assert not (tmp_path / "page").exists()
