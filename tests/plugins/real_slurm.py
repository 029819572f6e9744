"""A Slurm of two nodes on this machine: Debian's slurmctld and two slurmd, in a folder, as root."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
ClusterName=two
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CryptoType=crypto/none
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]},{ports[2]}] CPUs=2 RealMemory=4000
PartitionName=main Nodes=n[1-2] Default=YES State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=n[1-2] State=UP PriorityTier=9
"""


def _ports() -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(3)]
        return sorted(found.getsockname()[1] for found in sockets)


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands reach it. Skips where it is not installed."""
    if not (shutil.which("slurmctld") and shutil.which("slurmd")):
        pytest.skip("no Slurm here: apt-get install slurm-wlm")
    if os.getuid():
        pytest.skip("slurmd needs root")
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    (folder / "slurm.conf").write_text(CONFIG.format(host=socket.gethostname(), folder=folder, ports=_ports()))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    daemons = []
    try:
        for name, words in {"ctld": ["slurmctld", "-D"], "n1": ["slurmd", "-D", "-N", "n1"],
                            "n2": ["slurmd", "-D", "-N", "n2"]}.items():  # fmt: skip
            with (folder / f"{name}.log").open("wb") as log:
                daemons.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log))
        until = time.monotonic() + 60
        look = ("sinfo", "--Node", "--noheader", "--partition=main", "--format=%N %t")
        while said(*look, environment=environment).split() != ["n1", "idle", "n2", "idle"]:
            assert time.monotonic() < until, (folder / "ctld.log").read_text()[-2000:]
            time.sleep(0.5)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", "root"], env=environment, check=False, capture_output=True)
        time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def called(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One of Slurm's commands."""
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)


def said(*words: str, environment: dict[str, str]) -> str:
    """What one of Slurm's commands answers."""
    return called(*words, environment=environment).stdout


class Cluster:
    """Its commands, in a folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def covaria(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["covaria", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def queued(self, *words: str) -> str:
        done = self.covaria("sbatch", "--cpus", "1", "--mem-gb", "1", *words)
        assert done.returncode == 0, done.stderr
        found = re.search(r"Slurm job (\d+)", done.stdout)
        assert found
        return found.group(1)

    def said(self, *words: str) -> str:
        return said(*words, environment=self.environment)

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.said("scontrol", "show", "job", job))
        return found.group(1) if found else ""

    def at_once(self, job: str) -> None:
        """Slurm lets a job that it queued again wait for two minutes; here two seconds.

        Sooner it takes the credential of the new start for that of the old one, which it revoked.
        """
        self.until(lambda: self.state(job) == "PENDING", job, 60)
        time.sleep(2)
        self.said("scontrol", "update", f"JobId={job}", "StartTime=now")

    def words(self, job: str) -> str:
        log = self.folder / f"slurm-{job}.out"
        return log.read_text() if log.exists() else ""

    def until(self, true: Callable[[], bool], job: str, patience_s: float = 240) -> None:
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, (self.state(job), self.words(job)[-3000:])
            time.sleep(0.1)

    def ended(self, job: str) -> str:
        over = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
        self.until(lambda: self.state(job) in over, job)
        return self.state(job)


@contextmanager
def with_covaria(folder: Path) -> Iterator[Cluster]:
    """A cluster whose nodes have this checkout's `covaria` on their PATH."""
    program = folder / "bin" / "covaria"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from covaria.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    with running(folder / "slurm") as environment:
        path = f"{REPOSITORY / 'shared'}:{REPOSITORY / 'services'}"
        environment |= {"PATH": f"{program.parent}:{environment['PATH']}", "PYTHONPATH": path}
        yield Cluster(folder, environment)
