"""The table of files: accessors, inventory, ownership and publishing read the same lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from covaria.request.stages import STAGES
from covaria.tree import (
    AnalysisTree,
    ChosenStatesTree,
    DensityTree,
    DepositTree,
    NewcomersTree,
    OutliersTree,
    PostprocessTree,
    RecovarTree,
    StatesTree,
    Tree,
)
from covaria.tree.entry import Entry, Numbered, OfStage, find, rows
from covaria.tree.inventory import KINDS, inventory, kind_of, listed
from covaria.tree.publish import UnlistedOutput


def paths_of(part: Tree | AnalysisTree | DensityTree) -> dict[str, Path]:
    """A path by each accessor that is a line of the table."""
    found = {}
    for owner in type(part).__mro__:
        for name, row in vars(owner).items():
            if isinstance(row, OfStage):
                found[name] = getattr(part, name)("density")
            elif isinstance(row, Numbered):
                found[name] = getattr(part, name)(*[7] * row.pattern.count("{"))
            elif isinstance(row, Entry):
                found[name] = getattr(part, name)
    return found


@pytest.mark.parametrize("kind", [Tree, AnalysisTree, DensityTree])
def test_every_accessor_is_a_line_and_every_line_is_unique(tmp_path: Path, kind: type) -> None:
    paths = paths_of(kind(tmp_path))
    assert len(paths) > 5
    for path in paths.values():
        relative = path.relative_to(tmp_path).as_posix()
        assert sum(bool(row.expression.fullmatch(relative)) for row in rows(kind)) == 1, relative


def test_every_line_says_who_writes_it_and_what_it_means() -> None:
    names = {kind.name for kind in KINDS}
    for row in rows(Tree):
        assert row.meaning and row.stage in ("", *STAGES) and kind_of(row) in {"", *names}, row
    lines = (
        *rows(Tree),
        *rows(ChosenStatesTree),
        *rows(OutliersTree),
        *rows(PostprocessTree),
        *rows(RecovarTree),
        *rows(DepositTree),
        *rows(NewcomersTree),
    )
    assert {kind_of(row) for row in lines} - {""} == names, "a kind that no line has"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("output/volumes/eigen_pos0012.mrc", "output/volumes/eigen_pos{:04d}.mrc"),
        ("output/volumes/eigen_pos12345.mrc", "output/volumes/eigen_pos{:04d}.mrc"),
        ("output/volumes/eigen_pos12.mrc", None),
        (
            "analysis_1/traj001/diagnostics/state002/params.json",
            "analysis_{}{label}/traj{:03d}/diagnostics/{name}/params.json",
        ),
        ("analysis_10/kmeans/center1000_half2_unfil.mrc", "analysis_{}{label}/kmeans/{name}_half{}_unfil.mrc"),
        ("analysis_10/plots/PCA/PC_910.png", "analysis_{}{label}/plots/PCA/PC_{}{}.{form}"),
        (".covaria/stages/density/state.json", ".covaria/stages/{stage}/state.json"),
        (".covaria/stages/evil/state.json", None),
        ("output/volumes/mean.mrc\n", None),
        ("output/volumes/../volumes/mean.mrc", None),
        ("notes.txt", None),
    ],
)
def test_which_line_names_a_file(name: str, pattern: str | None) -> None:
    row = find(Tree, name)
    assert (row and row.pattern) == pattern


def test_what_the_table_does_not_name_is_not_published(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "out")
    tree.state.mkdir(parents=True)
    with tree.staging("reconstruction") as staged:
        made = Tree(staged)
        made.volumes.mkdir(parents=True)
        made.mean.write_text("map")
        (made.volumes / "secret.mrc").write_text("new")
        with pytest.raises(UnlistedOutput, match=r"output/volumes/secret\.mrc: no line"):
            tree.publish(made.output, tree.output)
        (made.volumes / "secret.mrc").unlink()
        tree.publish(made.output, tree.output)
    with tree.staging("analysis") as staged:
        (staged / "mean.mrc").write_text("x")
        with pytest.raises(UnlistedOutput):
            tree.publish(staged, tmp_path / "elsewhere", AnalysisTree)
        with pytest.raises(UnlistedOutput):
            tree.publish(staged / "mean.mrc", tree.out / "mean.mrc")
        (staged / "mean.mrc").rename(staged / "state003.mrc")
        tree.publish(staged, tmp_path / "states", StatesTree)
    assert tree.mean.read_text() == "map"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "states"]


def test_inventory_lists_by_kind_and_leaves_others_alone(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    analysis = AnalysisTree(tree.analysis(4))
    ours = [
        tree.mean, tree.mask, tree.params, tree.latent_coords(4), tree.particles, analysis.center(3),
        analysis.trajectory(0).state(1).half(2), analysis.trajectory(0).path_json, analysis.kmeans_result,
        DensityTree(tree.density).density(2), tree.job_json,
    ]  # fmt: skip
    others = [tmp_path / "mine/mean.mrc", tmp_path / "analysis_mine/job.json", tree.volumes / "mine.mrc"]
    for path in ours + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tree.volumes / "mean_filt.mrc").symlink_to(tree.mean)
    assert set(listed(tmp_path)) == {path.relative_to(tmp_path).as_posix() for path in ours}
    assert inventory(tmp_path) == {
        "maps": ["output/volumes/mean.mrc"],
        "masks": ["output/volumes/mask.mrc"],
        "model": ["model/params.pkl"],
        "latent_coordinates": ["model/zdim_4/latent_coords.npy"],
        "density": ["density/data/all_densities/deconv_density_2.pkl"],
        "clusters": ["analysis_4/kmeans/center003.mrc"],
        "trajectories": ["analysis_4/traj000/state001_half2_unfil.mrc"],
        "analysis_data": ["analysis_4/data/kmeans_result.pkl"],
    }
    assert inventory(tree.analysis(4))["clusters"] == ["kmeans/center003.mrc"]
    assert {path.name for path in tree.owned()} == {"output", "model", ".covaria", "analysis_4", "density", "job.json"}
