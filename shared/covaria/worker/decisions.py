"""What to do about a message: a pure function from facts to a decision. Nothing here reads, writes or waits.

A message is decided upon until a decision has an outcome: on its arrival, with the folder's lease in hand, with the
folder claimed, after the stage's process has ended, and whenever an effect failed.
"""

from __future__ import annotations

from covaria.errors import RefusedOutput
from covaria.messages.envelope import BadMessage
from covaria.worker.effects import (
    Ack,
    Claim,
    Decision,
    Effect,
    Note,
    NoteHandover,
    NoteRefused,
    Outcome,
    PutInPlace,
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
from covaria.worker.failures import MIDDLE, SHORT, Breakdown, Failure, Park, classify, verdict_on
from covaria.worker.supervise import Ending


def decide(facts: Facts) -> Decision:
    """What to do next about a job's message."""
    if facts.lease is LeaseFact.TAKEN_OVER:
        return _lost()
    if facts.breakdown is not None:
        return _after_breakdown(facts, facts.breakdown)
    folder = facts.folder
    assert folder is not None, "a folder that cannot be read is a breakdown"
    if facts.set_taken:
        return _look_again(facts, SHORT, f"{facts.set_taken} works on the set; its update is put in place later")
    if folder.standing.in_place:
        return Decision((Release(), PutInPlace(), Tell("succeeded"), Ack()), Outcome.DUPLICATE, why="it is in place")
    if facts.next_refused:
        return _look_again(facts, SHORT, "the next stage's queue takes nothing now")
    if facts.ending is not None:
        return _after_stage(facts, folder, facts.ending)
    if folder.superseded:
        return Decision((Release(), Ack()), Outcome.SUPERSEDED, why="superseded by a later job in the same folder")
    if folder.ours and folder.done:
        return _hand_over(facts, folder, Outcome.DUPLICATE)
    if folder.standing.behind:
        why = f"a later update of the same set, {folder.standing.behind}, takes its place"
        return Decision((Release(), Tell("cancelled", message=why), Ack()), Outcome.SUPERSEDED, why=why)
    if folder.standing.busy:
        why = f"another update of this set, {folder.standing.busy}, is under way; looking again soon"
        return _look_again(facts, SHORT, why)
    if folder.foreign:
        return _failed(facts, _not_ours(folder))
    return _before_stage(facts, folder)


def refuse(error: BadMessage) -> Decision:
    """What to do about bytes that are no job: no envelope at all is rejected, the rest is parked with its reason."""
    why = f"refused ({error.reason}): {error.message}"
    if error.reason in ("size", "envelope"):
        return Decision((TellRejected(error.reason, error.message), Reject()), Outcome.PARKED, why=why)
    told: Effect = TellRejected(error.reason, error.message)
    if error.job_id:
        told = Tell("parked", error.reason, error.message)
    return Decision((SendToParking(error.reason, error.message), told, Ack()), Outcome.PARKED, why=why)


# ---- the moments
def _before_stage(facts: Facts, folder: Folder) -> Decision:
    match facts.lease:
        case LeaseFact.NOT_ASKED if facts.held_back and not folder.cancelled:
            return _hold_back(facts)
        case LeaseFact.NOT_ASKED:
            return Decision((TakeLease(),))
        case LeaseFact.GIVEN_UP:
            return _hand_back(facts)
        case LeaseFact.UNDECIDED:
            why = f"whether {facts.lease_owner} lives is not known yet, and other work waits; looking again soon"
            return _look_again(facts, SHORT, why)
        case LeaseFact.ANOTHERS if folder.cancelled:
            return Decision((Ack(),), Outcome.CANCELLED)
        case LeaseFact.ANOTHERS:
            return _look_again(facts, facts.tiers - 1, f"{facts.lease_owner} works on this job; looking again later")
    if not facts.claimed:
        return Decision((Claim(),))
    if folder.cancelled:
        return _cancelled(facts)
    return Decision((Note("running"), Tell("started"), Start(), Watch()))


def _after_stage(facts: Facts, folder: Folder, ending: Ending) -> Decision:
    breakdown = ending.breakdown
    if breakdown is None or folder.done:  # a process can die after its work is published
        return _hand_over(facts, folder, Outcome.SUCCEEDED)
    if ending.why == "lease_lost" or "LeaseLost" in breakdown.types:
        return _lost()
    if ending.why == "cancel" or "Cancelled" in breakdown.types:
        return _cancelled(facts)
    if ending.why == "time_limit":
        return _failed(facts, breakdown, "time_limit")
    if ending.why == "preempt":
        return _make_room(facts)
    if ending.why == "drain" or "Interrupted" in breakdown.types:
        return _hand_back(facts)
    return _failed(facts, breakdown)


def _after_breakdown(facts: Facts, breakdown: Breakdown) -> Decision:
    return _lost() if "LeaseLost" in breakdown.types else _failed(facts, breakdown)


# ---- the ways to end: books, lease, copy, event, acknowledgement; cut anywhere, the redelivery does what is left
def _hand_over(facts: Facts, folder: Folder, outcome: Outcome) -> Decision:
    """The stage is done: free the folder, queue the next stage if that is not known to be queued, acknowledge.

    The hand-over is noted last: cut before that, all of it is done again, and neither note nor event is missing.
    """
    if folder.handed_over:
        return Decision((Release(), Ack()), outcome)
    if folder.standing.update and facts.next_stage is None:  # its folder goes, and what is noted in it
        return Decision((Note("succeeded"), Release(), PutInPlace(), Tell("succeeded"), Ack()), outcome)
    onward: tuple[Effect, ...] = () if facts.next_stage is None else (SubmitNext(),)
    told = (Tell("succeeded", next_stage=facts.next_stage), NoteHandover())
    return Decision((Note("succeeded"), Release(), *onward, *told, Ack()), outcome)


def _failed(facts: Facts, breakdown: Breakdown, failure: Failure | None = None) -> Decision:
    failure = failure or classify(breakdown)
    verdict = verdict_on(failure, facts.ticket, facts.tiers)
    text = str(breakdown)
    parked = isinstance(verdict, Park)
    error = {"type": breakdown.types[0] if breakdown.types else failure, "message": text, "hint": breakdown.hint}
    words = (Settle("failed" if parked else "queued", error), Note("parked" if parked else "retrying", failure, text))
    known = facts.folder is not None and facts.folder.ours
    done = facts.folder is not None and facts.folder.done
    books = _by_the_holder(facts, *(words[1:] if done else words)) if known else ()
    why = f"attempt failed ({failure}): {text}"
    if isinstance(verdict, Park):
        sent: tuple[Effect, ...] = (SendToParking(failure, text), Tell("parked", failure, text), Ack())
        if facts.folder is not None and facts.folder.standing.update:
            sent = (NoteRefused(error), *sent)
        last_words = words if known and not done else None
        return Decision((*books, Release(), *sent), Outcome.PARKED, failure, why, last_words)
    ticket = facts.ticket.again(f"{failure}: {text}", memory_scale=verdict.memory_scale)
    later = (SendLater(verdict.tier, ticket), Tell("retrying", failure, text), Ack())
    return Decision((*books, Release(), *later), Outcome.RETRIED, failure, why)


def _cancelled(facts: Facts) -> Decision:
    books = _by_the_holder(facts, Settle("cancelled"), Note("cancelled"))
    return Decision((*books, Release(), Tell("cancelled"), Ack()), Outcome.CANCELLED)


def _hand_back(facts: Facts) -> Decision:
    """We are asked to stop: the job goes back to its queue as it was; what is done is kept on disk."""
    books = _by_the_holder(facts, Settle("queued"), Note("handed_back"))
    effects = (*books, Release(), SendBack(facts.ticket.unchanged()), Tell("handed_back"), Ack())
    return Decision(effects, Outcome.HANDED_BACK)


def _make_room(facts: Facts) -> Decision:
    """Live work waits: the job goes back to its queue, and only the count of this is other than before."""
    ticket = facts.ticket.preempted()
    books = _by_the_holder(facts, Settle("queued", preemptions=ticket.preemptions), Note("preempted"))
    effects = (*books, Release(), SendBack(ticket), Tell("preempted", message="live work waits"), Ack())
    why = f"handed back for live work, for the {ticket.preemptions}. time; it resumes later"
    return Decision(effects, Outcome.PREEMPTED, why=why)


def _by_the_holder(facts: Facts, *books: Effect) -> tuple[Effect, ...]:
    """Who holds no lease writes nothing."""
    return books if facts.lease is LeaseFact.OURS else ()


def _look_again(facts: Facts, tier: int, why: str) -> Decision:
    return Decision((Release(), SendLater(tier, facts.ticket.unchanged()), Ack()), Outcome.DEFERRED, why=why)


def _hold_back(facts: Facts) -> Decision:
    """Over quota: asked again by and by, told of once."""
    text = f"quota: {facts.held_back}"
    told = () if facts.ticket.last_error.startswith("quota: ") else (Tell("held_back", "quota", facts.held_back),)
    later = SendLater(min(MIDDLE, facts.tiers - 1), facts.ticket.held_back(text))
    return Decision((later, *told, Ack()), Outcome.HELD_BACK, why=f"waits, {text}")


def _lost() -> Decision:
    return Decision((Release(), Ack()), Outcome.LOST, why="another worker took the job over; leaving it alone")


def _not_ours(folder: Folder) -> Breakdown:
    return Breakdown.of(
        RefusedOutput("is not empty and was not made by Covaria", file=folder.out, hint="give a new folder")
    )
