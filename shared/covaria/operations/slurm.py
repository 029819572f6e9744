"""Slurm: a batch script, its submission, and how many of ours wait and run. Slurm's own commands do the work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covaria import __version__
from covaria.errors import CovariaError, InvalidInput
from covaria.plain import printable
from covaria.running.nodes import RENDEZVOUS

PATIENCE_S = 60.0
LOG = "slurm-%j.out"
STOP_BEFORE_S = 120
"""Slurm asks a job to stop this long before its time ends: a step of a run takes less."""
INTERRUPTED = 75
"""covaria's exit code for a run that was asked to stop and can be resumed."""
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED", "RESIZING", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED"})
ORDINARY = re.compile(
    r"None|Priority|Resources|BeginTime|Dependency|Cleaning|Job(Held|Array)|Licenses|Prolog|Reservation$"
)
"""Why a job waits that starts by itself, or was held on purpose."""
SAME = "build the image of this version again (docs/slurm.md), or install the image's version of covaria here"
REMEDIES = {
    "partition": "`sinfo` lists the partitions; give one with --partition",
    "account": "`sacctmgr show associations user=$USER` lists your accounts; give one with --account",
    "qos": "`sacctmgr show qos` lists them; give one with --option=--qos=NAME",
    "time limit": "`sinfo -o '%P %l'` shows the longest time of each partition; give less with --time",
    "node configuration": "no node has so much; `sinfo -o '%P %c %m %G'` shows CPUs, memory and GPUs",
    "gres": "the partition has no such GPUs; `sinfo -o '%P %G'` shows what it has",
}

Run = Callable[[Sequence[str], str], "subprocess.CompletedProcess[str]"]


class SlurmRefused(CovariaError):
    """Slurm does not take a job as it was asked for."""


@dataclass(frozen=True)
class Resources:
    """What each job gets, and in which container its command runs."""

    partition: str | None = None
    gpus: int = 0
    """On each node."""
    cpus: int = 4
    memory_gb: int = 32
    time: str | None = None
    """None: the partition's own."""
    account: str | None = None
    image: Path | None = None
    """An Apptainer image; None: the `covaria` on the node's PATH."""
    binds: tuple[Path, ...] = ()
    """Folders that are visible in the container under their own names."""
    options: tuple[str, ...] = ()
    """More options of sbatch, as they are."""
    nodes: int = 1
    """Over which one command runs (`covaria.running.nodes`)."""

    def __post_init__(self) -> None:
        for option in self.options:
            if not re.fullmatch(r"--[a-z-]+(=.*)?", option):
                raise InvalidInput(f"--option {option!r} is no option of sbatch", hint="give it as --option=--qos=high")
        if self.time is not None and not re.fullmatch(r"\d+|(\d+-)?\d+(:\d+){1,2}|\d+-\d+", self.time):
            raise InvalidInput(f"--time {self.time!r} is no time of Slurm", hint="D-HH:MM:SS, HH:MM:SS or minutes")
        if self.image is not None and not self.image.is_file():
            raise InvalidInput("is not there", file=self.image, hint="build it: docs/slurm.md")

    def arguments(self, name: str, log: str, *, again: bool = True) -> list[str]:
        """Those of sbatch; `again`: what is preempted or loses its node is queued again by Slurm."""
        given = {
            "job-name": name, "nodes": self.nodes, "ntasks": self.nodes, "ntasks-per-node": 1,
            "cpus-per-task": self.cpus, "mem": f"{self.memory_gb}G", "time": self.time,
            "partition": self.partition, "account": self.account, "gpus-per-node": self.gpus or None, "output": log,
            "open-mode": "append", "signal": f"B:TERM@{STOP_BEFORE_S}",
        }  # fmt: skip
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return ["sbatch", "--parsable", "--requeue" if again else "--no-requeue", *options, *self.options]

    def wrapped(self, command: Sequence[str]) -> list[str]:
        """The command as the node runs it."""
        if self.image is None:
            return list(command)
        binds = [word for folder in self.binds for word in ("--bind", str(folder))]
        return ["apptainer", "exec", *(["--nv"] if self.gpus else []), *binds, str(self.image), *command]


@dataclass(frozen=True)
class Row:
    """One job, as squeue shows it."""

    number: str
    state: str
    starts: str
    """When it starts or started."""
    nodes: str
    reason: str


@dataclass(frozen=True)
class Jobs:
    """Those that have not ended long ago (MinJobAge)."""

    rows: tuple[Row, ...]

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(row.state in WAITING for row in self.rows)

    @property
    def running(self) -> int:
        """How many run."""
        return sum(row.state in RUNNING for row in self.rows)

    @property
    def stuck(self) -> Counter[str]:
        """Why those wait that will not start by waiting."""
        return Counter(row.reason for row in self.rows if row.state in WAITING and not ORDINARY.match(row.reason))

    def __str__(self) -> str:
        return ", ".join(f"{count} not started: {reason}" for reason, count in self.stuck.items())


@dataclass(frozen=True)
class Slurm:
    """Slurm's commands."""

    run: Run = field(default_factory=lambda: _run)

    def submit(
        self, name: str, command: Sequence[str], resources: Resources, log: str = LOG, *, again: bool = True
    ) -> str:
        """Queue a job; returns its number. Raises SlurmRefused with what Slurm said and the remedy."""
        if resources.image and shutil.which("apptainer"):  # the node looks again, and where it alone has Apptainer
            self._look_into(resources)
        done = self._called(resources.arguments(name, log, again=again), script_of(command, resources))
        found = re.match(r"\d+", done.stdout)
        if not found:
            raise SlurmRefused(f"sbatch answered {printable(done.stdout[:200])!r}", hint="a job's number was expected")
        return found.group()

    def jobs(self, name: str) -> Jobs:
        """Those of this user that are called `name`."""
        words = ["squeue", "--noheader", "--states=all", "--me", f"--name={name}", "--format=%A|%T|%S|%N|%r"]
        lines = [line.split("|") for line in self._called(words, "").stdout.splitlines() if line.count("|") == 4]
        return Jobs(tuple(Row(*(word.strip() for word in line)) for line in lines))

    def node_states(self, nodes: str) -> str:
        """What Slurm says of nodes: `n1 down*`, a star where it does not answer; "" where it says nothing."""
        try:
            done = self._called(["sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N %T"], "")
        except SlurmRefused:
            return ""
        return ", ".join(sorted(set(printable(done.stdout[:400]).splitlines())))

    def _look_into(self, resources: Resources) -> None:
        """Whether the image holds this program's version. Raises InvalidInput."""
        said = self._called(resources.wrapped(["covaria", "--version"]), "").stdout.strip()
        if said != f"covaria {__version__}":
            raise InvalidInput(
                f"holds {printable(said[:100])!r}, this is covaria {__version__}", file=resources.image, hint=SAME
            )

    def _called(self, words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
        try:
            done = self.run(words, text)
        except FileNotFoundError:
            raise SlurmRefused(f"{words[0]} is not there", hint="run this on a login node of the cluster") from None
        except subprocess.TimeoutExpired:
            raise SlurmRefused(f"{words[0]} gave no answer within {PATIENCE_S:.0f} s", hint="`scontrol ping`") from None
        if done.returncode:
            said = printable(" ".join(done.stderr.split())[:400]) or f"exit code {done.returncode}"
            found = (remedy for word, remedy in REMEDIES.items() if word in said.lower())
            hint = next(found, "`sinfo`, `scontrol ping`")
            raise SlurmRefused(f"{words[0]}: {said}", hint=hint)
        return done


def script_of(command: Sequence[str], resources: Resources) -> str:
    """A batch script that passes Slurm's request to stop on, and queues itself again where its command can resume.

    It runs on the first of the job's nodes; on several srun starts the command on each, and this is where they meet.
    """
    line, forward, nodes = shlex.join(resources.wrapped(command)), 'kill -TERM "$child"', resources.nodes
    look = ""
    if resources.image:
        look = f"""found=$({shlex.join(resources.wrapped(["covaria", "--version"]))})
if [ "$found" != "covaria {__version__}" ]; then
    echo {shlex.quote(str(resources.image))} "holds '$found', the job is of covaria {__version__}: {SAME}" >&2
    exit 2
fi
"""
    if nodes > 1:
        line = f"""export {RENDEZVOUS}="$(hostname):$((20000 + SLURM_JOB_ID % 20000))"
srun --kill-on-bad-exit=1 --nodes={nodes} --ntasks={nodes} --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" {line}"""
        forward = 'scancel --signal=TERM "$SLURM_JOB_ID.0"'  # srun itself would end the step at once
    return f"""#!/bin/sh
[ "${{SLURM_RESTART_COUNT:-0}}" -eq 0 ] || echo "started again ($SLURM_RESTART_COUNT): it was asked to stop, was
preempted or lost its node ('scontrol show job $SLURM_JOB_ID'). A run goes on from its last checkpoint"
{look}child= asked=
trap 'asked=yes
echo "asked to stop: its time is nearly over, it is preempted, cancelled, or another node of it is lost"
[ -z "$child" ] || {forward}' TERM
{line} &
child=$!
[ -z "$asked" ] || {forward}
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
if [ "$code" -eq {INTERRUPTED} ]; then
    scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit "$code"
"""


def _run(words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    # No shell; every word is an option of ours or was checked.
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # nosec B603
