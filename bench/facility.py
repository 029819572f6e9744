"""A facility of its own for a benchmark: a throwaway broker and a folder for its jobs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "plugins"))

from covaria_broker import BrokerServer, ensure_installed
from covaria_site import OURS, Site, WorkerProcess, open_site, wait_until

__all__ = ["OURS", "Site", "WorkerProcess", "facility", "wait_until"]


@contextmanager
def facility() -> Iterator[Site]:
    """A site on a broker that was started for it; both end with the block."""
    ensure_installed()
    server = BrokerServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            site = open_site(server, Path(folder))
            yield site
            site.close()
    finally:
        server.stop()
