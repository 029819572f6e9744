"""Files of a visit, with real accounts: A submits, B works, and they share the visit's group alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from covaria_broker import BrokerServer
from covaria_site import COMMAND, Site, WorkerProcess, open_site, wait_until

from covaria.request.model import IngestOptions, Request

pytestmark = [pytest.mark.broker, pytest.mark.skipif(os.geteuid() != 0, reason="only root may be two users")]

A, B, VISIT = 64311, 64312, 64313
"""A: who measures; B: the services; VISIT: their group."""


HIDDEN = [folder for folder in Path(sys.executable).resolve().parents if not folder.stat().st_mode & 0o001]
"""Folders on the way to this Python that other users may not enter (root's home): then they may read everything."""
READING = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"] if HIDDEN else []


def as_user(user: int) -> list[str]:
    """What runs a Python as `user` with the visit's group. It may write where the files' modes let it, nowhere else."""
    return ["setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(VISIT), *READING]


class Visit:
    """A facility with a visit's folder, root:VISIT 2770."""

    def __init__(self, site: Site) -> None:
        self.site, self.folder = site, site.root / "cm1-2"
        self.folder.mkdir()
        os.chown(self.folder, 0, VISIT)
        self.folder.chmod(0o2770)

    def particles(self, name: str, **plan: Any) -> Path:
        found = self.folder / f"{name}.star"
        found.write_text(json.dumps(plan))
        found.chmod(0o640)
        return found

    def run(self, user: int, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of the user's, `covaria` or another."""
        if words[0] == "covaria":
            line = [*as_user(user), *COMMAND, *words[1:]]
        else:
            line = ["setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(VISIT), *words]
        environment = {**self.site.environment, "COVARIA_SERVICE_UID": str(B), "HOME": "/"}
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=120, cwd="/", umask=0o077
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def worker(self) -> WorkerProcess:
        log = self.site.root / f"log.{len(self.site.workers)}"
        environment = {**self.site.environment, "COVARIA_UMASK": "0007", "HOME": "/"}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*as_user(B), *COMMAND, "worker", "ingest"], env=environment, stdout=stream,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd="/", umask=0o022,
            )  # fmt: skip
        self.site.workers.append(WorkerProcess(process, log))
        return self.site.workers[-1]

    def submit(self, name: str, **plan: Any) -> Path:
        """A's job of ingest alone, as `covaria submit` sends it."""
        out = self.folder / "processed" / name
        self.run(A, "covaria", "submit", str(self.particles(name, **plan)), "-o", str(out), "--only-mean")
        return out

    def state(self, out: Path) -> str:
        path = out / ".covaria" / "stages" / "ingest" / "state.json"
        return json.loads(path.read_text())["status"] if path.exists() else ""


@pytest.fixture
def visit(broker_server: BrokerServer) -> Iterator[Visit]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        Path(name).chmod(0o755)
        site = open_site(broker_server, Path(name))
        try:
            yield Visit(site)
        finally:
            site.close()


def test_a_reads_cancels_and_deletes_b_writes_nothing_is_parked(visit: Visit) -> None:
    out, stopped = visit.submit("done"), visit.submit("stopped", until="never")
    assert not out.parent.exists(), "whoever makes a folder owns it: not the submitter"
    worker = visit.worker()
    wait_until(lambda: visit.state(out) == "succeeded", what=worker.text())
    for path in [out.parent, out, *out.rglob("*")]:
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (B, VISIT), path
        assert status.st_mode & 0o070 in (0o070, 0o060) and not status.st_mode & 0o007, (path, oct(status.st_mode))
    assert "ingest          succeeded" in visit.run(A, "covaria", "status", str(out)).stdout
    assert json.loads(visit.run(A, "cat", str(out / "job.json")).stdout)["stages"]["ingest"]["status"] == "succeeded"
    wait_until(lambda: visit.state(stopped) == "running", what=worker.text())
    visit.run(A, "covaria", "cancel", str(stopped))
    wait_until(lambda: visit.state(stopped) == "cancelled", what=worker.text())
    wait_until(lambda: visit.site.queue() not in visit.site.all_messages(), what="the worker to be done with it")
    visit.run(A, "rm", "-r", str(out), str(stopped))
    assert not out.exists() and not stopped.exists()
    assert visit.site.parked() == []
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_folder_that_is_closed_to_the_services(visit: Visit) -> None:
    closed = visit.folder / "mine"
    visit.run(A, "mkdir", str(closed))
    refused = visit.run(A, "covaria", "submit", str(visit.particles("x")), "-o", str(closed), check=False)
    assert refused.returncode == 2
    assert f"uid {A}" in refused.stderr and f"run as uid {B}" in refused.stderr and "drwx--S---" in refused.stderr
    message = visit.site.message("y")
    request = Request(out=closed, ingest=IngestOptions(particles=visit.particles("y")))
    work = message.work.model_copy(update={"request": request})
    visit.site.submit(type(message)("job-y", work, work.model_dump(mode="json")))
    worker = visit.worker()
    (parked,) = wait_until(visit.site.parked, what=worker.text())
    assert parked["covaria-reason"] == "permission", "at once: no retry can help"
    said = parked["covaria-last-error"]
    assert f"belongs to uid {A}" in said and f"this process has uid {B}" in said and "mode drwx--S---" in said
