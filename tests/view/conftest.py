"""A simulated set, a finished run of it, a server on it, a browser."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from covaria_browser import launched
from covaria_pages import Client, write_run

from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import TruthSet
from covaria.tree import Tree
from covaria.view.access import Access
from covaria.view.folder import Folder
from covaria.view.jobs import Jobs
from covaria.view.routes import Routes
from covaria.view.serve import bound, serve

IMAGES, BOX = 300, 32


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> TruthSet:
    options = SimulationOptions(n_images=IMAGES, box=BOX, pixel_size_angstrom=8.0, snr=1.0, seed=2)
    return TruthSet.simulated(tmp_path_factory.mktemp("set"), BUILT_IN["plane"](9), options)


@pytest.fixture(scope="session")
def finished(truth: TruthSet, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A finished OUT in a folder of its own. Not to be changed: `copied` may."""
    return write_run(tmp_path_factory.mktemp("runs") / "first", truth)


@pytest.fixture
def copied(finished: Tree, tmp_path: Path) -> Tree:
    """A copy that a test may spoil."""
    shutil.copytree(finished.out, tmp_path / "runs" / "copy")
    return Tree(tmp_path / "runs" / "copy")


@pytest.fixture(scope="module")
def serving() -> Iterator[Callable[..., Client]]:
    """`serving(folder)` -> a client of a server on it."""
    servers = []

    def start(
        folder: Path, access: Access | None = None, *, jobs: bool = False, model: Path | None = None, **options: Any
    ) -> Client:
        place = bound("127.0.0.1", 0)
        port = place.getsockname()[1]
        access = access or Access(hosts=frozenset({f"127.0.0.1:{port}"}))
        ready, running = threading.Event(), []
        shown = Folder(folder, **options)
        routes = Routes(shown, Jobs(shown) if jobs else None, model)
        thread = threading.Thread(target=serve, args=(routes, access, place, ready.set, running.append), daemon=True)
        thread.start()
        assert ready.wait(30)
        servers.append((running[0], thread))
        token = access.token if access.standing is None else access.standing
        return Client(port, token, access.base, stop=running[0])

    yield start
    for stop, thread in servers:
        stop()
        thread.join(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    yield from launched()
