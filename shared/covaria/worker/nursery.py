"""The process that stages are born from: it has imported what its stage needs, and forks one child for each order.

`python -m covaria.worker.nursery STAGE` has a socket as its stdin. A message there carries four descriptors: the
child's stdin, its output, where it reports, and where its process number and then its exit code are written. A fork
takes milliseconds where the imports take seconds; the child is a process all the same, and gives all its memory back.
The nursery imports and waits, nothing else: it computes nothing and touches no device, so that its forks begin clean.
"""

from __future__ import annotations

import gc
import os
import selectors
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

from covaria.stage import load_stage
from covaria.worker import child

MAX_MESSAGE = 2**16


@dataclass(frozen=True)
class Birth:
    """What a child begins with: the descriptor it reports to."""

    report: int


def main() -> int:
    """The nursery's life; and, in each fork, the stage's."""
    stage = sys.argv[1]
    asking = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the place stays taken: no descriptor that comes may be given it
    _import_ahead(stage)
    gc.collect()
    gc.freeze()  # what is there now is shared with the forks: not to be touched by their collections
    birth = serve(asking)
    return 0 if birth is None else child.main(birth.report)


def _import_ahead(stage: str) -> None:
    """What cannot be imported here is the child's to say, who meets it again."""
    try:
        module = sys.modules[load_stage(stage).__module__]
        for name in getattr(module, "USED_LATE", ()):
            import_module(name)
    except Exception as error:
        print(f"cannot import ahead: {error}", file=sys.stderr)


def serve(asking: socket.socket) -> Birth | None:
    """Fork a child for each message until the worker is gone (None). Returns a Birth in each child."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(asking, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.data is not None:
                    waiting.unregister(key.fd)
                    key.data.bury(key.fd)
                    continue
                message, descriptors, _, _ = socket.recv_fds(asking, MAX_MESSAGE, 4)
                if not message:
                    return None
                stdin, output, report, status = descriptors
                led, leads = os.pipe()
                pid = os.fork()
                if pid == 0:
                    os.setsid()
                    os.close(leads)
                    others = [other.data.status for other in waiting.get_map().values() if other.data is not None]
                    _become(stdin, output, message.decode(), [*others, status, led, asking.detach()])
                    return Birth(report)
                for descriptor in (stdin, output, report, leads):
                    os.close(descriptor)
                os.read(led, 1)  # its end: the child leads a session of its own, and can be signalled as a group
                os.close(led)
                newborn = _Child(pid, status)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, newborn)
                newborn.say(pid)


@dataclass(frozen=True)
class _Child:
    pid: int
    status: int

    def bury(self, handle: int) -> None:
        os.close(handle)
        self.say(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
        os.close(self.status)

    def say(self, number: int) -> None:
        """To the worker."""
        with suppress(BrokenPipeError):  # the worker is gone; so are we, soon
            os.write(self.status, b"%d\n" % number)


def _become(stdin: int, output: int, scratch: str, foreign: list[int]) -> None:
    """A process of its own: standard streams, scratch folder."""
    for descriptor in foreign:
        os.close(descriptor)
    for descriptor, place in ((stdin, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, place)
    for descriptor in {stdin, output}:
        os.close(descriptor)
    if scratch != "-":
        os.environ["TMPDIR"] = scratch
    tempfile.tempdir = None


if __name__ == "__main__":
    raise SystemExit(main())
