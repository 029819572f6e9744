"""A million particles and maps of 128 voxels a side: how long a person waits.

Times are of a machine that draws in software and does nothing else; `make soak` runs this.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_pages import Client, Watched

from covaria.estimation.latents.model import Latents
from covaria.findings import Component, Findings
from covaria.maps import write_volume
from covaria.particles import save
from covaria.particles.model import ContrastTransfer, Particles
from covaria.particles.stacks.images import StackImages
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.results.parameters import write_parameters
from covaria.testing import some_parameters
from covaria.tree import Tree, record

pytestmark = pytest.mark.slow
COUNT, BOX, COMPONENTS = 1_000_000, 128, 4
MOST_DRAW_S, MOST_SUBSET_S = 3.0, 2.0
REGION = [(0.3, 0.3), (0.5, 0.25), (0.6, 0.5), (0.5, 0.7), (0.3, 0.6), (0.28, 0.4)]
HEAD = """data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1 1.0

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnDefocusU #5
_rlnOpticsGroup #6
"""


def write_million(folder: Path) -> Tree:
    """OUT and the STAR file that it was made from."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 360, (COUNT, 3))
    defocus = rng.uniform(8000, 22000, COUNT)
    with (folder / "particles.star").open("w") as file:
        file.write(HEAD)
        for row, ((a, b, c), u) in enumerate(zip(angles.tolist(), defocus.tolist(), strict=True), 1):
            file.write(f"{row:07d}@particles.mrcs {a:.4f} {b:.4f} {c:.4f} {u:.2f} 1\n")
    tree = Tree(folder / "out")
    for made in (tree.volumes, tree.state):
        made.mkdir(parents=True)
    request = Request(
        out=tree.out, ingest=IngestOptions(particles=folder / "particles.star"),
        reconstruction=ReconstructionOptions(zdim=(COMPONENTS,)),
    )  # fmt: skip
    record.write_request(
        tree,
        job_id="j",
        command="run",
        command_line="covaria run",
        stages=("ingest", "reconstruction"),
        request=request,
    )
    zeros = np.zeros(COUNT)
    ctf = ContrastTransfer(defocus, defocus, zeros, zeros + 300, zeros + 2.7, zeros + 0.1, zeros)
    none = np.zeros(COUNT, np.int64)
    stack = StackImages(paths=(folder / "particles.mrcs",), file=none, index=np.arange(COUNT), box=BOX)
    save(tree.particles, Particles(
        request.ingest.particles, BOX, 1.0, np.broadcast_to(np.eye(3), (COUNT, 3, 3)), np.zeros((COUNT, 2)), ctf,
        none, (none % 2).astype(np.int8), none, np.ones(COUNT, bool), stack,
    ))  # fmt: skip
    axis = np.arange(BOX) - BOX / 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")

    def blob(*at: float, width: float = 12.0) -> np.ndarray:
        return np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2) / (2 * width**2)).astype(np.float32)

    mean = blob(0, 0, 0, width=20) + blob(28, 8, 0) + blob(-24, 16, 8) + blob(0, -28, -8)
    for path in (tree.mean, tree.mean_filtered):
        write_volume(path, mean, 1.0)
    write_volume(tree.mask, (mean > 0.02).astype(np.float32), 1.0)
    for k in range(COMPONENTS):
        change = blob(28 - 8 * k, 16, 4 * k) - blob(28 - 8 * k, -8, 4 * k)
        write_volume(tree.eigenvolume(k), change / np.linalg.norm(change), 1.0)
    values = np.array([900.0, 500, 300, 200])
    write_parameters(tree, some_parameters(
        BOX, s=values, significant_components=COMPONENTS, component_z_score=np.full(COMPONENTS, 9.0),
        component_fsc=np.ones((COMPONENTS, BOX // 2)), volume_shape=(BOX,) * 3,
    ))  # fmt: skip
    modes = rng.choice([-1.2, 0.2, 1.1], (COUNT, COMPONENTS))
    points = ((modes + 0.4 * rng.standard_normal(modes.shape)) * np.sqrt(values)).astype(np.float32)
    precision = np.broadcast_to(np.diag(25 / values).astype(np.float32), (COUNT, COMPONENTS, COMPONENTS))
    latents = Latents(points, precision, np.ones(COUNT, np.float32))
    write_latents(tree, latents, latents)
    write_half_sets(tree, (np.arange(0, COUNT, 2), np.arange(1, COUNT, 2)))
    found = tuple(Component(z_score=9.0, share=s) for s in values / values.sum())
    record.write_findings(tree, "reconstruction", Findings(particles=COUNT, used=COUNT, tested=4, components=found))
    for stage in ("ingest", "reconstruction"):
        record.write_stage_state(tree, stage, {"status": "succeeded"})
    record.refresh(tree)
    return tree


def test_nobody_waits(chromium: Any, serving: Callable[..., Client], tmp_path: Path, record_property: Any) -> None:
    tree = write_million(tmp_path)
    window = Watched(chromium, serving(tree.out))
    tab = window.screen("overview", run=".")
    tab.wait_for_timeout(3000)
    begin = tab.evaluate("performance.now()")
    window.screen("explore", run=".")
    drawn = tab.evaluate("performance.getEntriesByName('drawn')[0].startTime") - begin
    window.until("document.querySelector('canvas.map').painter.view.sampling === 128")
    tab.wait_for_timeout(2000)
    window.until("performance.getEntriesByName('ready').length")
    ready = tab.evaluate("performance.getEntriesByName('ready')[0].startTime") - begin
    asked, frames = len(window.asked), window.moved(60)
    assert len(window.asked) == asked, "no frame asks the server"
    tab.get_by_role("button", name="Lasso").click()
    window.drag(REGION)
    window.until("document.querySelector('.count').textContent.includes(' of ')")
    times = []
    for _ in range(2):
        with tab.expect_download() as coming:
            tab.get_by_role("button", name="Save particles").click()
        coming.value.save_as(tmp_path / "particles.star.got")
        times.append(tab.evaluate("performance.getEntriesByName('subset').at(-1).duration"))
    count = int(tab.locator(".count").text_content().split()[0].replace(",", ""))
    sent = (tmp_path / "particles.star.got").read_text().count("@particles.mrcs")
    bytes_of_maps = tab.evaluate("document.querySelector('canvas.map').painter.view.bytes")
    told = {
        "drawn_s": drawn / 1000, "ready_s": ready / 1000, "subset_s": [t / 1000 for t in times],
        "frame_ms": float(np.median(frames)), "frames": len(frames), "map_bytes": bytes_of_maps,
        "selected": count, "sent": sent,
    }  # fmt: skip
    print(told)
    record_property("page", told)
    assert abs(sent - count) <= 0.001 * COUNT
    assert drawn / 1000 < MOST_DRAW_S and max(times) / 1000 < MOST_SUBSET_S
