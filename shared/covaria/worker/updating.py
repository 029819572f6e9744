"""An attempt at an update of a growing set: a job in OUT/.covaria/next, whose end is that OUT becomes what it made."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from covaria.job.books import Books
from covaria.job.updates import growing_set, is_in_place, note_refused, note_wanted, put_in_place, refuse_no_update
from covaria.messages.envelope import Message
from covaria.tree import Tree
from covaria.worker.effects import Effect, NoteRefused, Outcome, PutInPlace
from covaria.worker.facts import Facts, LeaseFact
from covaria.worker.interpreter import Attempt
from covaria.worker.leasing import OtherWork, ask_for_lease

log = logging.getLogger(__name__)


class SetTaken(Exception):
    """Somebody works on the set: the update is put in place later."""


def is_update(message: Message) -> bool:
    """Whether a job is made in the folder of a set's next version."""
    return growing_set(Tree(message.work.request.out)) is not None


@dataclass
class UpdateAttempt(Attempt):
    """The same as of any job, until its last stage is done."""

    set_taken: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        found = growing_set(self.tree)
        assert found is not None
        self.set = found

    def run(self) -> Outcome:
        """As any attempt, once OUT knows that it is asked for. Raises BusError: then it comes again."""
        try:
            if self.first_stage:  # later stages were asked for later
                self._beside(lambda: note_wanted(self.tree, self.job_id, self.ticket.first_queued))
        except Exception as error:  # without it, updates that wait are made in the order in which they come
            log.warning("the wish for this update is not on disk: %s", error, extra=self.extra)
        return super().run()

    def facts(self) -> Facts:
        return replace(super().facts(), set_taken=self.set_taken)

    def do(self, effect: Effect) -> None:
        match effect:
            case PutInPlace():
                self._put_in_place()
            case NoteRefused(error):
                self._beside(lambda: note_refused(self.set, self.message.work.request.ingest.particles, error))
            case _:
                super().do(effect)

    def _claim(self) -> None:
        refuse_no_update(self.message.work.request)
        super()._claim()

    def _break_down(self, error: Exception) -> None:
        if isinstance(error, SetTaken):
            self.set_taken = str(error)
        else:
            super()._break_down(error)

    def _put_in_place(self) -> None:
        """Under the set's own lease. From then on what is told is OUT's. Raises SetTaken."""
        handler, clock = self.handler, self.clock
        if not self._beside(lambda: is_in_place(self.set, self.job_id) and not self.set.promotion.exists()):
            other_work = OtherWork(handler.work_waits, clock, self.settings.poll_interval_s)
            wait = other_work.waiting_for(lambda: not handler.draining())
            books = Books(self.set, self.job_id)
            asked = handler.disk(
                lambda: ask_for_lease(books, self.settings, wait, clock.monotonic, handler.sightings),
                other_work.looked_for(handler.link.tick),
            )
            if asked.fact is not LeaseFact.OURS or asked.lease is None:
                raise SetTaken(asked.owner)
            keeper = handler.keep_lease(asked.lease, self.settings.lease_renew_s)
            line = self.message.work.command_line or f"covaria grow {self.set.out}"
            try:
                self._beside(lambda: put_in_place(keeper.lease.tree, self.job_id, line))
            finally:
                self._beside(keeper.release)
        self._write_as(Tree(self.set.out))
        self.out = str(self.set.out)
