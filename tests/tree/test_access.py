"""Whose a new folder becomes; what is said where it may not be written."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from covaria.errors import InvalidInput, NotPermitted
from covaria.tree.access import PARENT, Sharing, describe, read_entry, refuse_closed, refuse_unwritable

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another group")
ANOTHER = 64301


@ROOT
@pytest.mark.parametrize("group", [PARENT, str(ANOTHER)])
def test_a_new_folder_and_all_in_it_belong_to_the_group(tmp_path: Path, group: str) -> None:
    os.chown(tmp_path, -1, ANOTHER)
    out = tmp_path / "processed" / "covaria" / "set"
    Sharing(group).make(out)
    (out / "model").mkdir()
    (out / "model" / "file").touch()
    made = [tmp_path / "processed", out.parent, out, out / "model", out / "model" / "file"]
    assert {path.stat().st_gid for path in made} == {ANOTHER}
    assert all(path.stat().st_mode & stat.S_ISGID for path in made[:-1])
    assert tmp_path.stat().st_mode & stat.S_ISGID == 0, "what was there before stays as it is"
    before = out.stat()
    Sharing(group, ("group:0:rwx",)).make(out)
    assert out.stat() == before


def test_an_access_list_goes_to_all_that_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    Sharing(acl=("group:64302:rwx", "user:64303:r-x")).make(out)
    (out / "deep").mkdir(mode=0o700)
    for folder in (out, out / "deep"):
        content = os.getxattr(folder, "system.posix_acl_default")
        assert (64302).to_bytes(4, "little") in content and (64303).to_bytes(4, "little") in content


@pytest.mark.parametrize("text", ["", "group:x", "other::rwx", "user:0:rwz", "user:0:xwr", "group:no-such-group:rwx"])
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_entry(text)


def test_entries() -> None:
    assert [read_entry(f"user:7:{rights}").rights for rights in ("rwx", "r-x", "--x", "---")] == [7, 5, 1, 0]


def test_a_folder_that_is_closed_to_the_services(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(NotPermitted, match=rf"uid {os.getuid()}.*drwxr-xr-x.*run as uid 64304"):
        refuse_closed(tmp_path / "a" / "b", 64304)
    tmp_path.chmod(0o775)
    refuse_closed(tmp_path / "a" / "b", 64304)
    refuse_closed(tmp_path / "a" / "b", None)


@ROOT
def test_it_names_uid_gid_and_mode() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to other users
        folder = Path(name)
        os.chown(folder, 64305, ANOTHER)
        folder.chmod(0o750)
        assert describe(folder) == f"{folder} belongs to uid 64305, gid {ANOTHER}, mode drwxr-x---"
        os.setegid(64306)
        os.seteuid(64306)
        try:
            with pytest.raises(NotPermitted, match=r"gid 64301, mode drwxr-x---; this process has uid 64306"):
                refuse_unwritable(folder / "out")
        finally:
            os.seteuid(0)
            os.setegid(0)
