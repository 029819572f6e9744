"""While a run goes on, its mean map can be looked at; with the results it is gone from there."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import numpy as np
import pytest

from covaria.maps import read_volume
from covaria.operations.folder import describe_folder
from covaria.particles import store
from covaria.request.model import Request
from covaria.stage import Job
from covaria.testing import MemoryContext, TruthSet
from covaria.tree import Tree, record
from covaria.view.folder import mean_picture
from covaria_reconstruction.stage import run


def test_the_mean_is_shown_until_the_results_are_there(
    moving: TruthSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = Tree(tmp_path / "out")
    request = Request.model_validate(
        {"out": tree.out, "ingest": {"particles": moving.folder / "particles.star"},
         "reconstruction": {"only_mean": True}}
    )  # fmt: skip
    record.write_request(
        tree, job_id="j", command="run", command_line="covaria run", stages=("ingest",), request=request
    )
    store.save(tree.particles, moving.particles)
    seen = {}

    def look(step: str, done: int, total: int) -> None:
        if step == "results":
            seen["map"] = read_volume(tree.early_mean)
            seen["picture"] = mean_picture(tree)
            seen["report"], seen["drawn"] = (
                tree.report.read_text(),
                tree.early_mean_plot.with_suffix(".svg").read_bytes(),
            )
            seen["told"] = [line for line in describe_folder(tree.out).lines if str(tree.early_mean_plot) in line]

    with caplog.at_level(logging.INFO, logger="covaria.testing"):
        run(Job("j", request), MemoryContext(listen=look))
    assert seen["picture"] == tree.early_mean_plot and len(seen["told"]) == 1
    assert any(str(tree.early_mean_plot) in line for line in caplog.messages)
    assert base64.b64encode(seen["drawn"]).decode() in seen["report"]
    values, pixel = seen["map"]
    final, same = read_volume(tree.mean)
    assert pixel == same
    np.testing.assert_allclose(values, final, atol=1e-6)
    assert not tree.early.exists() and mean_picture(tree) == tree.local_resolution_plot
    assert not any(str(tree.early_mean_plot) in line for line in describe_folder(tree.out).lines)
