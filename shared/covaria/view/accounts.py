"""Who asks, where a proxy has signed people in, and which folders each may see: by the folders' owners and modes."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    uid: int
    groups: frozenset[int]

    @staticmethod
    def of(name: str) -> Account | None:
        """None where this machine knows no such user."""
        try:
            known = pwd.getpwnam(name)
        except (KeyError, ValueError):
            return None
        return Account(known.pw_uid, frozenset(os.getgrouplist(name, known.pw_gid)))

    def may_list(self, folder: Path) -> bool:
        """Whether the user may read the folder's entries and go through it."""
        return self._may(folder, stat.S_IROTH | stat.S_IXOTH)

    def may_see(self, folder: Path, beneath: Path) -> bool:
        """Whether the user may list `folder` and go through all that lies between it and `beneath`, both included."""
        between = [beneath, *(beneath / part for part in _steps(folder.relative_to(beneath)))]
        return self.may_list(folder) and all(self._may(each, stat.S_IXOTH) for each in between)

    def _may(self, folder: Path, bits: int) -> bool:
        """bits: as they stand for others; the owner's and the group's are the same ones further up."""
        if self.uid == 0:
            return True
        found = folder.stat()
        shift = 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return (found.st_mode >> shift) & bits == bits


def _steps(relative: Path) -> list[Path]:
    return [Path(*relative.parts[: count + 1]) for count in range(len(relative.parts))]
