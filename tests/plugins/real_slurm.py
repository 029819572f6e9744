"""A Slurm of two nodes on this machine: Debian's slurmctld and two slurmd, in a folder, as root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

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


def said(*words: str, environment: dict[str, str]) -> str:
    """What one of Slurm's commands answers."""
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60).stdout
