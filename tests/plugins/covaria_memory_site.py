"""A facility without a broker, a process or a wall clock: real services and handlers on the in-process bus.

Stages are played: they write the books and the trail that a real stage's process would, and end as their `Play` says.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.topology import CLASSES, EVENTS, PARKING, Binding, Queue, build_topology
from covaria.errors import Cancelled, Interrupted
from covaria.job.lease import Lease, LeaseKeeper, require
from covaria.messages.envelope import Message, new_message
from covaria.messages.work import Work
from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.settings import Settings
from covaria.tree import Tree, record
from covaria.worker.child import Order
from covaria.worker.clock import Clock
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown
from covaria.worker.faults import Faults
from covaria.worker.handler import admit_all
from covaria.worker.service import Service

DELAYS = (1.0, 2.0, 4.0)
HEARD = "heard"


class PowerCut(BaseException):
    """The worker's process is gone."""


class CutAfter(Faults):
    """Power is cut when the `count`-th crash point is passed; None: never. `passed` lists them."""

    def __init__(self, count: int | None = None) -> None:
        super().__init__()
        self.count, self.passed = count, list[str]()

    def passing(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) == self.count:
            raise PowerCut


@dataclass
class FastClock:
    """Time that passes only when somebody waits; `on_wait` sees it pass."""

    now: float = 1000.0
    on_wait: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_wait()


@dataclass
class Play:
    """How a stage behaves: it runs for some turns of the parent's loop, and then ends."""

    turns: int = 2
    fails: Breakdown | None = None
    times: int = 99
    """How often it fails before it succeeds."""
    dies_after_publishing: bool = False
    on_turn: Callable[[], None] = lambda: None
    reports: tuple[dict[str, Any], ...] = ()
    starts: Callable[[], None] = lambda: None


class PlayedStage:
    """A stage that runs in name only."""

    pid = 4711

    def __init__(self, play: Play, order: Order) -> None:
        self.play, self.order = play, order
        self.tree = Tree(Path(order.request["out"]))
        self._turns, self._stopped, self._killed = play.turns, False, False
        self._ended = False
        play.starts()
        self._note("running")

    @property
    def running(self) -> bool:
        if self._ended:
            return False
        if self._killed or self._turns <= 0 or self._stopped:
            self._ended = True
            return False
        self._turns -= 1
        self.play.on_turn()
        return True

    def reports(self) -> list[dict[str, Any]]:
        return list(self.play.reports)

    def stop(self) -> None:
        self._stopped = True

    def kill(self) -> None:
        self._killed = True

    def finish(self) -> Breakdown | None:
        if self._killed:
            return Breakdown(signal=9)
        if self._stopped:
            cancelled = self.tree.cancel.exists()
            self._note("cancelled" if cancelled else "queued")
            return Breakdown.of(Cancelled("cancelled") if cancelled else Interrupted("stopped"))
        if self.play.fails is not None and self.trail().count("failing") < self.play.times:
            self._write("failing")
            self._note("failed")
            return self.play.fails
        require(self.tree, self.order.lease)
        self._write("published")
        self._note("succeeded")
        return Breakdown(signal=9) if self.play.dies_after_publishing else None

    def trail(self) -> list[str]:
        path = self.tree.state / f"trail.{self.order.stage}"
        return path.read_text().splitlines() if path.exists() else []

    def _write(self, line: str) -> None:
        with (self.tree.state / f"trail.{self.order.stage}").open("a") as file:
            file.write(line + "\n")

    def _note(self, status: str) -> None:
        state = {"stage": self.order.stage, "job_id": self.order.job_id, "status": status, "fingerprint": "f"}
        record.write_stage_state(self.tree, self.order.stage, state)
        if status != "running":
            record.refresh(self.tree)


@dataclass
class MemorySite:
    """One facility in memory, its folders on disk."""

    root: Path
    clock: FastClock = field(default_factory=FastClock)
    plays: defaultdict[str, Play] = field(default_factory=lambda: defaultdict(Play))
    keepers: list[LeaseKeeper] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    why_held: Callable[[Message], str] = admit_all

    def __post_init__(self) -> None:
        self.topology = build_topology(DELAYS)
        self.broker = MemoryBroker(self.clock.monotonic)
        self.broker.declare(self.topology)
        heard = Queue(HEARD, {}, "what a listener hears")
        self.broker.declare(type(self.topology)((), (heard,), (Binding(EVENTS, HEARD, "#"),), ()))
        self.settings = Settings(roots=(self.root,), retry_delays_s=DELAYS, grace_s=5.0)

    # ---- what comes in
    def message(self, name: str = "job", route: tuple[str, ...] = ("ingest",), **request: Any) -> Message:
        particles = self.root / f"{name}.star"
        particles.write_text("data")
        asked = Request(out=self.root / name, ingest=IngestOptions(particles=particles), **request)
        return new_message(f"job-{name}", Work(request=asked, route=route))  # type: ignore[arg-type]

    def bus(self) -> MemoryBus:
        bus = MemoryBus(self.broker, self.clock.sleep)
        bus.open()
        return bus

    def submit(self, message: Message) -> None:
        Dispatch(self.bus(), self.topology).submit(message)

    # ---- who works
    def service(self, stage: str = "ingest", faults: Faults | None = None, **changes: Any) -> Service:
        found = Service(
            stage, CLASSES, self.settings, bus=MemoryBus(self.broker, self.clock.sleep),
            start_stage=lambda order, scratch: PlayedStage(self.plays[stage], order),
            clock=Clock(self.clock.monotonic, self.clock.sleep), faults=faults or Faults(),
            **{"idle_exit_s": 2 * max(DELAYS), "why_held": self.why_held, **changes},
        )  # fmt: skip
        found.handler.keep_lease = self._keep
        found.handler.disk = lambda call, turn: call()  # type: ignore[assignment]
        self.services.append(found)
        return found

    def work(self, *stages: str, faults: Faults | None = None) -> Service:
        """A worker for each stage, one after another, each until nothing has come for a while; returns the last."""
        service = None
        for stage in stages or ("ingest",):
            service = self.service(stage, faults)
            service.serve()
            service.bus.close()
        assert service is not None
        return service

    def cut(self, stage: str, count: int | None) -> list[str]:
        """A worker whose power is cut at its `count`-th crash point; what it held returns. Names of points passed."""
        faults = CutAfter(count)
        service = self.service(stage, faults)
        try:
            service.serve()
        except PowerCut:
            for keeper in self.keepers:
                keeper.stop()
        service.bus.close()
        return faults.passed

    def _keep(self, lease: Lease, every_s: float) -> LeaseKeeper:
        keeper = LeaseKeeper(lease, every_s)
        self.keepers.append(keeper)
        return keeper

    # ---- what came of it
    def tree(self, name: str = "job") -> Tree:
        return Tree(self.root / name)

    def read(self, path: Path) -> dict[str, Any]:
        found = json.loads(path.read_text()) if path.exists() else {}
        return {key: value for key, value in found.items() if key != "seal"}

    def state(self, stage: str = "ingest", name: str = "job") -> str:
        return str(self.read(self.tree(name).stage_state(stage)).get("status", ""))

    def delivery(self, stage: str = "ingest", name: str = "job") -> dict[str, Any]:
        return self.read(self.tree(name).stage_dir(stage) / "delivery.json")

    def trail(self, stage: str = "ingest", name: str = "job") -> list[str]:
        path = self.tree(name).state / f"trail.{stage}"
        return path.read_text().splitlines() if path.exists() else []

    def depths(self) -> dict[str, int]:
        """Messages in our queues, those of the listener apart."""
        found = {name: len(held.messages) for name, held in self.broker.queues.items() if name != HEARD}
        return {name: depth for name, depth in found.items() if depth}

    def parked(self) -> list[dict[str, Any]]:
        return [{**m.headers, "id": m.message_id, "body": m.body} for m in self.broker.queues[PARKING].messages]

    def events(self) -> list[str]:
        """<stage>.<state> of every event of a stage, in order."""
        return [message.key for message in self._heard() if message.key.partition(".")[0] in STAGES]

    def event_bodies(self) -> list[dict[str, Any]]:
        return [json.loads(m.body)["data"] for m in self._heard() if m.key.partition(".")[0] in STAGES]

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Every event about whole jobs and about what is none: key and document, in order."""
        return [(m.key, json.loads(m.body)) for m in self._heard() if m.key.partition(".")[0] not in STAGES]

    def _heard(self) -> list[Any]:
        return list(self.broker.queues[HEARD].messages)

    def outcomes(self) -> Counter[str]:
        """How messages ended, over all workers."""
        found: Counter[str] = Counter()
        for service in self.services:
            for sample in next(iter(service.metrics.jobs_finished.collect())).samples:
                if sample.name.endswith("_total") and sample.value:
                    found[sample.labels["outcome"]] += int(sample.value)
        return found
