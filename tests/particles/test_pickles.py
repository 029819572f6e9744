"""Pickles are data: what numpy writes is read, whatever else a file asks for is refused and never run."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles.cryodrgn.tables import read_ctf, read_poses
from covaria.particles.row_files import read_halfsets, read_index
from covaria.pickles import PickleRefused, load_pickle, parse_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
VALUES = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(5, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 3)),
    np.float64(2.5),
    [1, 2, 2**40, -7],
    [np.int64(3), np.int32(4)],
    (np.eye(3)[None], np.zeros((1, 2), np.float16)),
    [np.arange(3), np.arange(3, 9)],
    None,
]


def equal(one, two):
    if isinstance(one, (list, tuple)):
        assert type(one) is type(two) and len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            equal(a, b)
    else:
        np.testing.assert_array_equal(one, two)
        assert np.asarray(one).dtype.newbyteorder("=") == np.asarray(two).dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_protocol(value, protocol):
    equal(parse_pickle(pickle.dumps(value, protocol)), value)


def test_numpy_1_and_python_2_names():
    data = pickle.dumps(np.arange(3.0), 2)
    equal(parse_pickle(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")), np.arange(3.0))
    python2 = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x02\x85"
        b"cnumpy\ndtype\nq\x04U\x02f8K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + struct.pack("<2d", 1.5, -2.0)
        + b"tb."
    )
    equal(parse_pickle(python2), np.array([1.5, -2.0]))


class Runs:
    """Unpickled without care, it makes a folder."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        Runs(os.mkdir, "PAYLOAD_RAN"),
        [1, Runs(os.system, "mkdir PAYLOAD_RAN")],
        (np.zeros(3), Runs(eval, "__import__('os').mkdir('PAYLOAD_RAN')")),
        Runs(np.load, "x"),
        Runs(getattr, "x", "y"),
        Path("x"),
        np.array([1, "x", None], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "f4")]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        {(1, 2): 1},
        {np.float64(1): 1},
        np.ma.masked_array([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, value, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(InvalidInput, match=r"evil\.pkl: is refused"):
        load_pickle(tmp_path / "evil.pkl")
    assert not (tmp_path / "PAYLOAD_RAN").exists()


def array_of(shape, content, text="f8"):
    """A hand-made array pickle with any shape and content."""
    data = pickle.dumps(np.zeros(2), 4)
    assert b"\x8c\x02f8" in data
    head = data.replace(b"\x8c\x02f8", b"\x8c" + bytes([len(text)]) + text.encode())
    old = b"K\x02\x85"
    sides = b"".join(b"\x8a" + bytes([8]) + struct.pack("<q", side) for side in shape)
    return head.replace(old, b"(" + sides + b"t", 1) if content is None else head


@pytest.mark.parametrize(
    "data",
    [
        b"", b".", b"garbage", b"\x80\x04", b"\x80\x04N", b"\x80\x04(.", b"\x80\x04]e.", b"\x80\x04h\x05.",
        b"\x80\x04r\xff\xff\xff\x7f.", b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8b\xff\xff\xff\x7f.", b"\x80\x05\x97.", b"\x80\x02\x82\x01.", b"cnumpy\nndarray\n.",
        b"cnumpy\nndarray\n)R.", b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x05\x85C\x01btR.",
        b"cnumpy\ndtype\n(S'O'\ntR.", b"cnumpy\ndtype\n(S'V1000000000000'\ntR.", b"I" + b"9" * 5000 + b"\n.",
        array_of((2**40,), None), array_of((2**32, 2**32), None), array_of((-2,), None), array_of((2,), b"", "O"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_in_little_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises(PickleRefused):
            parse_pickle(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_far_memo_place_costs_nothing():
    """Python's own unpickler would make room for two thousand million places."""
    assert parse_pickle(b"\x80\x04Nr\xff\xff\xff\x7f.") is None


def test_the_hand_made_array_is_one(tmp_path):
    equal(parse_pickle(array_of((2,), None)), np.zeros(2))
    assert sum(1 for _ in pickletools.genops(array_of((2,), None))) > 10


# ---- what the files must hold


def saved(tmp_path, value):
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(value))
    return path


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ((np.eye(3)[None].repeat(4, 0), np.zeros((5, 2))), "for 4 particles"),
        ((np.eye(3)[None].repeat(5, 0), np.zeros((5, 3))), "shape"),
        (np.zeros((5, 9)), "shape"),
        ((np.eye(3)[None].repeat(5, 0),) * 3, "3 items"),
        ([1, 2], "array of numbers"),
        ("text", "array of numbers"),
    ],
)
def test_poses_of_the_wrong_shape(tmp_path, value, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        read_poses(saved(tmp_path, value), 5)


@pytest.mark.parametrize(
    ("rotation", "shift", "found"),
    [
        (np.diag([1.0, 1, -1]), 0.0, "not a rotation"),
        (np.eye(3) * 2, 0.0, "not a rotation"),
        (np.full((3, 3), np.nan), 0.0, "not finite"),
        (np.eye(3), 3.0, "larger than the box"),
        (np.eye(3), np.inf, "not finite"),
    ],
)
def test_bad_poses_are_found(tmp_path, rotation, shift, found):
    rotations, shifts = np.eye(3)[None].repeat(5, 0), np.zeros((5, 2))
    rotations[3], shifts[3, 1] = rotation, shift
    poses = read_poses(saved(tmp_path, (rotations, shifts)), 5)
    used = np.ones(5, bool)
    with pytest.raises(InvalidInput, match=rf"row 4.*{found}"):
        for check in poses.checks:
            check.enforce(used)
    used[3] = False
    for check in poses.checks:
        check.enforce(used)


FOUR = np.ones(4, dtype=bool)
NINE = np.tile([64, 1.5, 15000, 14000, 30, 300, 2.7, 0.1, 90], (4, 1))


def test_ctf_tables(tmp_path):
    nine = read_ctf(saved(tmp_path, NINE.astype(np.float32)), FOUR)
    assert (nine.box, nine.pixel_size_angstrom) == (64, 1.5)
    assert nine.columns["phase_shift_rad"][0] == pytest.approx(np.pi / 2)
    without_box = read_ctf(saved(tmp_path, NINE[:, 1:]), FOUR)
    assert without_box.box is None and without_box.columns["voltage_kv"][0] == 300
    without_phase = read_ctf(saved(tmp_path, NINE[:, :8]), FOUR)
    assert without_phase.box == 64 and not without_phase.columns["phase_shift_rad"].any()
    for broken in (NINE[:, :7], np.tile([1.0] * 8, (4, 1)), NINE[:3], NINE[0], NINE * [1, -1, 1, 1, 1, 1, 1, 1, 1]):
        with pytest.raises(InvalidInput):
            read_ctf(saved(tmp_path, broken), FOUR)


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (np.array([4, 1, 1]), [1, 4]),
        ([0, 3], [0, 3]),
        (np.array([True, False, False, False, True]), [0, 4]),
        ([True, False, False, False, True], [0, 4]),
        (np.array([], dtype=np.int64), []),
        (np.uint8([2]), [2]),
        (np.array([4.0, 1.0]), [1, 4]),
        (np.array([[4], [1]]), [1, 4]),
        ((1, 2), [1, 2]),
        ({4, 1}, [1, 4]),
        (range(1, 5, 3), [1, 4]),
        (np.where(np.array([False, True, False, False, True])), [1, 4]),
        (np.array([0, 1, 0, 0, 1]), [1, 4]),
        (np.array([0.0, 1.0, 0.0, 0.0, 1.0]), [1, 4]),
        ([0, 1], [0, 1]),
    ],
)
def test_indices(tmp_path, value, rows):
    np.testing.assert_array_equal(read_index(saved(tmp_path, value), 5), rows)


@pytest.mark.parametrize(
    "value",
    [
        np.array([5]), np.array([-1]), np.array([0.5]), np.array([np.nan]), np.array([[1, 2], [3, 4]]), [2**80], ["x"],
        "x", 3, np.ones(4, bool), (np.array([1]), np.array([2])), {"rows": [1]}, np.array([0, 1, 1, 0]), {"x"},
    ],
)  # fmt: skip
def test_bad_indices(tmp_path, value):
    """Also a mask as numbers whose length is another than the table's."""
    with pytest.raises(InvalidInput, match=r"value\.pkl"):
        read_index(saved(tmp_path, value), 5)


@pytest.mark.parametrize("kind", ["Index", "RangeIndex"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pandas_index_is_its_numbers(tmp_path, kind, protocol):
    import pandas

    index = pandas.Index([4, 1]) if kind == "Index" else pandas.RangeIndex(1, 5, 3)
    (tmp_path / "value.pkl").write_bytes(pickle.dumps(index, protocol))
    np.testing.assert_array_equal(read_index(tmp_path / "value.pkl", 5), [1, 4])


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("rows.txt", "4\n1\n", [1, 4]),
        ("rows.txt", "# chosen\n4 # good\n\n1\n", [1, 4]),
        ("rows.txt", "4 1", [1, 4]),
        ("rows.csv", "index\n4\n1\n", [1, 4]),
        ("rows.csv", "4,1\n", [1, 4]),
        ("rows.txt", "0\n1\n0\n0\n1\n", [1, 4]),
        ("rows.txt", "False\nTrue\nFalse\nFalse\nTrue\n", [1, 4]),
        ("rows.txt", "4.0\n1.0\n", [1, 4]),
    ],
)
def test_indices_as_text(tmp_path, name, text, rows):
    (tmp_path / name).write_text(text)
    np.testing.assert_array_equal(read_index(tmp_path / name, 5), rows)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.txt", b"1 2\n3 4\n", "row 1: 2 values"),
        ("rows.txt", b"1\nx\n", "row 2: 'x' is not a row number"),
        ("rows.csv", b"5\n", "rows go from 0 to 4"),
        ("rows.npy", b"no array", "read safely"),
        ("rows.star", b"data_", "names particles, not rows"),
        ("rows.cs", b"", "names particles, not rows"),
    ],
)
def test_bad_index_files_of_other_kinds(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=complaint):
        read_index(tmp_path / name, 5)


def test_an_index_as_npy(tmp_path):
    np.save(tmp_path / "rows.npy", [4, 1])
    np.testing.assert_array_equal(read_index(tmp_path / "rows.npy", 5), [1, 4])
    np.save(tmp_path / "evil.npy", np.array([Runs(os.mkdir, "PAYLOAD_RAN")], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput):
        read_index(tmp_path / "evil.npy", 5)
    assert not Path("PAYLOAD_RAN").exists()


def test_half_sets(tmp_path):
    np.testing.assert_array_equal(read_halfsets(saved(tmp_path, [[0, 4], np.array([2])]), 5), [0, -1, 1, -1, 0])
    for broken in ([[0], [5]], [[0]], [[0], []], np.zeros(5), [[0, 1], [1]]):
        with pytest.raises(InvalidInput):
            read_halfsets(saved(tmp_path, broken), 5)
