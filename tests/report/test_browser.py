"""The report in a real browser: no word in its console, no request, something to see."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from covaria import plots
from covaria.findings import Component, Findings
from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.tree import Tree, record

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_opens_without_network_and_without_a_word_in_the_console(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "out")
    tree.state.mkdir(parents=True)
    request = Request(out=tree.out, ingest=IngestOptions(particles=Path("particles.star")))
    record.write_request(tree, job_id="j", command="run", command_line="covaria run", stages=STAGES, request=request)
    component = Component(z_score=8.0, share=1.0)
    record.write_findings(tree, "reconstruction", Findings(tested=4, used=9, components=(component,)))
    plots.plot_eigenvalues(tree.eigenvalues_plot, [9.0, 1, 1, 1], 1, None, 3.0, 32, [8.0, 1, -1, -2])
    plots.plot_fsc(tree.mean_fsc_plot, np.linspace(1, 0, 15), 3.0, 32)
    record.refresh(tree)
    picture = tmp_path / "shown.png"
    assert BROWSER is not None
    told = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}", "--window-size=1100,2200", tree.report.as_uri(),
        ],
        capture_output=True, text=True, timeout=240, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "CONSOLE" not in told.stderr
    shown = imread(picture)[..., :3]
    assert shown.shape[:2] == (2200, 1100)
    blue = np.abs(shown - np.array([0, 0x72 / 255, 0xB2 / 255])).max(-1) < 0.02
    assert blue.sum() > 5000, "the bar of the confirmed component"
