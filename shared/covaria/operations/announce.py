"""A submitted job is shown as queued in its output folder: by the services' own account, and by no other.

Whoever makes a folder owns it. One that a user made on a login node would be closed to the services.
"""

from __future__ import annotations

import logging
import os

from covaria.job.books import note_submission, write_request
from covaria.messages.envelope import Message
from covaria.settings import Settings
from covaria.tree import Tree, record
from covaria.tree.access import Sharing

log = logging.getLogger(__name__)


def announce(message: Message, settings: Settings) -> None:
    """Make OUT and note the job there, where we are who will work in it and the folder is new."""
    if settings.service_uid != os.geteuid():
        return
    show_queued(message, settings)


def show_queued(message: Message, settings: Settings) -> None:
    """The same, for a service."""
    tree = Tree(message.work.request.out)
    try:
        if record.read_request(tree) is not None:
            return
        Sharing(settings.out_group, settings.out_acl).make(tree.out)
        tree.state.mkdir(exist_ok=True)
        write_request(tree, message)
        note_submission(tree, message)
    except Exception as error:  # a courtesy: the message is what counts, and a worker says what is wrong there
        log.info("%s is the workers' to write: %s", tree.out, error)
