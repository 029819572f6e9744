"""Carries out what was decided about a message, effect by effect, and passes a crash point after each.

What the disk refuses while a message is being settled is logged, and the message is settled all the same: attempt,
reason and error travel in its headers. A copy is sent only while the broker still holds the delivery for us: one that
was taken back comes again by itself, and a copy would double it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from covaria.bus.model import BusError, Refused
from covaria.findings import Findings
from covaria.job.books import Books
from covaria.job.lease import LeaseKeeper, LeaseLost, is_valid
from covaria.job.size import sized
from covaria.messages.envelope import Message, message_id
from covaria.messages.job_event import Result
from covaria.request.paths import input_files
from covaria.request.stages import planned_stages
from covaria.tree import Tree, record
from covaria.worker.child import Order
from covaria.worker.decisions import decide
from covaria.worker.dispatch import OWNER
from covaria.worker.effects import (
    Claim,
    Decision,
    Effect,
    Note,
    NoteHandover,
    Outcome,
    Release,
    SendBack,
    SendLater,
    Settle,
    Start,
    SubmitNext,
    TakeLease,
    Tell,
    Watch,
)  # fmt: skip
from covaria.worker.facts import Facts, Folder, LeaseFact, look, reading, results_in, size_of
from covaria.worker.failures import Breakdown
from covaria.worker.leasing import OtherWork, ask_for_lease
from covaria.worker.owed import Owed
from covaria.worker.process import RunningStage
from covaria.worker.progress import ProgressBook
from covaria.worker.settling import Settling, TakenBack
from covaria.worker.spans import Span
from covaria.worker.supervise import Ending, Supervisor

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class Attempt(Settling):
    """One attempt at one job's message: what is known of it so far, and the hands that change the world."""

    message: Message
    job_class: str
    held_back: str = ""
    keeper: LeaseKeeper | None = None
    lease: LeaseFact = LeaseFact.NOT_ASKED
    lease_owner: str = ""
    claimed: bool = False
    process: RunningStage | None = None
    ending: Ending | None = None
    breakdown: Breakdown | None = None
    next_refused: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stage, self.settings = self.handler.stage, self.handler.settings
        self.tree = Tree(self.message.work.request.out)
        self.books = Books(self.tree, self.message.job_id)
        self.onward = self.message.onward()
        self.job_id, self.out = self.message.job_id, str(self.tree.out)
        work = self.message.work
        self.origin, self.traceparent = work.origin, self.message.traceparent
        self.first_stage = self.stage == planned_stages(work.request)[0]
        self.extra = {"job_id": self.job_id, "stage": self.stage, "attempt": self.ticket.attempt}
        self.extra |= {"trace": self.message.trace_id, **work.origin.words}

    def run(self) -> Outcome:
        """Decide and act until the message is settled. Raises BusError: then it comes again."""
        try:
            while True:
                decision = decide(self.facts())
                self._announce(decision)
                if self._goes_through(decision) and decision.outcome is not None:
                    self._measure(decision.outcome)
                    return decision.outcome
        except Exception:
            if self.process is not None:
                self.process.kill()
            self._release()
            raise

    def facts(self) -> Facts:
        """What is known now; a folder that cannot be read is a breakdown of its own."""
        folder = None
        try:
            folder = self._beside(self._look)
        except Exception as error:  # whatever a folder holds is this job's problem alone
            self._break_down(error)
        return Facts(
            ticket=self.ticket,
            tiers=len(self.dispatch.topology.tiers),
            folder=folder,
            next_stage=None if self.onward is None else self.onward.stage,
            lease=self.lease,
            lease_owner=self.lease_owner,
            held_back=self.held_back,
            claimed=self.claimed,
            ending=self.ending,
            breakdown=self.breakdown,
            next_refused=self.next_refused,
        )

    def _look(self) -> Folder:
        if self.keeper is not None and not is_valid(self.tree, self.keeper.lease.number):
            self.lease = LeaseFact.TAKEN_OVER
        return look(self.books, self.stage, self.ticket.first_queued)

    def _beside(self, call: Callable[[], T]) -> T:
        """The result of work on the disk, however long that takes; the connection is served meanwhile."""
        return self.handler.disk(call, self.handler.link.tick)

    def _goes_through(self, decision: Decision) -> bool:
        """Carry a decision out; False where an effect failed and the facts are to be looked at again."""
        said: list[Effect] = []
        for effect in decision.effects:
            try:
                self.do(effect)
            except TakenBack:
                log.warning("the broker took the delivery back; it comes again", extra=self.extra)
                return True
            except Refused:
                if not isinstance(effect, SubmitNext):
                    raise
                self.next_refused = True
                return False
            except BusError:
                raise
            except Exception as error:
                if not effect.best_effort or isinstance(error, LeaseLost):
                    self._break_down(error)
                    return False
                log.warning("%s failed, the message is settled all the same: %s", effect, error, extra=self.extra)
            else:
                said.append(effect)
            self.faults.passing(effect.point)
        if decision.last_words is not None and not all(word in said for word in decision.last_words):
            self._owe(*decision.last_words)
        return True

    def _owe(self, settle: Settle, note: Note) -> None:
        """The folder is to say later what it cannot say now."""
        facts = {"attempt": self.ticket.attempt, "worker": OWNER, "reason": note.reason, "error": note.error}
        self.handler.ledger.add(Owed(Tree(self.tree.out), self.job_id, self.stage, settle.error or {}, facts))

    def _break_down(self, error: Exception) -> None:
        if self.breakdown is None or isinstance(error, LeaseLost):
            log.warning("while dealing with the message", extra=self.extra, exc_info=error)
            self.breakdown = Breakdown.of(error)

    def _announce(self, decision: Decision) -> None:
        if decision.failure is not None:
            self.metrics.job_failures.labels(self.stage, decision.failure).inc()
            if decision.failure == "device":
                self.handler.device.doubt()
        if decision.why:
            level = logging.INFO if decision.failure is None else logging.ERROR
            log.log(level, "%s", decision.why, extra=self.extra)

    def _measure(self, outcome: Outcome) -> None:
        known = {"job_id": self.job_id, "stage": self.stage, "attempt": self.ticket.attempt, "class": self.job_class}
        facts = {**known, **self.origin.words, "outcome": outcome.label}
        failure = outcome.label if outcome in (Outcome.PARKED, Outcome.RETRIED) else ""
        self.handler.tell_span(Span.until_now(self.traceparent, self.clock.monotonic() - self.began, facts, failure))
        if self.ending is not None:
            seconds = self.clock.monotonic() - self.began
            self.metrics.job_duration.labels(self.stage, self.job_class, outcome.label).observe(seconds)

    # ---- the effects
    def do(self, effect: Effect) -> None:
        """One effect."""
        match effect:
            case TakeLease():
                self._take_lease()
            case Claim():
                self._beside(self._claim)
            case Settle(status, error, preemptions):
                self._beside(lambda: self.books.settle(self.stage, status, error, preemptions))
            case Note():
                self._beside(lambda: self._note(effect))
            case NoteHandover():
                identifier = None if self.onward is None else message_id(self.onward, 1, 0)
                self._beside(lambda: self.books.note_handover(self.stage, identifier))
            case Release():
                self._release()
            case Start():
                self._start()
            case Watch():
                self._watch()
            case SubmitNext():
                self.dispatch.submit(self._beside(self._next_message))
            case SendLater(tier, ticket):
                self._need_delivery()
                self.dispatch.send_later(self.delivery, self.message, ticket, tier)
            case SendBack(ticket):
                self._need_delivery()
                self.dispatch.send_back(self.delivery, self.message, ticket)
            case _:
                super().do(effect)

    def _next_message(self) -> Message:
        assert self.onward is not None
        return sized(self.onward.in_class(self.books.job_class(self.message.work.job_class)))

    def _claim(self) -> None:
        with reading(self.books):
            self.books.claim(self.message)
        self.claimed = True

    def _take_lease(self) -> None:
        handler, clock = self.handler, self.clock
        other_work = OtherWork(handler.work_waits, clock, self.settings.poll_interval_s)
        wait = other_work.waiting_for(lambda: not handler.draining())
        asked = handler.disk(
            lambda: ask_for_lease(self.books, self.settings, wait, clock.monotonic, handler.sightings),
            other_work.looked_for(handler.link.tick),
        )
        self.lease, self.lease_owner = asked.fact, asked.owner
        if asked.fact is LeaseFact.UNDECIDED and handler.draining():
            self.lease = LeaseFact.GIVEN_UP
        if asked.taken_from:
            log.warning("taking over the lease of %s", asked.taken_from, extra=self.extra)
            self.metrics.lease_takeovers.labels(self.stage).inc()
        if asked.lease is not None:
            self.keeper = handler.keep_lease(asked.lease, self.settings.lease_renew_s)
            self._write_as(asked.lease.tree)

    def _write_as(self, tree: Tree) -> None:
        """Books with the lease's pen while we hold it: woken late, we write nothing over what another did since."""
        self.tree, self.books = tree, Books(tree, self.job_id)

    def _release(self) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is None:
            return
        self.lease = LeaseFact.FREED if self.lease is LeaseFact.OURS else self.lease
        self._write_as(Tree(self.tree.out))
        self._beside(keeper.release)

    def _found(self, tell: Tell) -> Findings:
        return self._beside(lambda: record.read_findings(self.tree)) if tell.state == "succeeded" else Findings()

    def _results(self) -> tuple[Result, ...]:
        return self._beside(lambda: results_in(self.tree.out))

    def _note(self, note: Note) -> None:
        facts = {"reason": note.reason, "error": note.error} if note.reason else {}
        self.books.note_delivery(self.stage, note.state, attempt=self.ticket.attempt, worker=OWNER, **facts)

    def _start(self) -> None:
        assert self.keeper is not None
        settings, request = self.settings, self.message.work.request
        self.metrics.job_queue_wait.labels(self.stage, self.job_class).observe(self.ticket.waited_s())
        sizes = self._beside(lambda: [size_of(file.path) for file in input_files(request)])
        self.metrics.input_bytes.labels(self.stage).inc(sum(sizes))
        self.metrics.job_last_progress.labels(stage=self.stage).set_to_current_time()
        order = Order.of(self.message, self.keeper.lease.number, settings, self.ticket.memory_scale)
        self.process = self.handler.start_stage(order, settings.scratch)
        log.info("started, out %s", request.out, extra=self.extra)

    def _watch(self) -> None:
        assert self.keeper is not None
        assert self.process is not None
        make_room = self.handler.live_first.watcher(self.job_class, self.ticket.preemptions)
        supervisor = Supervisor(
            self.handler.link, self.delivery, self.tree, self.stage, self.keeper, self.settings, self.metrics,
            self.handler.draining, self.clock, make_room,
        )  # fmt: skip
        progress = ProgressBook(self.books, self.stage, self.metrics, self.clock)
        self.metrics.job_in_progress.labels(self.stage).set(1)
        try:
            self.ending = supervisor.watch(self.process, progress)
        except Exception:
            self.process.kill()
            raise
        finally:
            self.process = None
            self.metrics.at_rest(self.stage)
