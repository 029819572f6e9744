"""A finished run without the run, and a client that asks `covaria view` as the page does."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from covaria_browser import Asked

from covaria.estimation.latents.model import Latents
from covaria.findings import Component, Findings, State
from covaria.maps import write_volume
from covaria.particles import save
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.results.latents import write_latents
from covaria.results.model import write_half_sets
from covaria.results.parameters import write_parameters
from covaria.testing import TruthSet, some_parameters
from covaria.trajectory.density import estimate_density, write_density
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.artifacts import KMeansResult, write_kmeans

CLUSTERS = 4


def write_run(out: Path, truth: TruthSet) -> Tree:
    """OUT as a run leaves it, its model the truth of a set: two confirmed components of three, a map at each centre."""
    tree = Tree(out)
    for folder in (tree.volumes, tree.state, tree.density / "data"):
        folder.mkdir(parents=True)
    request = Request(
        out=out, ingest=IngestOptions(particles=truth.folder / "particles.star"),
        reconstruction=ReconstructionOptions(zdim=(3,)),
    )  # fmt: skip
    record.write_request(
        tree, job_id="j", command="run", command_line="covaria run particles.star -o out",
        stages=("ingest", "reconstruction", "density", "analysis"), request=request,
    )  # fmt: skip
    save(tree.particles, truth.particles)
    values, volumes = truth.components()
    values, volumes = values[:3], volumes[:3]
    pixel = truth.particles.pixel_size_angstrom
    for path, volume in ((tree.mean, truth.mean), (tree.mean_filtered, truth.mean)):
        write_volume(path, volume, pixel)
    for k, volume in enumerate(volumes):
        write_volume(tree.eigenvolume(k), volume, pixel)
    mask = (np.abs(truth.mean) > 0.02 * truth.mean.max()).astype(np.float32)
    write_volume(tree.mask, mask, pixel)
    write_parameters(tree, some_parameters(
        len(truth.mean), s=values, significant_components=2, component_z_score=np.array([20.0, 9.0, 1.0]),
        voxel_size=pixel, component_fsc=np.ones((3, len(truth.mean) // 2)), volume_shape=truth.mean.shape,
    ))  # fmt: skip
    rng = np.random.default_rng(0)
    error = 0.2 * np.sqrt(values)
    exact = truth.coordinates()[:, :3]
    z = (exact + error * rng.standard_normal(exact.shape)).astype(np.float32)
    precision = np.tile(np.diag(1 / error**2), (len(z), 1, 1)).astype(np.float32)
    latents = Latents(z, precision, truth.contrasts.astype(np.float32))
    write_latents(tree, latents, latents)
    half = np.arange(len(z)) % 2
    write_half_sets(tree, (np.flatnonzero(half == 0), np.flatnonzero(half == 1)))
    _write_analysis(tree, truth, z, values, volumes)
    states = tuple(
        State(name=f"center{k:03d}", particles=60, share=0.2, resolution_angstrom=16.0) for k in range(CLUSTERS)
    )
    components = tuple(Component(z_score=zs, share=s) for zs, s in ((20.0, 0.7), (9.0, 0.3)))
    record.write_findings(tree, "analysis", Findings(
        particles=len(z), used=len(z), tested=3, components=components, states=states, resolution_angstrom=16.0,
        warnings=("most particles are seen from one side",),
    ))  # fmt: skip
    for stage in ("ingest", "reconstruction", "density", "analysis"):
        record.write_stage_state(tree, stage, {"status": "succeeded", "seconds": 2.0})
    record.refresh(tree)
    return tree


def _write_analysis(tree: Tree, truth: TruthSet, z: np.ndarray, values: np.ndarray, volumes: np.ndarray) -> None:
    analysis = AnalysisTree(tree.analysis(3))
    analysis.data.mkdir(parents=True)
    shown = z.copy()
    shown[:, 2] = 0
    spread = 1.2 * np.sqrt(values[:2])
    centers = np.array([[-1, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]]) * np.array([*spread, 0])
    labels = ((shown[:, None] - centers) ** 2 / values).sum(-1).argmin(1)
    write_kmeans(analysis, KMeansResult(centers.astype(float), labels))
    for k, center in enumerate(centers):
        state = truth.mean + np.tensordot(center, volumes, 1)
        write_volume(analysis.center(k), state, truth.particles.pixel_size_angstrom)
    analysis.trajectory(0).root.mkdir()
    path = np.linspace(centers[0], centers[3], 20)
    analysis.trajectory(0).path_json.write_text(json.dumps({"path": path.tolist()}))
    write_density(tree.density_knee, estimate_density(z[:, :2], 2), 1.0)


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Client:
    """Asks a server as the page does."""

    port: int
    token: str
    base: str = ""
    cookie: str = ""
    host: str = ""
    stop: Callable[[], None] = lambda: None
    """Ends the server."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.base}/?token={self.token}"

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {"Host": self.host or f"127.0.0.1:{self.port}", "x-covaria": "1", **self.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = self.cookie
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, self.base + path, data, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def enter(self) -> Client:
        """Spend the token."""
        status, headers, _ = self.ask(f"/?token={self.token}")
        assert status == 303, status
        self.cookie = headers["set-cookie"].partition(";")[0]
        return self


LOADED = "performance.getEntriesByName('drawn').length && document.querySelector('canvas.map').painter?.view.sampling"


class Watched(Asked):
    """A window on the page of a server."""

    def __init__(self, browser: Any, client: Client) -> None:
        self.client = client
        super().__init__(browser)

    def screen(self, name: str, run: str = "first") -> Any:
        """Go to a screen and wait until it has drawn."""
        if self.tab.url == "about:blank":
            self.tab.goto(self.client.address)
            self.tab.wait_for_selector("main h1")
            self.until("location.hash || document.querySelector('.cards')")
        self.tab.goto(f"http://127.0.0.1:{self.client.port}/#/{name}?run={run}")
        self.tab.wait_for_selector("main h1, main .explore")
        if name == "explore":
            self.until(LOADED)

        return self.tab

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds. The page's policy forbids the browser driver's own way."""
        end = time.monotonic() + 60
        while not self.tab.evaluate(condition):
            assert time.monotonic() < end, condition
            self.tab.wait_for_timeout(50)

    def drag(self, corners: list[tuple[float, float]]) -> None:
        """Draw through places of the cloud's canvas, as shares of its width and height."""
        places = [self.place(*corner) for corner in corners]
        self.tab.mouse.move(*places[0])
        self.tab.mouse.down()
        for place in places[1:]:
            self.tab.mouse.move(*place, steps=4)
        self.tab.mouse.up()

    def place(self, u: float, v: float) -> tuple[float, float]:
        """A share of the cloud's canvas, in pixels of the window."""
        box = self.tab.locator("canvas.cloud").bounding_box()
        return box["x"] + u * box["width"], box["y"] + v * box["height"]

    def moved(self, moves: int) -> list[float]:
        """Move over the cloud; milliseconds from frame to frame of the map."""
        self.tab.evaluate("performance.clearMarks('map')")
        for step in range(moves):
            self.tab.mouse.move(*self.place(0.3 + 0.4 * step / moves, 0.5 + 0.2 * np.sin(step / 5)))
        marks = self.tab.evaluate("performance.getEntriesByName('map').map(mark => mark.startTime)")
        return [float(step) for step in np.diff(marks)]
