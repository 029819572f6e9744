"""A pickle that runs code, corrupts memory or asks for all of it, planted wherever the product reads one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles.cryodrgn.tables import read_ctf, read_poses
from covaria.particles.row_files import read_halfsets, read_index
from covaria.pickles import PickleRefused, load_pickle, parse_pickle
from covaria.trajectory import read_density
from covaria.tree import atomic


class Asks:
    """Unpickled without care, it calls what it names."""

    def __init__(self, call: Callable[..., object], *arguments: object, state: object = None) -> None:
        self.parts = (call, arguments) if state is None else (call, arguments, state)

    def __reduce__(self) -> tuple:  # type: ignore[type-arg]
        return self.parts


def object_dtype() -> Asks:
    """BUILD on numpy.dtype: the bytes that follow are declared to be object pointers."""
    return Asks(np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 63))


def fields_with_objects() -> Asks:
    return Asks(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {"a": (object_dtype(), 0)}, 8, 1, 63))


class ArrayOfPointers:
    """numpy's own construction, its dtype exchanged for one of objects, its content for chosen addresses."""

    def __reduce__(self) -> tuple:  # type: ignore[type-arg]
        call, arguments, _ = np.zeros(2).__reduce__()
        return call, arguments, (1, (2,), object_dtype(), False, b"ABCDEFGH" * 2)


PLANTED = {
    "runs a command": Asks(os.system, "touch PAYLOAD_RAN"),
    "calls eval": Asks(eval, "open('PAYLOAD_RAN', 'w')"),
    "object dtype": object_dtype(),
    "fields with objects": fields_with_objects(),
    "array of pointers": ArrayOfPointers(),
    "an array of 80 TB": Asks(np.ndarray, (10**13,)),
    "an array of a negative side": Asks(np.ndarray, (-1,)),
    "a file mapped into memory": Asks(np.memmap, "PAYLOAD_RAN", "u1", "w+"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "poses": lambda path: read_poses(path, 3),
    "ctf": lambda path: read_ctf(path, np.ones(3, dtype=bool)),
    "rows": lambda path: read_index(path, 3),
    "half-sets": lambda path: read_halfsets(path, 3),
    "density": read_density,
    "params.pkl and halfsets.pkl": load_pickle,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("inside", [lambda evil: evil, lambda evil: {"s": evil}, lambda evil: (np.eye(3), [evil])])
@pytest.mark.parametrize("evil", PLANTED.values(), ids=PLANTED)
def test_a_planted_pickle_is_refused_and_does_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    evil: object,
    inside: Callable[[object], object],
    reader: Callable[[Path], object],
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2, 4, 5):
        path = tmp_path / "planted.pkl"
        path.write_bytes(pickle.dumps(inside(evil), protocol))
        with pytest.raises(InvalidInput, match=r"planted\.pkl"):
            reader(path)
    assert not (tmp_path / "PAYLOAD_RAN").exists()


def test_the_c_unpickler_is_nowhere_in_the_product() -> None:
    root = Path(__file__).parents[2]
    words = ("pickle.load", "pickle.Unpickler", "allow_pickle=True", "cPickle", "pandas.read_pickle")
    found = [
        f"{path.relative_to(root)}: {word}"
        for folder in ("shared", "services")
        for path in (root / folder).rglob("*.py")
        for word in words
        if word in path.read_text() and path.name != "readme.py"  # which tells a user how to open ours
    ]
    assert found == []


def test_lists_within_themselves_and_bombs_of_references_end() -> None:
    itself: list[object] = []
    itself.append(itself)
    bomb: list[object] = []
    for _ in range(14):
        bomb = [bomb] * 100
    content = np.zeros(10_000)
    shared = b"\x80\x04" + pickle.dumps(content, 4)[2:-1] + b"0"  # made once, dropped; its bytes stay in the memo
    assert parse_pickle(shared + b"N.") is None
    for value in (itself, bomb):
        with pytest.raises(PickleRefused, match="nested"):
            parse_pickle(pickle.dumps(value))


def test_what_we_write_is_read_back_equal(tmp_path: Path) -> None:
    value = {
        "s": np.arange(3.0), "rows": [np.arange(4), np.arange(2, dtype=np.int32)], "shape": (8, 8, 8), "text": "µ",
        "flag": True, "none": None, "args": {"out": "x", "zdim": [1, 2], "deep": {"a": {"b": [1.5]}}}, 7: np.bool_(1),
    }  # fmt: skip
    atomic.write_pickle(tmp_path / "a.pkl", value)
    back = load_pickle(tmp_path / "a.pkl")
    assert back.keys() == value.keys() and back["args"] == value["args"] and back["shape"] == (8, 8, 8)
    np.testing.assert_array_equal(back["rows"][1], [0, 1])
    assert back["rows"][1].dtype == np.int32 and back[7]
    back["s"][0] = 5  # ours to change
