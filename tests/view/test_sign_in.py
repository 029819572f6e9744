"""Where a proxy signs people in: whose word counts, and which runs each sees."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from covaria_pages import Client
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import InvalidInput
from covaria.tree import Tree
from covaria.view.access import Access, SignedIn
from covaria.view.accounts import Account

PROXY = SignedIn("x-forwarded-user", frozenset({"127.0.0.1"}))
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("mode", "owner", "group", "other"),
    [(0o700, True, False, False), (0o750, True, True, False), (0o705, True, False, True), (0o755, True, True, True),
     (0o770, True, True, False), (0o644, False, False, False), (0o057, False, True, True)],
)  # fmt: skip
def test_the_first_class_that_fits_decides(tmp_path: Path, mode: int, owner: bool, group: bool, other: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    uid, gid = folder.stat().st_uid, folder.stat().st_gid
    someone = Account(uid + 12345, frozenset())
    found = [
        Account(uid or 1, frozenset()).may_list(folder) if uid else owner,
        Account(uid + 12345, frozenset({gid})).may_list(folder),
        someone.may_list(folder),
    ]
    folder.chmod(0o700)
    assert found == [owner, group, other]


def test_a_closed_folder_on_the_way_closes_what_lies_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "way" / "inner"
    inner.mkdir(parents=True)
    for folder in (tmp_path, inner):
        folder.chmod(0o755)
    stranger = Account(54321, frozenset())
    inner.parent.chmod(0o755)
    assert stranger.may_see(inner, tmp_path)
    inner.parent.chmod(0o750)
    assert not stranger.may_see(inner, tmp_path)
    inner.parent.chmod(0o711)
    assert stranger.may_see(inner, tmp_path), "to go through is enough"


def test_nobody_without_the_proxy_s_word(serving: Callable[..., Client], finished: Tree) -> None:
    one = serving(finished.out.parent, Access(signed_in=PROXY))
    for headers in ({}, {"X_Forwarded_User": ""}, {"X_Forwarded_User": "no-such-user-here"}):
        status, _, body = one.ask("/runs", **headers)
        assert status == 403 and b"Nobody is signed in" in body
    assert one.ask("/runs", X_Forwarded_User=ME)[0] == 200
    assert one.ask("/count?run=first", "POST", {}, X_Forwarded_User=ME, x_covaria="")[0] == 403
    assert one.ask("/livez")[0] == 200
    network = serving(finished.out.parent, Access(signed_in=SignedIn("x-forwarded-user", frozenset({"127.0.0.0/8"}))))
    assert network.ask("/runs", X_Forwarded_User=ME)[0] == 200
    elsewhere = serving(finished.out.parent, Access(signed_in=SignedIn("x-forwarded-user", frozenset({"192.0.2.1"}))))
    assert elsewhere.ask("/runs", X_Forwarded_User=ME)[0] == 403


def test_each_sees_what_the_folders_allow(serving: Callable[..., Client], copied: Tree) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: another user's folders are looked at")
    runs = copied.out.parent
    shutil.copytree(copied.out, runs / "private")
    for folder in (runs, copied.out):
        folder.chmod(0o755)
    (runs / "private").chmod(0o700)
    one = serving(runs, Access(signed_in=PROXY))

    def names(user: str) -> list[str]:
        return [card["name"] for card in json.loads(one.ask("/runs", X_Forwarded_User=user)[2])["runs"]]

    assert names("root") == ["copy", "private"] and names("nobody") == ["copy"]
    asked = "/file?run=private&name=run.json"
    assert one.ask(asked, X_Forwarded_User="root")[0] == 200
    for path in (asked, "/map?run=private&name=output/volumes/mean.mrc", "/report?run=private", "/picture?run=private"):
        assert one.ask(path, X_Forwarded_User="nobody")[0] == 403, path
    box = {"kind": "box", "columns": ["z1"], "low": [0], "high": [9]}
    for path in ("/count", "/subset", "/selection"):
        assert one.ask(f"{path}?run=private", "POST", box, X_Forwarded_User="nobody")[0] == 403, path
    assert one.ask("/thumbnails?run=private", "POST", {"at": [0]}, X_Forwarded_User="nobody")[0] == 403


@pytest.mark.parametrize("more", [[], ["--proxy", "127.0.0.1", "--allow-jobs"]])
def test_what_cannot_be_together_is_refused(finished: Tree, more: list[str]) -> None:
    done = CliRunner().invoke(application(), ["view", str(finished.out.parent), "--user-header", "X-User", *more])
    assert isinstance(done.exception, InvalidInput)


def test_a_token_must_be_long(finished: Tree, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short\n")
    done = CliRunner().invoke(application(), ["view", str(finished.out), "--token-file", str(tmp_path / "token")])
    assert isinstance(done.exception, InvalidInput) and "24 letters" in str(done.exception)
