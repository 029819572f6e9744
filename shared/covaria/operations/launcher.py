"""Workers under Slurm for as many messages as wait: what KEDA does on Kubernetes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from covaria.bus.model import Bus, BusError
from covaria.bus.topology import job_queue
from covaria.errors import CovariaError
from covaria.operations.slurm import LOG, Resources, Slurm, SlurmRefused
from covaria.operations.slurm_news import ENDED, News

log = logging.getLogger(__name__)

MOST_FRUITLESS = 3
TRIED_AGAIN_EVERY = 20
"""Looks after which one more job is tried."""


@dataclass
class Launcher:
    """Keeps as many jobs in Slurm as one stage's messages need."""

    bus: Bus
    stage: str
    classes: Sequence[str]
    resources: Resources
    most: int
    """Jobs at a time, waiting and running."""
    jobs_each: int = 1
    """Messages that one job deals with before it ends."""
    idle_exit_s: float = 60.0
    log_file: str = LOG
    pool: str = ""
    """Whose queues are looked at; "": those of no pool."""
    slurm: Slurm = field(default_factory=Slurm)
    _said: str = ""
    _added: bool = False
    _ready: int = 0
    _fruitless: int = 0
    """Looks in a row that found all our jobs gone and no message taken."""

    def __post_init__(self) -> None:
        self._news = News(self.slurm, self.name)

    @property
    def name(self) -> str:
        """Of its jobs in Slurm: by it they are counted, also after a restart."""
        return "-".join(["covaria", self.stage, *self.classes, *([self.pool] if self.pool else [])])

    def command(self) -> list[str]:
        """What each job runs."""
        job_class = "both" if len(self.classes) > 1 else self.classes[0]
        ends = ["--max-jobs", str(self.jobs_each), "--idle-exit", f"{self.idle_exit_s:g}"]
        return ["covaria", "worker", self.stage, "--class", job_class, *ends]

    def step(self) -> list[str]:
        """Look once; the numbers of the jobs that were queued. Raises BusError, SlurmRefused."""
        ready = sum(self.bus.depth(job_queue(self.stage, job_class, self.pool)) for job_class in self.classes)
        if not ready and not self._news.alive:
            return []
        jobs = self.slurm.jobs(self.name)
        for line in self._news.of(jobs):
            log.log(logging.INFO if line.endswith(ENDED["COMPLETED"]) else logging.WARNING, "%s", line)
        if not ready:
            return []
        if jobs.stuck:
            raise SlurmRefused(str(jobs), hint=f"`squeue --name {self.name} --long`; cancel them, or ask for less")
        self._look_for_fruit(ready, jobs.waiting + jobs.running)
        missing = wanted(ready, jobs.waiting, jobs.running, self.most, self.jobs_each)
        # Slurm would let a lost job wait for minutes; its message comes back at once, and with it another job.
        job = (self.name, self.command(), self.resources, self.log_file)
        found = [self.slurm.submit(*job, again=False) for _ in range(missing)]
        self._added, self._ready = bool(found), ready
        if found:
            log.info("%d messages wait for %s: queued Slurm jobs %s", ready, self.stage, ", ".join(found))
        return found

    def _look_for_fruit(self, ready: int, alive: int) -> None:
        """Jobs that end at once would be queued for ever. Raises SlurmRefused, and lets a few through now and then."""
        if alive or ready < self._ready:
            self._fruitless = 0
        elif self._added or self._fruitless >= MOST_FRUITLESS:
            self._fruitless += 1
        if self._fruitless >= MOST_FRUITLESS and self._fruitless % TRIED_AGAIN_EVERY:
            self._added = False
            where = "is covaria on the node's PATH, or --image given? do the nodes reach the broker?"
            raise SlurmRefused(
                f"the last {MOST_FRUITLESS} jobs ended without taking a message", hint=f"read {self.log_file}; {where}"
            )

    def patient_step(self) -> None:
        """The same; what fails is said once, and tried again at the next look."""
        try:
            if not self.bus.is_open:
                self.bus.open()
            self.step()
            self._said = ""
        except (BusError, CovariaError, OSError) as error:
            if str(error) != self._said:
                log.error("%s", error)
            self._said = str(error)


def wanted(ready: int, waiting: int, running: int, most: int, jobs_each: int) -> int:
    """How many jobs to add for `ready` messages that no worker holds yet."""
    needed = -(-ready // jobs_each) - waiting
    return max(0, min(needed, most - waiting - running))
