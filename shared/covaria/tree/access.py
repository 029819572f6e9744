"""Whose an output folder becomes, and whether it may be written: told with uid, gid and mode before any work.

A service and the people whom it serves have accounts of their own. They meet in a group: the folder of their visit has
it, with the setgid bit, and what the service makes there inherits it. Where the folders above are not made so, the
service's settings say which group, and which further entries of the access list, a new OUT gets.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covaria.errors import InvalidInput, NotPermitted
from covaria.tree.own_state import STATE

PARENT = "parent"
"""As a group: the one of the folder in which OUT is made."""

_VERSION, _UNDEFINED = 2, 0xFFFFFFFF
_OWNER, _USER, _GROUP_OF_FILE, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""Tags of a POSIX access list as the kernel takes it (acl(5), xattr system.posix_acl_*)."""


@dataclass(frozen=True)
class Sharing:
    """What a new output folder gets beside the kernel's own way.

    group  "": as the folder above gives; PARENT, or a group's name or number: that group and the setgid bit
    acl    entries `user:NAME:rwx` or `group:NAME:r-x`, for the folder and for all that is made in it
    """

    group: str = ""
    acl: tuple[str, ...] = ()

    def make(self, out: Path) -> None:
        """`out` and the folders above it that are missing. Raises NotPermitted, InvalidInput, OSError."""
        missing = [out]
        while not os.path.lexists(missing[0].parent):
            missing.insert(0, missing[0].parent)
        for folder in missing:
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            self._share(folder)

    def _share(self, folder: Path) -> None:
        try:
            if self.group:
                group = folder.parent.stat().st_gid if self.group == PARENT else group_id(self.group)
                os.chown(folder, -1, group)
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_ISGID)
            if self.acl:
                content = _access_list(stat.S_IMODE(folder.stat().st_mode), [read_entry(text) for text in self.acl])
                for kind in ("access", "default"):
                    os.setxattr(folder, f"system.posix_acl_{kind}", content)
        except OSError as error:
            what = "an access list" if error.errno == errno.ENOTSUP else f"group {self.group or '-'}"
            raise NotPermitted(
                f"{folder} cannot be given {what}: {error.strerror}; {who()}",
                hint="the filesystem must know POSIX access lists, and the service be a member of the group",
            ) from error


@dataclass(frozen=True)
class AclEntry:
    """tag: of a user or a group; identity: uid or gid; rights: bits r = 4, w = 2, x = 1."""

    tag: int
    identity: int
    rights: int


def read_entry(text: str) -> AclEntry:
    """`user:NAME:rwx` or `group:NAME:r-x`; a name or a number. Raises InvalidInput."""
    kind, _, rest = text.partition(":")
    name, _, rights = rest.rpartition(":")
    if kind not in ("user", "group") or not name or len(rights) != 3 or any(
        given not in (letter, "-") for given, letter in zip(rights, "rwx", strict=True)
    ):  # fmt: skip
        raise InvalidInput(f"no entry of an access list: {text!r}", hint="user:NAME:rwx or group:NAME:r-x")
    bits = sum(4 >> place for place, letter in enumerate(rights) if letter != "-")
    return AclEntry(_USER, user_id(name), bits) if kind == "user" else AclEntry(_GROUP, group_id(name), bits)


def group_id(name: str) -> int:
    """Of a group's name or number. Raises InvalidInput."""
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise InvalidInput(f"this machine knows no group {name!r}", hint="give its number") from None


def user_id(name: str) -> int:
    """Of a user's name or number. Raises InvalidInput."""
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise InvalidInput(f"this machine knows no user {name!r}", hint="give the uid") from None


def _access_list(mode: int, entries: Sequence[AclEntry]) -> bytes:
    """The kernel's form: sorted by tag and identity, with a mask that lets through what every entry gives."""
    group = (mode >> 3) & 7
    mask = group
    for entry in entries:
        mask |= entry.rights
    rows = [AclEntry(_OWNER, _UNDEFINED, (mode >> 6) & 7), AclEntry(_GROUP_OF_FILE, _UNDEFINED, group), *entries]
    rows += [AclEntry(_MASK, _UNDEFINED, mask), AclEntry(_OTHERS, _UNDEFINED, mode & 7)]
    rows.sort(key=lambda row: (row.tag, row.identity))
    return struct.pack("<I", _VERSION) + b"".join(
        struct.pack("<HHI", row.tag, row.rights, row.identity) for row in rows
    )


def refuse_unwritable(out: Path) -> None:
    """Raise NotPermitted where this process could not make `out`, or write in it. Nothing is made."""
    found = _nearest(out / STATE)
    if not found.is_dir():
        return  # what it is instead is for others to say
    _refuse(found, out, "write in it" if found in (out, out / STATE) else "make folders in it")
    if found == out / STATE:
        _refuse(out, out, "write in it")


def _nearest(path: Path) -> Path:
    """The first of `path` and the folders above it that is there and can be seen."""
    for folder in (path, *path.parents):
        try:
            folder.stat()
        except OSError:
            continue
        return folder
    return Path("/")


def refuse_closed(out: Path, uid: int | None) -> None:
    """Raise NotPermitted where the services, running as `uid`, can plainly not write: not theirs, and open to no group.

    For a submitter of another account, who cannot try. None: nobody said who the services are.
    """
    folder = _nearest(out)
    status = folder.stat()
    open_to_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if uid in (None, 0, status.st_uid, os.geteuid()) or open_to_others:
        return
    raise NotPermitted(
        f"{out}: {describe(folder)}; the services run as uid {uid} and may not write there",
        hint=f"share it with their group (chgrp GROUP {folder} && chmod g+rwxs {folder}), or name another",
    )


def _refuse(folder: Path, out: Path, what: str) -> None:
    if os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return
    raise NotPermitted(
        f"{out}: {describe(folder)}; {who()} and may not {what}",
        hint=f"give the service's group write access: chgrp GROUP {folder} && chmod g+rwxs {folder}",
    )


def describe(folder: Path) -> str:
    """Whose a folder is: `/data/x belongs to uid 1001 (ada), gid 5000 (visit), mode drwxr-s---`."""
    try:
        status = folder.stat()
    except OSError as error:
        return f"{folder} cannot be seen ({error.strerror})"
    owner, group = _named(status.st_uid, pwd.getpwuid, 0), _named(status.st_gid, grp.getgrgid, 0)
    return f"{folder} belongs to uid {owner}, gid {group}, mode {stat.filemode(status.st_mode)}"


def who() -> str:
    """Who this process is, in numbers: what a file server looks at."""
    groups = ", ".join(map(str, sorted(set(os.getgroups()) - {os.getegid()}))) or "none"
    return f"this process has uid {os.geteuid()}, gid {os.getegid()}, further groups {groups}"


def _named(number: int, find: object, place: int) -> str:
    try:
        return f"{number} ({find(number)[place]})"  # type: ignore[operator]
    except KeyError:
        return str(number)
