"""The page's screens in a notebook: one file of the run after the other goes to the browser as a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from pydantic import TypeAdapter

from covaria.errors import CovariaError, InvalidInput
from covaria.explorer.run_files import RunFiles
from covaria.plain import explain
from covaria.selection.model import Selection

SELECTION: TypeAdapter[Selection] = TypeAdapter(Selection)


class RunView(anywidget.AnyWidget):
    """What `run.view()` shows.

    point      where the map stands, in standard deviations along the confirmed components
    selection  what is selected, for `run.select`; None where nothing is

    A change of both can be watched: view.observe(called, "point"), "selection_json".
    """

    _esm = Path(__file__).parent / "notebook" / "widget.js"
    point = traitlets.List(traitlets.Float()).tag(sync=True)
    selection_json = traitlets.Unicode().tag(sync=True)

    def __init__(self, out: Path) -> None:
        """Raises InvalidInput for a folder that is no output directory."""
        self.files = RunFiles(out)
        super().__init__()
        self.on_msg(self._asked)

    @property
    def selection(self) -> Selection | None:
        return SELECTION.validate_json(self.selection_json) if self.selection_json else None

    def _asked(self, _: object, content: Any, __: object) -> None:
        """{id, name} -> {id} and the file's bytes, or {id, message, hint}."""
        if not isinstance(content, dict) or not isinstance(content.get("id"), int):
            return
        answer: dict[str, Any] = {"id": content["id"]}
        try:
            name = content.get("name")
            if not isinstance(name, str):
                raise InvalidInput("no file is named", hint="run the cell again")
            found = self.files.read(name)
        except (CovariaError, OSError) as error:
            told = explain(error)
            self.send(answer | {"message": told.message, "hint": told.hint})
        else:
            self.send(answer, [found])
