"""Conditions on a finished run, and its particles back in the file that it was made from, whatever that was."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import starfile
import yaml

from covaria.cli import subset as command
from covaria.cli.conditions import Said
from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.density.basins import find_basins
from covaria.particles.cryosparc.table import load_cs
from covaria.pickles import load_pickle
from covaria.results.confirmed import load_latents
from covaria.selection.apply import selected
from covaria.selection.columns import RunColumns
from covaria.selection.handoff import Source, source_of, source_rows, write_parts, write_subset
from covaria.selection.model import Selection, Where
from covaria.testing import MemoryContext
from covaria.trajectory import DensityGrid
from covaria.tree import AnalysisTree, ParticleFiles, SubsetTree, Tree
from covaria.tree.atomic import write_json
from covaria_analysis.clusters import Clusters
from covaria_analysis.stage import hand_out

NOTHING = dict.fromkeys(Said.__dataclass_fields__)


def chosen(tree: Tree, **options: object) -> list[int]:
    table = RunColumns(tree, source_of(tree))
    (condition,) = Said(**(NOTHING | options)).conditions(table)
    return np.flatnonzero(selected(condition, table)).tolist()


def subset_of(tree: Tree, folder: Path, selection: Selection) -> list[int]:
    """Write the subset; its row numbers."""
    ingest = source_of(tree)
    table = RunColumns(tree, ingest)
    keep = source_rows(selected(selection, table), table.copies)
    folder.mkdir()
    write_subset(folder, ingest, keep)
    return load_pickle(SubsetTree(folder).indices_pkl).tolist()


def rows_of(star: Path) -> list[str]:
    return [line for line in star.read_text().splitlines() if "@" in line or " -500 " in line]


def test_each_option_selects(plain: Tree, tmp_path: Path) -> None:
    assert chosen(plain, cluster="0,2")[:3] == [0, 2, 3]
    assert chosen(plain, where=["p_empty > 0.85"]) == [9, 19, 29, 39, 49, 59]
    assert chosen(plain, where=["p_outlier < 0.05 and contrast > 1.5"]) == [40, 50]
    assert chosen(plain, where=["micrograph == 'micrograph0000.mrc' and index < 3"]) == [0, 1, 2]
    assert chosen(plain, where=["rlnRandomSubset == 1"]) == chosen(plain, where=["half_set == 1"])
    assert chosen(plain, where=["rlnImageName == '000004@particles.mrcs'"]) == [3]
    assert chosen(plain, box="z1=1:2,contrast=0:9") == [2, 3, 4]
    assert chosen(plain, polygon="z1,z2:0.9,-1;2.1,-1;2.1,1;0.9,1") == [2, 3, 4]
    assert chosen(plain, near="5,0", nearest=3) == [9, 10, 11]
    assert chosen(plain, near="5,0", within=0.5) == [9, 10, 11]
    volume = tmp_path / "center001.mrc"
    known = tmp_path / "diagnostics" / "center001" / "latent_coords.txt"
    known.parent.mkdir(parents=True)
    np.savetxt(known, [10.0, 0.0])
    assert chosen(plain, near=str(volume), nearest=3) == [9, 10, 11]
    write_json(tmp_path / "path.json", {"path": [[10.0, 0.0], [14.0, 0.0]]})
    assert chosen(plain, along=tmp_path, within=0.25) == [10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": ["height > 1"]}, "no column 'height'.*known: index.*cluster.*p_empty.*rlnDefocusU"),
        ({"basin": "0"}, "no column 'basin'"),
        ({"polygon": "z1,z2:0,0;2,2;2,0;0,2"}, "sides 1 and 3 cross"),
        ({"polygon": "z1,z2:0,0;1,1"}, "three corners"),
        ({"box": "z1=2:1"}, "2 is not below 1"),
        ({"box": "z1"}, "--box 'z1' is not understood"),
        ({"near": "0,0"}, "--near and --along need"),
        ({"nearest": 3}, "need --near or --along"),
        ({"near": "nowhere.mrc", "within": 1.0}, "nothing says where nowhere.mrc lies"),
        ({"cluster": "one"}, "no list of numbers"),
        ({"cluster": "nan"}, "--cluster 'nan'"),
        ({"cluster": "1.5"}, "--cluster '1.5'"),
        ({"basin": "inf"}, "--basin 'inf'"),
        ({"box": "z1=nan:1"}, "nan"),
        ({"box": "z1=-inf:inf"}, "--box"),
        ({"box": "=0:1"}, "--box"),
        ({"box": "rlnImageName=0:1"}, "holds text"),
        ({"polygon": "z1,z2:0,0;inf,1;2,2"}, "--polygon"),
        ({"polygon": "z1,rlnImageName:0,0;1,1;2,0"}, "holds text"),
        ({"polygon": "z1,z9:0,0;1,1;2,0"}, "no column 'z9'.*known"),
        ({"near": "nan,0", "within": 1.0}, "--near"),
        ({"near": "0,0", "within": -1.0}, "--near: within"),
        ({"near": "0,0", "nearest": 0}, "--near: count"),
        ({"near": "0,0,0", "nearest": 1}, "no column 'z3'"),
        ({"where": [""]}, "--where: expression"),
        ({"where": ["z1 > 1 " + "or z1 > 1 " * 500]}, "--where.*at most 4000"),
        ({"where": ["z1 > 'a'"]}, "number with a text"),
        ({"where": ["z1 ** 9 > 1"]}, "not known in a condition"),
        ({"where": ["\N{GREEK SMALL LETTER ZETA} > 1"]}, "no column.*known"),
        ({"index": Path("none.pkl")}, "none.pkl"),
    ],
)
def test_what_is_not_there_is_refused(plain: Tree, options: dict[str, object], words: str) -> None:
    with pytest.raises((InvalidInput, MissingFile)) as refusal:
        chosen(plain, **options)
    assert re.search(words, str(refusal.value), re.DOTALL)


@pytest.mark.parametrize("name", ["stacks", "expanded", "cistem", "scipion", "scipion31", "native", "native_beside"])
def test_rows_of_every_dialect_go_back(
    finished: Callable[..., Tree], dialect: Callable[[Path, str], Path], tmp_path: Path, name: str
) -> None:
    path = dialect(tmp_path / "source", name)
    tree = finished(path, downsample=None)
    rows = subset_of(tree, tmp_path / "subset", Where(expression="cluster == 1 and p_empty < 0.5"))
    total = len(rows_of(path))
    assert rows == [row for row in range(total) if row % 3 == 1 and row % 10 < 5]
    made = ParticleFiles(tmp_path / "subset").star
    lines, left = path.read_text().splitlines(keepends=True), {rows_of(path)[row] for row in range(total)}
    left -= {rows_of(path)[row] for row in rows}
    assert made.read_text() == "".join(line for line in lines if line.rstrip("\n") not in left)
    again = starfile.read(made, always_dict=True)
    assert len(again["particles" if name.startswith("s") or name == "expanded" else ""]) == len(rows)


def test_rows_are_the_originals_whatever_the_run_used(
    finished: Callable[..., Tree], dataset: Path, tmp_path: Path
) -> None:
    path = dataset / "particles.star"
    index = tmp_path / "some.txt"
    index.write_text("\n".join(map(str, range(5, 50))))
    some = finished(path, downsample=None, ind=index)
    assert subset_of(some, tmp_path / "a", Where(expression="z1 < 4 or z1 > 24")) == [5, 6, 7, 49]
    small = finished(path, downsample=16)
    assert subset_of(small, tmp_path / "b", Where(expression="cluster == 0 and z1 < 2")) == [0, 3]
    assert rows_of(ParticleFiles(tmp_path / "b").star) == [rows_of(path)[row] for row in (0, 3)]
    copies = finished(path, downsample=None, symmetry="C2")
    assert subset_of(copies, tmp_path / "c", Where(expression="z1 < 1 or (z1 >= 31 and z1 < 32)")) == [0, 1, 2, 3]
    table = RunColumns(copies, source_of(copies))
    found = table.columns(frozenset({"micrograph", "rlnDefocusU", "defocus_u_angstrom"}))
    assert len(found["micrograph"]) == 2 * len(rows_of(path))
    assert np.allclose(found["rlnDefocusU"], found["defocus_u_angstrom"])


def cs_files(dataset: Path, folder: Path) -> tuple[Path, Path]:
    """The set as cryoSPARC writes it: poses in one file, CTF in a passthrough file in another order."""
    rng, count = np.random.default_rng(0), len(rows_of(dataset / "particles.star"))
    uid = rng.permutation(count).astype("<u8") + 7

    def table(**columns: object) -> np.ndarray:
        values = {name.replace("__", "/"): np.asarray(value) for name, value in columns.items()}
        found = np.zeros(count, [(name, value.dtype, value.shape[1:]) for name, value in values.items()])
        for name, value in values.items():
            found[name] = value
        return found

    def each(value: object) -> np.ndarray:
        return np.repeat(np.asarray(value)[None], count, 0)

    main = table(
        uid=uid, blob__path=each(b"particles.mrcs"), blob__idx=np.arange(count, dtype="<u4"),
        blob__shape=each(np.array([32, 32], "<u4")), blob__psize_A=each(np.float32(8)),
        alignments3D__pose=rng.normal(size=(count, 3)).astype("<f4"), alignments3D__shift=np.zeros((count, 2), "<f4"),
        location__micrograph_path=np.array([b"a.mrc", b"b.mrc"])[np.arange(count) % 2],
    )  # fmt: skip
    optics = {"accel_kv": 300, "cs_mm": 2.7, "amp_contrast": 0.1, "df_angle_rad": 0.1, "phase_shift_rad": 0}
    ctf = table(
        uid=uid, ctf__df1_A=10000 + np.arange(count, dtype="<f4"), ctf__df2_A=10000 + np.arange(count, dtype="<f4"),
        **{f"ctf__{name}": each(np.float32(value)) for name, value in optics.items()},
    )  # fmt: skip
    paths = folder / "particles.cs", folder / "passthrough.cs"
    for path, values in zip(paths, (main, ctf[rng.permutation(count)]), strict=True):
        with path.open("wb") as file:
            np.save(file, values)
    return paths


def test_cryosparc_rows_and_their_passthrough(finished: Callable[..., Tree], dataset: Path, tmp_path: Path) -> None:
    main, passthrough = cs_files(dataset, tmp_path)
    tree = finished(main, passthrough=(passthrough,), downsample=None, datadir=dataset)
    wanted = Where(expression="cluster == 1 and ctf_df1_A > 10020 and micrograph == 'b.mrc'")
    rows = subset_of(tree, tmp_path / "subset", wanted)
    assert rows == [row for row in range(60) if row % 3 == 1 and row > 20 and row % 2 == 1]
    files, whole = ParticleFiles(tmp_path / "subset"), load_cs(main)
    assert np.array_equal(load_cs(files.cs), whole[rows])
    kept = load_cs(files.passthrough(0))
    assert sorted(kept["uid"]) == sorted(whole["uid"][rows])
    assert sorted(kept["ctf/df1_A"] - 10000) == rows
    group = yaml.safe_load(files.csg.read_text())["results"]
    assert {name: slot["metafile"] for name, slot in group.items()} == {
        **dict.fromkeys(("blob", "alignments3D", "location"), ">particles.cs"),
        "ctf": ">particles_passthrough_0.cs",
    }


def test_uids_that_repeat_and_nobody_selected_leave_nothing_behind(
    finished: Callable[..., Tree], dataset: Path, tmp_path: Path
) -> None:
    main, _ = cs_files(dataset, tmp_path)
    table = np.load(main)
    table["uid"][1] = table["uid"][0]
    with main.open("wb") as file:
        np.save(file, table)
    twice = finished(main, poses=None, downsample=None, datadir=dataset, no_ctf=True)
    with pytest.raises(InvalidInput, match=r"uid.*twice"):
        command.subset(out=twice.out, directory=tmp_path / "new", where=["index > 3"])
    with pytest.raises(InvalidInput, match="no particle fulfils"):
        command.subset(out=twice.out, directory=tmp_path / "new", where=["index < 0"])
    with pytest.raises(InvalidInput, match="--n-random"):
        command.subset(out=twice.out, directory=tmp_path / "new", where=["index > 3"], n_random=0)
    assert not list(tmp_path.glob("new*")) and not list(tmp_path.glob(".*"))


def test_every_cluster_in_files_of_its_own(plain: Tree, dataset: Path, tmp_path: Path) -> None:
    table = RunColumns(plain, source_of(plain))
    labels = table.columns(frozenset({"cluster"}))["cluster"]
    parts = {number: ParticleFiles(tmp_path, f"center{number:03d}") for number in range(3)}
    write_parts(source_of(plain), labels, parts)
    rows = rows_of(dataset / "particles.star")
    for number, files in parts.items():
        assert rows_of(files.star) == rows[number::3]
    stacks = source_of(plain).model_copy(update={"particles": dataset / "particles.mrcs"})
    assert Source.read(stacks) is None
    write_parts(stacks, labels, parts)
    assert load_pickle(parts[2].indices).tolist() == list(range(2, 60, 3))


def test_a_source_that_moved_or_changed_is_refused(
    finished: Callable[..., Tree], dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "particles.star"
    shutil.copyfile(dataset / "particles.star", path)
    shutil.copyfile(dataset / "particles.mrcs", tmp_path / "particles.mrcs")
    tree = finished(path, downsample=None)
    moved = path.rename(tmp_path / "moved.star")
    with pytest.raises(MissingFile, match="not there any more"):
        source_of(tree)
    assert source_of(tree, moved).particles == moved
    lines = moved.read_text().splitlines(keepends=True)
    moved.write_text("".join(lines[:-2] + lines[-1:]))
    with pytest.raises(InvalidInput, match="has changed since the run"):
        source_of(tree, moved)
    with pytest.raises(InvalidInput, match="not an output directory"):
        source_of(Tree(tmp_path))


def test_analysis_hands_out_clusters_and_stable_states(plain: Tree, dataset: Path, tmp_path: Path) -> None:
    """z1 goes from 0 to 59 in steps: two wells at its ends, the grid in between is empty."""
    rows, latents = rows_of(dataset / "particles.star"), load_latents(plain, 2)
    grid = DensityGrid(np.array([1.0, 1, 0, 0, 1, 1]), np.array([[0.0, 59.0]]))
    basins = find_basins(grid)
    clusters = Clusters(np.zeros((2, 2)), np.arange(60) % 2)
    out = AnalysisTree(tmp_path)
    for folder in (out.kmeans, out.basins):
        folder.mkdir()
    hand_out(plain, out, latents, clusters, basins, MemoryContext())
    assert [rows_of(out.center_particles(number).star) for number in (0, 1)] == [rows[::2], rows[1::2]]
    counting = [row for row in range(60) if row % 10 > 5]  # of the others the weight is a half or less
    low, high = [row for row in counting if row < 17.7], [row for row in counting if row > 41.3]
    found = sorted(
        (rows_of(out.basin_particles(number).star) for number in range(len(basins))),
        key=lambda some: rows.index(some[0]),
    )
    assert found == [[rows[row] for row in low], [rows[row] for row in high]]
