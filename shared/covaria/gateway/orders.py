"""Orders that come over the bus: carried out on the disk here; what is to be sent or told then is for the clerk."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from covaria.bus.model import Delivery
from covaria.bus.topology import CONTROL
from covaria.errors import CovariaError
from covaria.messages.control import unseal_order
from covaria.messages.envelope import BadMessage, Message
from covaria.messages.job_event import JobEvent, Rejection
from covaria.operations.control import carry_out
from covaria.plain import printable
from covaria.request.paths import PathRefused
from covaria.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """What came of an order: a message to send again, or what to tell of one that was refused."""

    action: str
    message: Message | None = None
    rejection: Rejection | None = None


def take_order(delivery: Delivery, settings: Settings) -> Taken:
    """Carry out what a delivery orders. Never raises."""
    action, reason, text = "unknown", "", ""
    try:
        order = unseal_order(delivery.body)
        action = order.action
        return Taken(action, carry_out(order, settings).message)
    except BadMessage as error:
        reason, text = str(error.reason), error.message
    except PathRefused as error:
        reason, text = "path", error.message
    except CovariaError as error:
        reason, text = "order", error.message
    except Exception as error:  # whatever lies in the folder is that job's problem
        log.exception("order %.200r", delivery.message_id)
        reason, text = "order", f"{type(error).__name__}: {error}"
    log.warning("order %.200r refused (%s): %s", delivery.message_id, reason, printable(text))
    rejection = Rejection(
        message_id=printable(delivery.message_id[:200]), queue=CONTROL, reason=reason, message=printable(text),
        sha256=hashlib.sha256(delivery.body).hexdigest(),
    )  # fmt: skip
    return Taken(action, rejection=rejection)


def queued(message: Message) -> JobEvent:
    """That a job waits, as its event says."""
    work = message.work
    return JobEvent(
        job_id=message.job_id, state="queued", out=str(work.request.out), origin=work.origin, stage=work.stage
    )
