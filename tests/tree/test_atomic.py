"""Atomic writes and the restricted pickles."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from covaria.tree import atomic


def test_write_bytes_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    atomic.write_text(target, "one")
    atomic.write_text(target, "two")
    assert target.read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_what_stands_there_already_is_not_written_again_and_each_folder_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(atomic, "fsync_directory", synced.append)
    contents = {tmp_path / name: name.encode() for name in ("same", "other", "link", "new")}
    for name in ("same", "elsewhere"):
        (tmp_path / name).write_text("same" if name == "same" else "link")
    (tmp_path / "other").write_text("othes")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "same").stat().st_ino
    atomic.write_together(contents)
    assert {path: path.read_bytes() for path in contents} == contents
    assert (tmp_path / "same").stat().st_ino == before
    assert not (tmp_path / "link").is_symlink(), "a link is no file of ours, whatever it holds"
    assert synced == [tmp_path]
    atomic.write_together(contents)
    assert synced == [tmp_path], "nothing was left to write"


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    atomic.write_json(target, {"a": 1})

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        atomic.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_json_takes_numpy_and_paths_and_refuses_nan(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    atomic.write_json(target, {"path": Path("x/y"), "n": np.int64(3), "a": np.arange(2.0)})
    assert json.loads(target.read_text()) == {"path": "x/y", "n": 3, "a": [0.0, 1.0]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(target, {"x": float("nan")})
    with pytest.raises(TypeError, match="object"):
        atomic.write_json(target, {"x": object()})


def test_pickle_loads_with_numpy_alone(tmp_path: Path) -> None:
    value = {"centers": np.eye(3), "pairs": [[0, 1]], "alpha": 0.5, "s": np.float32(1), "none": None, "t": (1, "a")}
    atomic.write_pickle(tmp_path / "a.pkl", value)
    with (tmp_path / "a.pkl").open("rb") as file:
        back = pickle.load(file)
    assert back["pairs"] == [[0, 1]]
    np.testing.assert_array_equal(back["centers"], np.eye(3))


@pytest.mark.parametrize(
    "value", [Path("x"), {"a": OrderedDict()}, [np.array([{}], dtype=object)], {"f": len}, {1: {2: Path("x")}}]
)
def test_pickle_refuses_foreign_types(tmp_path: Path, value: object) -> None:
    with pytest.raises(TypeError, match="restricted unpickler"):
        atomic.write_pickle(tmp_path / "a.pkl", value)
    assert not (tmp_path / "a.pkl").exists()


def test_arrays_load_without_pickle(tmp_path: Path) -> None:
    atomic.save_npy(tmp_path / "a.npy", np.arange(3))
    atomic.save_npz(tmp_path / "a.npz", {"x": np.arange(3), "y": np.eye(2)})
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), [0, 1, 2])
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["x", "y"]
