"""Pools: which queue a job waits in, who takes it there, and that nothing on its way forgets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from covaria_memory_site import DELAYS, MemorySite, Play

from covaria.bus.pools import Pool, pool_for
from covaria.bus.topology import DEAD, JOBS, build_topology, job_queue
from covaria.errors import InvalidInput
from covaria.job.size import images_gb
from covaria.messages.envelope import Message, new_message
from covaria.messages.work import Work
from covaria.operations.jobs_on_disk import message_to_resume
from covaria.operations.parking import asked_for, replay
from covaria.operations.submit import refuse_unknown_pool
from covaria.tree import Tree
from covaria.worker.dispatch import Dispatch
from covaria.worker.failures import Breakdown
from covaria.worker.service import Service

POOLS = ("reconstruction.large:20", "reconstruction.huge:100", "reconstruction.h100", "analysis.large:50")
WHOLE = ("ingest", "reconstruction", "analysis")


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    found = memory_site
    found.settings = found.settings.model_copy(update={"pools": POOLS})
    found.topology = build_topology(DELAYS, pools=POOLS)
    found.broker.declare(found.topology)
    return found


def in_pool(site: MemorySite, pool: str = "", **work: object) -> Message:
    plain = site.message(route=WHOLE)
    return new_message(plain.job_id, Work(request=plain.work.request, route=WHOLE, pool=pool, **work))  # type: ignore[arg-type]


def ingested(site: MemorySite, box: int, rows: int) -> None:
    """What ingest leaves, as the stage is played."""

    def leave() -> None:
        site.tree().state.mkdir(parents=True, exist_ok=True)
        np.savez(site.tree().particles, rotations=np.zeros((rows, 3, 3), np.float32), box=np.int64(box))

    site.plays["ingest"] = Play(on_turn=leave)


@pytest.mark.parametrize(
    ("asked", "size", "stage", "pool"),
    [
        ("", None, "reconstruction", ""),
        ("", 19.9, "reconstruction", ""),
        ("", 20.0, "reconstruction", "large"),
        ("", 5000.0, "reconstruction", "huge"),
        ("", 20.0, "analysis", ""),
        ("", 5000.0, "ingest", ""),
        ("h100", None, "reconstruction", "h100"),
        ("h100", 5000.0, "analysis", ""),
        ("large", 1.0, "reconstruction", "large"),
        ("unknown", 5000.0, "reconstruction", ""),
    ],
)
def test_where_a_job_waits(asked: str, size: float | None, stage: str, pool: str) -> None:
    assert pool_for(build_topology(DELAYS, pools=POOLS).pools, stage, asked, size) == pool


def test_the_size_is_that_of_the_docs_table(tmp_path: Path) -> None:
    """100,000 x 256: 20 GB (docs/deploy.md, Sizing); before ingest, and of what is no such file, none."""
    tree = Tree(tmp_path)
    assert images_gb(tree) is None
    tree.state.mkdir()
    np.savez(tree.particles, rotations=np.zeros((1000, 3, 3), np.float32), box=np.int64(256))
    assert images_gb(tree) == pytest.approx(0.206, abs=1e-3)
    whole = tree.particles.read_bytes()
    for broken in (b"", b"PK", whole[:100], whole.replace(b"box.npy", b"fox.npy"), b"\x00" * 1000):
        tree.particles.write_bytes(broken)
        assert images_gb(tree) is None
    np.savez(tree.particles, rotations=np.zeros((0, 3, 3)), box=np.int64(-4))
    assert images_gb(tree) is None


@pytest.mark.parametrize(("box", "rows", "pool"), [(64, 1000, ""), (4096, 500, "large"), (16384, 200, "huge")])
def test_sized_after_ingest(site: MemorySite, box: int, rows: int, pool: str) -> None:
    ingested(site, box, rows)
    site.submit(in_pool(site))
    site.work("ingest")
    assert site.depths() == {job_queue("reconstruction", "bulk", pool): 1}


def test_a_pool_that_is_named_wins_and_is_remembered(site: MemorySite) -> None:
    """Through a stage that has no such pool, a failure that waits, parking and its replay, and a retry from disk."""
    ingested(site, 16384, 200)
    waits = job_queue("reconstruction", "bulk", "h100")
    site.submit(in_pool(site, "h100"))
    site.work("ingest")
    assert site.depths() == {waits: 1}
    site.settings = site.settings.model_copy(update={"pool": "h100"})
    site.plays["reconstruction"] = Play(fails=Breakdown(signal=9), times=2)
    site.service("reconstruction", idle_exit_s=0.5).serve()
    assert sum(site.depths().values()) == 1
    site.clock.sleep(60)
    site.plays["reconstruction"] = Play(fails=Breakdown.of(InvalidInput("no")))
    site.work("reconstruction")
    assert len(site.parked()) == 1
    again = message_to_resume(site.tree().out)
    assert again is not None
    assert (again.work.pool, again.work.images_gb) == ("h100", pytest.approx(168.7, abs=0.1))
    replay(site.bus(), asked_for(None, everything=True))
    assert site.depths() == {waits: 1}
    site.plays["reconstruction"] = Play()
    site.work("reconstruction")
    assert site.depths() == {job_queue("analysis", "bulk", ""): 1}, "analysis has no pool of that name"


def test_a_retry_from_disk_is_sized(site: MemorySite) -> None:
    ingested(site, 4096, 500)
    site.submit(in_pool(site))
    site.work("ingest")
    site.broker.queues[job_queue("reconstruction", "bulk", "large")].messages.clear()
    again = message_to_resume(site.tree().out)
    assert again is not None
    Dispatch(site.bus(), site.topology).submit(again)
    assert site.depths() == {job_queue("reconstruction", "bulk", "large"): 1}


def test_workers_take_from_their_own_queues_alone(site: MemorySite) -> None:
    for pool, name in (("", "common"), ("h100", "special")):
        message = site.message(name)
        work = Work(request=message.work.request, route=("reconstruction",), pool=pool)
        site.submit(new_message(message.job_id, work))
    site.work("reconstruction")
    assert (site.state("reconstruction", "common"), site.state("reconstruction", "special")) == ("succeeded", "")
    site.settings = site.settings.model_copy(update={"pool": "h100"})
    service = site.work("reconstruction")
    assert site.state("reconstruction", "special") == "succeeded"
    assert service.metrics.worker_last_poll.labels("reconstruction", "bulk", "h100")._value.get() > 0
    assert site.outcomes() == {"succeeded": 2}


def test_live_before_bulk_within_a_pool(site: MemorySite) -> None:
    """Live work of the common queues is no reason for a pool's worker; that of the pool is."""
    site.settings = site.settings.model_copy(update={"pool": "h100", "preempt_after_s": 1.0})
    came: list[str] = []

    def send(name: str, pool: str) -> None:
        came.append(name)
        message = site.message(name)
        facts = {"request": message.work.request, "route": ("reconstruction",), "pool": pool, "job_class": "live"}
        site.submit(new_message(message.job_id, Work.model_validate(facts)))

    def come() -> None:
        if len(came) < 1:
            send("elsewhere", "")

    site.plays["reconstruction"] = Play(turns=400, on_turn=come)
    bulk = site.message(route=("reconstruction",))
    site.submit(new_message(bulk.job_id, Work(request=bulk.work.request, route=("reconstruction",), pool="h100")))
    site.work("reconstruction")
    assert site.outcomes() == {"succeeded": 1}
    came.clear()
    site.plays["reconstruction"] = Play(turns=400, on_turn=lambda: None if came else send("here", "h100"))
    other = site.message("other")
    site.submit(new_message(other.job_id, Work(request=other.work.request, route=("reconstruction",), pool="h100")))
    site.work("reconstruction")
    assert site.outcomes()["preempted"] == 1


def test_a_worker_of_no_such_pool_does_not_start(site: MemorySite) -> None:
    settings = site.settings.model_copy(update={"pool": "h200"})
    with pytest.raises(InvalidInput, match="reconstruction has no pool 'h200'") as error:
        Service("reconstruction", ("live", "bulk"), settings, bus=site.bus())
    assert "reconstruction.h100" in error.value.hint


def test_a_name_that_no_stage_knows_is_refused_where_jobs_are_sent() -> None:
    refuse_unknown_pool("", ())
    refuse_unknown_pool("large", POOLS)
    with pytest.raises(InvalidInput, match="'hudge'") as error:
        refuse_unknown_pool("hudge", POOLS)
    assert "h100, huge, large" in error.value.hint


@pytest.mark.parametrize("name", ["UPPER", "a.b", "-x", "x" * 40, "*", "a b"])
def test_names_that_are_no_word_of_a_key(name: str, site: MemorySite) -> None:
    with pytest.raises(ValueError, match="pool"):
        in_pool(site, name)


def test_queues_of_pools_are_those_of_stages(site: MemorySite) -> None:
    """Same arguments, bound by their own key, dead-lettered alike."""
    common = site.topology.queue(job_queue("reconstruction", "live"))
    queue = site.topology.queue(job_queue("reconstruction", "live", "large"))
    assert queue.arguments == common.arguments
    assert queue.arguments["x-dead-letter-exchange"] == DEAD
    bound = [found for found in site.topology.bindings if found.queue == queue.name]
    assert [(found.exchange, found.key) for found in bound] == [(JOBS, "reconstruction.live.large")]
    assert Pool.read("reconstruction.large:20") in site.topology.pools
