"""The guide's notebook, run cell by cell in this process: its output directory is what the other tests open."""

from __future__ import annotations

import json
import os
from pathlib import Path

import matplotlib as mpl
import pytest
import torch

from covaria.figures.drawing import Drawing

NOTEBOOK = Path(__file__).parents[2] / "docs" / "guide" / "python.ipynb"


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory):
    """(folder, the notebook's names): set/, out/, cluster1.star, some.star, state.mrc lie in the folder."""
    folder, names = tmp_path_factory.mktemp("notebook"), {}
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    torch.set_num_threads(1)
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "make", lambda drawing: None)  # figures have tests of their own
        mpl.use("Agg")
        os.chdir(folder)
        try:
            for number, cell in enumerate(cells):
                exec(compile("".join(cell["source"]), f"python.ipynb, code cell {number}", "exec"), names)
        finally:
            os.chdir(before)
            names["plt"].close("all")
    return folder, names
