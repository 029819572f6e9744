"""The STAR grammar: what other readers read, and exact complaints about the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile

from covaria.errors import InvalidInput
from covaria.particles.star.grammar import parse_star, read_star

FILES = [
    "basic_double_quote.star", "basic_single_quote.star", "default_pipeline.star", "empty_loop.star",
    "loop_double_quote.star", "loop_single_quote.star", "one_loop.star", "postprocess.star", "rln3.1_data_style.star",
    "single_line_end_of_multiblock.star", "single_line_middle_of_multiblock.star", "two_basic_blocks.star",
    "two_single_line_loop_blocks.star",
]  # fmt: skip


def star(text: str):
    return parse_star(text.encode(), Path("x.star"))


def compare(row, values):
    for ours, value in zip(row, values, strict=True):
        same = ours == str(value) or (ours == "" and value != value)  # an empty text may be NaN there
        assert same or float(ours) == float(value)


@pytest.mark.parametrize("name", FILES)
def test_the_same_tables_as_starfile(shared_data, name):
    tables = read_star(shared_data("starfile", name))
    theirs = list(starfile.read(shared_data("starfile", name), always_dict=True, parse_as_string=["all"]).values())
    assert len(tables) == len(theirs)
    for table, other in zip(tables, theirs, strict=True):
        assert [label[1:] for label in table.labels] == list(other)
        if isinstance(other, dict):
            assert len(table) == 1
            compare(table.rows()[0], other.values())
            continue
        assert len(table) == len(other)
        for row, values in zip(table.rows(), other.itertuples(index=False), strict=True):
            compare(row, values)


def test_both_ways_through_a_table_agree():
    """The fast way and the row by row way, on the same numbers and texts."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(200, 2)) * 10.0 ** rng.integers(-8, 8, (200, 1))
    body = "".join(f"mic{row}/a.mrc {a:.12g} {b:.6f}\n" for row, (a, b) in enumerate(numbers))
    head = "data_p\nloop_\n_name #1\n_a #2\n_b\n"
    (fast,), (slow,) = star(head + body), star(head + "# first\n" + body)
    assert fast._is_regular() and not slow._is_regular()
    one, two = fast.columns(["_name"], ["_a", "_b"]), slow.columns(["_name"], ["_a", "_b"])
    for label in one:
        if label == "_name":
            assert one[label].tolist() == two[label].tolist()
        else:
            np.testing.assert_allclose(one[label], two[label], rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("data_p\nloop_\n_a\n_b\n1 2\n3\n", r"row 2: .*2 columns but this row has 1"),
        ("data_p\nloop_\n_a\n_b\n1 2\n3 4 5\n6 7\n", r"row 2: .*2 columns but this row has 3"),
        ("data_p\nloop_\n_a\n_b\n1 2\n3 x4\n", r"row 2, column _b: 'x4' is not a number"),
        ("data_p\nloop_\n_a\n_b\n1 2\n3 1_0\n", r"row 2, column _b: '1_0' is not a number"),
        ("data_p\nloop_\n_a\n_a\n1 2\n", r"column _a: .*twice"),
        ("data_p\nloop_\n1 2\n", "loop_ without labels"),
        ("data_p\n1 2\n", "belong to no column"),
        ("data_p\n_a\n", "exactly one value"),
        ("data_p\n_a 1 2\n", "exactly one value"),
        ("loop_\n_a\n1\n", "before any data_ block"),
        ("hello\n", "not with a data_ block"),
        ("", "no data_ block"),
        ("data_p\nsave_x\n", "not supported"),
        ("data_p\nloop_ _a _b\n1 2\n", "lines of their own"),
        ("data_p\nloop_\n_a 5\n1\n", "after the label"),
        ("data_p\nloop_\n_a\n;text\n;\n", "multi-line"),
    ],
)
def test_complaints_say_where(text, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        for table in star(text):
            table.columns([], list(table.labels))


@pytest.mark.parametrize("data", [b"\x00\x01", b"\x93NUMPY\x01\x00v\x00", b"data_\x00\n"])
def test_binary_files_are_refused(data):
    with pytest.raises(InvalidInput, match="not"):
        parse_star(data, Path("x.star"))


def test_quotes_comments_byte_order_mark_and_old_line_ends():
    text = "\ufeff# head\rdata_p\rloop_ # c\r_a #1\r_b #2 # more\r'x y' \"it's\" # tail\r\r# c\rz#1 'q'\r"
    (table,) = star(text)
    assert table.rows() == [["x y", "it's"], ["z#1", "q"]]


def test_several_tables_in_a_block():
    text = "data_a\n_one 1\n_two 2\nloop_\n_x\n1\n2\n_three 3\n"
    assert [(table.labels, table.rows()) for table in star(text)] == [
        (("_one", "_two"), [["1", "2"]]),
        (("_x",), [["1"], ["2"]]),
        (("_three",), [["3"]]),
    ]
