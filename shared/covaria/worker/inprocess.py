"""A whole job in one process: the same messages over the in-process bus. `covaria run` goes this way."""

from __future__ import annotations

from collections.abc import Callable

from covaria.bus.memory import MemoryBus
from covaria.bus.topology import build_topology, job_queue
from covaria.messages.envelope import new_message, unseal
from covaria.messages.work import Work
from covaria.stage import Job
from covaria.worker.dispatch import Dispatch

RunStage = Callable[[str, Job], None]


def run_in_process(job_id: str, work: Work, run: RunStage) -> None:
    """Take the job through every stage of its route, one after another, calling `run(stage, job)`.

    What `run` raises comes straight through: a person is watching, and a second run resumes.
    """
    topology = build_topology((1.0,))
    bus = MemoryBus()
    bus.open()
    bus.declare(topology)
    dispatch = Dispatch(bus, topology)
    dispatch.submit(new_message(job_id, work))
    for stage in work.route:
        delivery = bus.get(job_queue(stage, work.job_class))
        assert delivery is not None, f"the message for {stage} is not in its queue"
        message = unseal(delivery.body, stage=stage)
        run(stage, Job(message.job_id, message.work.request))
        onward = message.onward()
        if onward is not None:
            dispatch.submit(onward)
        bus.ack(delivery)
    bus.close()
