"""Quotas where a job begins: what reached the queue past everybody who asks waits there, told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from covaria_memory_site import MemorySite, Play
from hypothesis import given
from hypothesis import strategies as st

from covaria.messages.envelope import Message, new_message
from covaria.messages.ticket import Ticket
from covaria.messages.work import Work
from covaria.operations.ledger.rows import Row
from covaria.operations.ledger.store import Ledger
from covaria.operations.quotas import why_held
from covaria.request.origin import Origin
from covaria.tree import record
from covaria.worker.decisions import decide
from covaria.worker.effects import Ack, Outcome, SendLater, Tell
from covaria.worker.facts import Facts, Folder, LeaseFact


class Owners:
    """How many jobs of whom are known, and one job each allowed."""

    def __init__(self, site: MemorySite) -> None:
        self.site = site
        (site.root / "quotas.yaml").write_text("quotas: [{by: proposal, jobs: 1}]")
        self.ledger = Ledger(site.root / "ledger")
        site.settings = site.settings.model_copy(
            update={"ledger": site.root / "ledger", "quotas": site.root / "quotas.yaml"}
        )

    def know(self, name: str, status: str, proposal: str = "p1", job_id: str = "") -> None:
        at, out = record.now(), str(self.site.root / name)
        facts = (status, "ingest", "bulk", at, at, proposal, "", "", "", 0.0, 0.0, 0, "", "", "{}")
        self.ledger.put([Row(out, job_id or f"job-{name}", *facts)])

    def work(self) -> None:
        site = self.site
        service = site.service(why_held=lambda message: why_held(message, site.settings))
        service.serve()
        service.bus.close()


@pytest.fixture
def site(memory_site: MemorySite) -> MemorySite:
    return memory_site


@pytest.fixture
def owners(site: MemorySite) -> Owners:
    return Owners(site)


def job_of(site: MemorySite, name: str = "job", proposal: str = "p1") -> Message:
    plain = site.message(name)
    work = Work(request=plain.work.request, route=("ingest",), origin=Origin(proposal=proposal))
    return new_message(plain.job_id, work)


def held(site: MemorySite) -> list[dict[str, str]]:
    return [body for body in site.event_bodies() if body["state"] == "held_back"]


def test_held_back_until_there_is_room_and_told_once(site: MemorySite, owners: Owners) -> None:
    owners.know("other", "running")
    asked: list[float] = []

    def pass_time() -> None:
        asked.append(site.clock.now)
        if site.clock.now > 1010:
            owners.know("other", "succeeded")

    site.clock.on_wait = pass_time
    site.submit(job_of(site))
    owners.work()
    assert site.state() == "succeeded"
    outcomes = site.outcomes()
    assert outcomes["succeeded"] == 1
    assert outcomes["held_back"] >= 3, "asked again and again"
    assert len(held(site)) == 1, "told once"
    assert held(site)[0]["reason"] == "quota"
    assert "proposal 'p1' has 1 jobs queued or running, of 1 allowed" in held(site)[0]["message"]
    assert site.delivery()["attempt"] == 1
    assert [key for key, _ in site.told()] == ["job.running", "job.finished"]


@pytest.mark.parametrize("proposal", ["p2", ""])
def test_others_begin(site: MemorySite, owners: Owners, proposal: str) -> None:
    owners.know("other", "running")
    site.submit(job_of(site, proposal=proposal))
    owners.work()
    assert site.outcomes() == {"succeeded": 1}


def test_what_was_let_in_or_has_begun_begins(site: MemorySite, owners: Owners) -> None:
    """The ledger knows it, or its folder does: a limit holds back new jobs and stops none."""
    owners.know("other", "running")
    known = job_of(site, "known")
    owners.know("known", "queued", job_id=known.job_id)
    site.submit(known)
    begun = job_of(site, "begun")
    site.submit(begun)
    (site.root / "quotas.yaml").write_text("quotas: [{by: proposal, jobs: 9}]")
    site.plays["ingest"] = Play(turns=100, on_turn=lambda: setattr(site.services[-1], "terms", 1))
    for _ in range(2):
        service = site.service(max_jobs=1, why_held=lambda message: why_held(message, site.settings))
        service.serve()
        service.bus.close()
    assert site.outcomes() == {"handed_back": 2}
    (site.root / "quotas.yaml").write_text("quotas: [{by: proposal, jobs: 0}]")
    site.plays["ingest"] = Play()
    owners.work()
    assert site.outcomes() == {"handed_back": 2, "succeeded": 2}


def test_a_cancelled_job_is_not_held_back(site: MemorySite, owners: Owners) -> None:
    owners.know("other", "running")
    site.submit(job_of(site))
    site.tree().state.mkdir(parents=True)
    site.tree().cancel.write_text("now")
    owners.work()
    assert site.outcomes() == {"cancelled": 1}


def test_where_nobody_can_count_nobody_begins(site: MemorySite, owners: Owners, tmp_path: Path) -> None:
    owners.ledger.close()
    (site.root / "ledger" / "jobs.sqlite").unlink()
    site.submit(job_of(site))
    site.service(idle_exit_s=0.5, why_held=lambda message: why_held(message, site.settings)).serve()
    assert site.outcomes() == {"held_back": 1}
    (waits,) = (
        message for queue in site.broker.queues.values() for message in queue.messages if "retry" in queue.queue.name
    )
    assert "cannot be read" in str(waits.headers["covaria-last-error"])
    assert json.loads(waits.body)["subject"] == "job-job"


@given(st.integers(1, 6), st.integers(1, 4), st.text(max_size=9), st.sampled_from(["", "quota: 1 of 1", "killed: x"]))
def test_the_decision(attempt: int, tiers: int, why: str, before: str) -> None:
    ticket = Ticket(attempt=attempt, last_error=before)
    decision = decide(Facts(ticket, tiers, Folder(Path("/o")), held_back=why))
    if not why:
        assert decision.outcome is None
        return
    assert decision.outcome is Outcome.HELD_BACK
    assert decision.failure is None
    later, *told, ack = decision.effects
    assert isinstance(later, SendLater) and later.tier < tiers and later.ticket.attempt == attempt
    assert isinstance(ack, Ack)
    assert [type(effect) for effect in told] == ([] if before.startswith("quota") else [Tell])
    done = decide(Facts(ticket, tiers, Folder(Path("/o"), ours=True, done=True), held_back=why))
    assert done.outcome is Outcome.DUPLICATE
    holding = decide(Facts(ticket, tiers, Folder(Path("/o")), held_back=why, lease=LeaseFact.OURS))
    assert holding.outcome is None, "once it has the folder it goes on"
