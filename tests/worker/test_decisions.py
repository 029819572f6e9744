"""The decision table as a pure function: what holds for all facts whatever, found by trying them all."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covaria.messages.envelope import BadMessage
from covaria.messages.ticket import Ticket
from covaria.worker.decisions import decide, refuse
from covaria.worker.effects import (
    Ack,
    Claim,
    Decision,
    Note,
    NoteHandover,
    Outcome,
    Reject,
    Release,
    SendBack,
    SendLater,
    SendToParking,
    Settle,
    Start,
    SubmitNext,
    TakeLease,
    Tell,
    TellRejected,
    Watch,
)
from covaria.worker.facts import Facts, Folder, LeaseFact
from covaria.worker.failures import Breakdown
from covaria.worker.supervise import Ending

COPIES = (SendBack, SendLater, SendToParking)
OUT = Path("/data/out")

breakdowns = st.sampled_from(
    [
        Breakdown(signal=9),
        Breakdown(exit_code=3),
        Breakdown(("MissingFile", "InvalidInput"), "gone"),
        Breakdown(("InvalidInput",), "wrong"),
        Breakdown(("OSError",), "full", errno=28),
        Breakdown(("LeaseLost",), "taken"),
        Breakdown(("Cancelled",), ""),
        Breakdown(("Interrupted",), ""),
        Breakdown(("MemoryError",), ""),
        Breakdown(("KeyError",), "x"),
    ]
)
endings = st.builds(
    Ending,
    st.none() | breakdowns,
    st.sampled_from(["", "cancel", "drain", "time_limit", "lease_lost", "preempt"]),
    st.booleans(),
)
folders = st.builds(
    Folder, st.just(OUT), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()
)
tickets = st.builds(Ticket, attempt=st.integers(1, 6), sequence=st.integers(0, 9))


@st.composite
def all_facts(draw: st.DrawFn) -> Facts:
    breakdown = draw(st.none() | breakdowns)
    folder = draw(folders if breakdown is None else st.none() | folders)
    lease = draw(st.sampled_from(LeaseFact))
    return Facts(
        ticket=draw(tickets),
        tiers=draw(st.integers(1, 4)),
        folder=folder,
        held_back=draw(st.sampled_from(["", "1 of 1"])),
        next_stage=draw(st.sampled_from([None, "density"])),
        lease=lease,
        claimed=draw(st.booleans()) if lease is LeaseFact.OURS else False,
        ending=draw(st.none() | endings),
        breakdown=breakdown,
        next_refused=draw(st.booleans()),
    )


def kinds(decision: Decision) -> list[type]:
    return [type(effect) for effect in decision.effects]


@settings(max_examples=1000)
@given(all_facts())
def test_what_holds_for_all_facts(facts: Facts) -> None:
    decision = decide(facts)
    found = kinds(decision)
    assert decide(facts) == decision, "the same facts, the same decision"
    assert len(found) == len(set(found)), "nothing is done twice"
    if decision.outcome is None:
        assert not {Ack, Reject, Release, *COPIES, SubmitNext} & set(found), "settled only with an outcome"
        assert found in ([TakeLease], [Claim], [Note, Tell, Start, Watch])
        return
    assert Ack in found, "an outcome settles the message"
    assert found.count(Ack) == 1
    before = found[: found.index(Ack)]
    copies = [kind for kind in found if kind in COPIES]
    assert len(copies) <= 1
    assert all(kind in before for kind in (*copies, SubmitNext, Tell) if kind in found), "sent before acknowledged"
    if facts.lease is LeaseFact.OURS and decision.outcome is not Outcome.DEFERRED:
        assert Release in before, "the folder is freed"
    if Settle in found:
        assert facts.lease is LeaseFact.OURS, "only the holder corrects the stage's state"
        assert found.index(Settle) < found.index(Release)
    if decision.outcome is Outcome.LOST:
        assert set(found) == {Release, Ack}, "nothing is written, sent or told of what is another's"
    if decision.failure is not None:
        assert copies and Tell in found
        attempt = next((effect.ticket.attempt for effect in decision.effects if isinstance(effect, SendLater)), None)
        assert attempt in (None, facts.ticket.attempt + 1), "only failures count"
    else:
        assert all(
            effect.ticket.attempt == facts.ticket.attempt
            for effect in decision.effects
            if isinstance(effect, SendLater | SendBack)
        )


@given(all_facts())
def test_taken_over_nothing_else_matters(facts: Facts) -> None:
    taken = Facts(**{**vars(facts), "lease": LeaseFact.TAKEN_OVER})
    assert decide(taken).outcome is Outcome.LOST


@pytest.mark.parametrize("attempts", range(1, 8))
def test_every_failure_ends(attempts: int) -> None:
    """No class of failure is tried for ever."""
    last = Facts(Ticket(attempt=9), 3, None, breakdown=Breakdown(signal=9))
    assert decide(last).outcome is Outcome.PARKED
    facts = Facts(Ticket(attempt=attempts), 3, None, breakdown=Breakdown(("KeyError",)))
    assert decide(facts).outcome is (Outcome.RETRIED if attempts == 1 else Outcome.PARKED)


@given(all_facts())
def test_making_room_counts_itself_and_nothing_else(facts: Facts) -> None:
    decision = decide(facts)
    if decision.outcome is not Outcome.PREEMPTED:
        assert not any(
            effect.ticket.preemptions != facts.ticket.preemptions
            for effect in decision.effects
            if isinstance(effect, SendLater | SendBack)
        )
        return
    assert facts.ending is not None
    assert facts.ending.why == "preempt"
    assert decision.failure is None
    back = next(effect for effect in decision.effects if isinstance(effect, SendBack))
    assert back.ticket == facts.ticket.preempted()
    assert kinds(decision)[-4:] == [Release, SendBack, Tell, Ack]


def test_the_way_of_a_job() -> None:
    """The four moments of a job that nothing befalls."""
    ours = Folder(OUT, ours=True)
    assert kinds(decide(Facts(Ticket(), 3, Folder(OUT)))) == [TakeLease]
    assert kinds(decide(Facts(Ticket(), 3, Folder(OUT), lease=LeaseFact.OURS))) == [Claim]
    held = Facts(Ticket(), 3, ours, next_stage="density", lease=LeaseFact.OURS, claimed=True)
    assert kinds(decide(held)) == [Note, Tell, Start, Watch]
    done = Facts(**{**vars(held), "folder": Folder(OUT, ours=True, done=True), "ending": Ending(None, "", False)})
    assert kinds(decide(done)) == [Note, Release, SubmitNext, Tell, NoteHandover, Ack]


def test_a_done_stage_is_never_settled_as_failed() -> None:
    for lease, handed_over in product(LeaseFact, (True, False)):
        folder = Folder(OUT, ours=True, done=True, handed_over=handed_over)
        facts = Facts(Ticket(), 3, folder, lease=lease, breakdown=Breakdown(("BadMessage",), "too large"))
        assert Settle not in kinds(decide(facts))


def test_refusals() -> None:
    for reason in ("envelope", "size"):
        assert kinds(refuse(BadMessage(reason, "x"))) == [TellRejected, Reject]
    for reason in ("version", "schema", "path"):
        assert kinds(refuse(BadMessage(reason, "x"))) == [SendToParking, TellRejected, Ack]
        assert kinds(refuse(BadMessage(reason, "x", job_id="job"))) == [SendToParking, Tell, Ack]
