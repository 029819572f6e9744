"""A service stays beneath its roots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from covaria.request.model import Request
from covaria.request.paths import PathRefused, absolute, refuse_outside


def request(root: Path, **changes: Any) -> Request:
    values: dict[str, Any] = {"out": root / "out", "ingest": {"particles": root / "p.star"}}
    for name, value in changes.items():
        stage, _, field = name.partition("__")
        if field:
            values.setdefault(stage, {})[field] = value
        else:
            values[name] = value
    return Request.model_validate(values)


def test_beneath_a_root(tmp_path: Path) -> None:
    refuse_outside(request(tmp_path), [Path("/nowhere"), tmp_path])
    refuse_outside(request(tmp_path, out=tmp_path / "a" / ".." / "out"), [tmp_path])


@pytest.mark.parametrize(
    "changes",
    [
        {"out": "/etc/out"},
        {"out": "relative/out"},
        {"ingest__particles": "/etc/passwd"},
        {"ingest__poses": "/proc/self/environ"},
        {"ingest__passthrough": ["/root/.ssh/id_ed25519"]},
        {"ingest__datadir": "/"},
        {"reconstruction__mask": "/etc/shadow"},
        {"reconstruction__mask": "mask.mrc"},
        {"reconstruction__focus_mask": "/etc/shadow"},
        {"analysis__density": "/etc/shadow"},
        {"analysis__output": "/tmp/../etc/cron.d"},
    ],
)
def test_outside_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(PathRefused) as caught:
        refuse_outside(request(tmp_path, **changes), [tmp_path])
    assert next(iter(changes)).replace("__", ".") in caught.value.message


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "innocent").symlink_to("/etc")
    with pytest.raises(PathRefused, match="outside"):
        refuse_outside(
            request(tmp_path / "root", ingest__particles=tmp_path / "root/innocent/passwd"), [tmp_path / "root"]
        )


def test_a_root_reached_by_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    refuse_outside(request(tmp_path / "root"), [tmp_path / "root"])


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "a\x7fb"])
def test_control_characters_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PathRefused, match="control"):
        refuse_outside(request(tmp_path, out=str(tmp_path / text)), [tmp_path])


def test_a_root_is_no_output_folder(tmp_path: Path) -> None:
    with pytest.raises(PathRefused, match="root itself"):
        refuse_outside(request(tmp_path, out=tmp_path), [tmp_path])


def test_no_roots_refuse_everything(tmp_path: Path) -> None:
    with pytest.raises(PathRefused, match="COVARIA_ROOTS is empty"):
        refuse_outside(request(tmp_path), [])


def test_absolute_paths_for_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Request.model_validate(
        {
            "out": "out",
            "ingest": {"particles": "p.star", "passthrough": ["a.cs"]},
            "reconstruction": {"mask": "m.mrc"},
        }
    )
    refuse_outside(absolute(relative), [tmp_path])
    assert absolute(relative).ingest.passthrough == (tmp_path / "a.cs",)
