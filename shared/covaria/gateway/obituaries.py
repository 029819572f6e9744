"""Messages that the broker itself put aside: no worker could tell of them, so it is told here.

Every dead-lettered message comes by as a copy. One that a worker parked says so in its headers, and the worker has told
of it; what is left took its workers down with it (delivery_limit), or was rejected by one that met a defect.
"""

from __future__ import annotations

import hashlib

from covaria.bus.model import Delivery, death_reason
from covaria.messages.envelope import BadMessage, unseal
from covaria.messages.job_event import JobEvent, Rejection
from covaria.messages.ticket import REASON
from covaria.plain import printable
from covaria.worker.dispatch import Dispatch

MEANINGS = {
    "delivery_limit": "every worker that took this message ended with it; look at the workers' logs (out of memory?)",
    "rejected": "a worker met a defect in dealing with this message and let the broker park it",
}
QUEUE = "x-first-death-queue"


def tell_parked(delivery: Delivery, dispatch: Dispatch) -> bool:
    """Tell of a message that the broker parked; whether there was anything to tell."""
    if delivery.headers.get(REASON):
        return False
    reason = death_reason(delivery.headers) or "dead_lettered"
    text = MEANINGS.get(reason, "the broker put this message aside")
    stage = delivery.key.partition(".")[0]
    try:
        message = unseal(delivery.body)
    except BadMessage as error:
        if reason == "rejected":  # whoever rejected what cannot be read has told of it
            return False
        _tell_of_bytes(delivery, dispatch, reason, f"{text}; {error.message}")
        return True
    work = message.work
    event = JobEvent(
        job_id=message.job_id, state="failed", out=str(work.request.out), origin=work.origin, stage=stage,
        reason=reason, message=text,
    )  # fmt: skip
    dispatch.tell_of_job(event, message.traceparent)
    return True


def _tell_of_bytes(delivery: Delivery, dispatch: Dispatch, reason: str, text: str) -> None:
    dispatch.tell_of_rejection(
        Rejection(
            message_id=printable(delivery.message_id[:200]),
            queue=printable(str(delivery.headers.get(QUEUE, ""))[:200]),
            reason=reason,
            message=text,
            sha256=hashlib.sha256(delivery.body).hexdigest(),
        )
    )
