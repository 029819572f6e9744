"""Which process holds a lease, where another process of the same machine can tell at once that it is gone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from platform import node


@dataclass(frozen=True)
class Process:
    """A process among all that ever were: host, boot, namespace of process numbers, number, when it began."""

    host: str
    boot: str
    namespace: str
    pid: int
    began: str

    @classmethod
    def this(cls) -> Process | None:
        """The calling process; None where the system does not say enough."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            namespace = str(Path("/proc/self/ns/pid").readlink())
            return cls(node(), boot, namespace, os.getpid(), _began(os.getpid()))
        except OSError:
            return None

    @property
    def is_gone(self) -> bool:
        """Whether it has ended for certain. False where it lives, or where nobody here can know."""
        here = Process.this()
        if here is None or (self.host, self.namespace) != (here.host, here.namespace):
            return False
        if self.boot != here.boot:
            return True
        try:
            return _began(self.pid) != self.began
        except FileNotFoundError:
            return True
        except OSError:
            return False


def _began(pid: int) -> str:
    """In clock ticks since boot: field 22 of proc's stat, counted behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
