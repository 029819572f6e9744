"""Subsets of STAR and .cs files: the kept bytes are the file's own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import starfile
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.cryosparc.subset import CsRows, group_file
from covaria.particles.star.subset import StarRows

STAR = """# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1  1.06   # a comment that stays
2\t0.83


# version 30001
data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnComment #3
000001@a.mrcs 1 "two words"
# between two rows
000002@a.mrcs   2 'x # no comment'

000003@a.mrcs 1 plain
000004@a.mrcs 1 last

data_extra
_rlnNote kept
"""


def subset(content: bytes, keep: list[bool], folder: Path) -> bytes:
    source = folder / "particles.star"
    source.write_bytes(content)
    target = io.BytesIO()
    StarRows(source).write(np.array(keep), target)
    return target.getvalue()


def test_all_but_the_rows_stays_to_the_byte(tmp_path: Path) -> None:
    found = subset(STAR.encode(), [True, False, False, True], tmp_path).decode()
    lines = STAR.splitlines(keepends=True)
    gone = [line for line in lines if line.startswith(("000002", "000003"))]
    assert found == "".join(line for line in lines if line not in gone)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_file_that_ends_in_its_last_row(tmp_path: Path, ending: str, last: bool, mark: str) -> None:
    lines = ["data_", "loop_", "_rlnImageName", "_rlnDefocusU", *(f"{k}@a.mrcs {k}" for k in range(1, 6))]
    end = ending if last else ""
    content = (mark + ending.join(lines) + end).encode()
    expected = mark + ending.join(line for line in lines if not line.startswith(("2@", "4@"))) + end
    assert subset(content, [True, False, True, False, True], tmp_path) == expected.encode()
    assert subset(content, [True] * 5, tmp_path) == content


@settings(max_examples=60, deadline=None)
@given(
    keep=st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    gaps=st.lists(st.sampled_from(["", "\n", "# c\n", " \t\n"]), min_size=30, max_size=30),
    indent=st.sampled_from(["", " ", "\t"]),
)
def test_any_subset_is_read_as_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, keep: list[bool], gaps: list[str], indent: str
) -> None:
    folder = tmp_path_factory.mktemp("star")
    rows = [f"{indent}{k + 1:06d}@s.mrcs {k}.5\n" for k in range(len(keep))]
    body = "".join(gap + row for gap, row in zip(gaps, rows, strict=False))
    content = f"data_particles\n\nloop_\n_rlnImageName #1\n_rlnDefocusU #2\n{body}\n\ndata_more\n\n_rlnA 1\n"
    found = subset(content.encode(), keep, folder).decode()
    plain = "\n".join(line for line in found.splitlines() if not line.startswith("#"))
    (folder / "out.star").write_text(plain + "\n")
    read = starfile.read(folder / "out.star", always_dict=True)
    wanted = [k + 0.5 for k, yes in enumerate(keep) if yes]
    assert np.atleast_1d(read["particles"]["rlnDefocusU"]).astype(float).tolist() == wanted
    assert found.endswith("data_more\n\n_rlnA 1\n")


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="data_particles has 4 rows, the run had 3"):
        subset(STAR.encode(), [True] * 3, tmp_path)


def cs_file(path: Path, uids: list[int], **fields: Any) -> NDArray[Any]:
    columns = {name.replace("__", "/"): np.asarray(values) for name, values in fields.items()}
    table = np.zeros(len(uids), dtype=[("uid", "<u8"), *((name, v.dtype, v.shape[1:]) for name, v in columns.items())])
    table["uid"] = uids
    for name, values in columns.items():
        table[name] = values
    with path.open("wb") as file:
        np.save(file, table)
    return table


def test_cs_rows_keep_every_field_and_the_group_names_each_slot(tmp_path: Path) -> None:
    paths = np.array([b"a.mrc", b"b.mrc", b"c.mrc"])
    main = cs_file(tmp_path / "p.cs", [7, 5, 9], blob__path=paths, blob__idx=[0, 1, 2], alignments3D__pose=np.eye(3))
    other = cs_file(tmp_path / "q.cs", [9, 7, 8, 5], ctf__df1_A=[1.0, 2, 3, 4], alignments3D__shift=np.zeros((4, 2)))
    kept, (passed,) = CsRows(tmp_path / "p.cs", [tmp_path / "q.cs"]).take(np.array([True, False, True]))
    assert np.array_equal(kept, main[[0, 2]])
    assert kept.dtype == main.dtype
    assert np.array_equal(passed, other[[0, 1]])
    group = yaml.safe_load(group_file({"particles.cs": kept, "passthrough_0.cs": passed}, "2 particles"))
    assert group["group"]["type"] == "particle"
    slots = {name: (entry["metafile"], entry["num_items"], entry["type"]) for name, entry in group["results"].items()}
    assert slots == {
        "blob": (">particles.cs", 2, "particle.blob"),
        "alignments3D": (">particles.cs", 2, "particle.alignments3D"),
        "ctf": (">passthrough_0.cs", 2, "particle.ctf"),
    }


def test_repeated_uids_and_another_length_are_refused(tmp_path: Path) -> None:
    cs_file(tmp_path / "p.cs", [7, 7], blob__idx=[0, 1])
    with pytest.raises(InvalidInput, match=r"uid.*twice"):
        CsRows(tmp_path / "p.cs")
    cs_file(tmp_path / "r.cs", [7, 8], blob__idx=[0, 1])
    with pytest.raises(InvalidInput, match="has 2 rows, the run had 3"):
        CsRows(tmp_path / "r.cs").take(np.ones(3, bool))
