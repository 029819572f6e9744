"""`run.view()`: the widget's own script in a real browser, its messages answered by the widget itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_browser import Asked

import covaria
from covaria.explorer.run_files import RunFiles
from covaria.tree import Tree
from covaria.view.widget import RunView

Answers = Callable[[dict[str, Any]], list[Any]]
NOTEBOOK = """async code => {
  const heard = new Map(), values = {};
  const model = {
    get: name => values[name],
    set: (name, value) => { values[name] = value; },
    save_changes: () => window.changed(JSON.stringify(values)),
    on: (event, called) => heard.set(event, called),
    off: event => heard.delete(event),
    send: async content => {
      const [answer, bytes] = await window.kernel(content);
      const buffers = bytes === null ? [] : [new DataView(Uint8Array.from(atob(bytes), c => c.charCodeAt(0)).buffer)];
      heard.get("msg:custom")?.(answer, buffers);
    },
  };
  const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const el = document.body.appendChild(document.createElement("div"));
  window.end = module.default.render({ model, el });
}"""


@pytest.fixture
def answers(finished: Tree, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What the widget says to a message of the browser: [answer, bytes or None]."""
    widget, said = covaria.open(finished.out).view(), []
    monkeypatch.setattr(RunView, "send", lambda _, content, buffers=None: said.append((content, buffers)))

    def ask(content: dict[str, Any]) -> list[Any]:
        widget._handle_custom_msg(content, [])
        answer, buffers = said.pop()
        return [answer, None if buffers is None else base64.b64encode(buffers[0]).decode()]

    return ask


@pytest.fixture
def notebook(chromium: Any, answers: Answers) -> Iterator[tuple[Asked, list[dict[str, Any]]]]:
    """A page with the widget, and the values that it has set."""
    window, changes = Asked(chromium), []
    window.tab.expose_function("kernel", answers)
    window.tab.expose_function("changed", lambda text: changes.append(json.loads(text)))
    window.tab.evaluate(NOTEBOOK, str(RunView._esm))
    yield window, changes
    assert window.said == []
    window.context.close()


def test_the_screens_in_a_notebook(notebook: tuple[Asked, list[dict[str, Any]]], finished: Tree) -> None:
    (window, changes), tab = notebook, notebook[0].tab
    cloud, shown = tab.locator("canvas.cloud"), tab.locator("canvas.map")
    tab.get_by_text("64³ voxels").wait_for()
    cloud.hover(position={"x": 60, "y": 60})
    tab.wait_for_timeout(500)
    first = window.picture(shown)
    cloud.hover(position={"x": 300, "y": 300})
    tab.wait_for_timeout(500)
    assert (np.abs(window.picture(shown) - first).max(-1) > 0.1).mean() > 0.005
    assert len(changes[-1]["point"]) == 2 and any(changes[-1]["point"])
    tab.get_by_role("button", name="cluster 1").click()
    tab.get_by_text("of 300 particles").wait_for()
    assert json.loads(changes[-1]["selection_json"]) == {"kind": "where", "expression": "cluster in (1,)"}
    for screen, heading in (("Overview", "2 components"), ("States", "States and paths"), ("Quality", "Quality")):
        tab.get_by_role("button", name=screen, exact=True).click()
        tab.get_by_role("heading", name=heading).first.wait_for()
    assert window.asked == [url for url in window.asked if url.startswith(("about:", "blob:", "data:"))]
    tab.evaluate("window.end()")
    assert tab.locator("canvas").count() == 0


def test_a_selection_comes_back(finished: Tree) -> None:
    run = covaria.open(finished.out)
    view = run.view()
    assert view.selection is None
    view.set_state({"selection_json": '{"kind": "where", "expression": "cluster in (1,)"}', "point": [0.5, 1.0]})
    assert view.selection is not None and len(run.select(view.selection)) == len(run.cluster(1))
    assert run.volume(run.point(*view.point, zdim=3)).values.shape == (32, 32, 32)


@pytest.mark.parametrize("name", ["../first/job.json", "columns/z9.u16", "maps/7_0.rgba", 3, None])
def test_other_files_are_refused(answers: Answers, name: object) -> None:
    answer, content = answers({"id": 7, "name": name})
    assert answer["id"] == 7 and answer["message"] and content is None


def test_the_same_bytes_as_the_page(answers: Answers, finished: Tree) -> None:
    _, content = answers({"id": 1, "name": "columns/z1.u16"})
    assert base64.b64decode(content) == RunFiles(finished.out).read("columns/z1.u16")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(covaria.errors.InvalidInput, match="not an output directory"):
        RunView(tmp_path)
