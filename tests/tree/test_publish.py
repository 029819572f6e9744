"""Staging and publishing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from covaria.tree import AnalysisTree, Pen, Tree


def _tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "out")
    tree.state.mkdir(parents=True)
    return tree


def test_staging_is_fresh_on_the_same_filesystem_and_removed(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    with tree.staging("density") as one, tree.staging("density") as two:
        assert one != two and one.is_dir() and tree.state in one.parents
        assert one.stat().st_dev == tree.out.stat().st_dev
        assert one.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert not one.exists() and not two.exists()


def test_publish_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    for text in ("first", "second"):
        with tree.staging("reconstruction") as staged:
            source = Tree(staged).volumes
            source.mkdir(parents=True)
            (source / f"variance{len(text)}.mrc").write_text(text)
            tree.publish(Tree(staged).output, tree.output)
    assert [path.name for path in tree.volumes.iterdir()] == ["variance6.mrc"]
    assert list(tree.temporary.iterdir()) == []


def test_publish_a_file_over_a_file(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    tree.readme.write_text("old")
    with tree.staging("x") as staged:
        (staged / "README.txt").write_text("new")
        tree.publish(staged / "README.txt", tree.readme)
    assert tree.readme.read_text() == "new"


def test_publish_across_filesystems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target elsewhere (analyze -o) gets a copy made beside it; a rename across devices is refused by the kernel."""
    tree = _tree(tmp_path)
    target = tmp_path / "elsewhere" / "analysis"
    real = Path.replace

    def replace(self: Path, to: Path) -> Path:
        if tree.state in self.parents and tree.state not in Path(to).parents:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return real(self, to)

    monkeypatch.setattr(Path, "replace", replace)
    with tree.staging("analysis") as staged:
        AnalysisTree(staged).data.mkdir()
        AnalysisTree(staged).kmeans_result.write_bytes(b"x")
        tree.publish(staged, target, AnalysisTree)
    assert AnalysisTree(target).kmeans_result.read_bytes() == b"x"
    assert [path.name for path in target.parent.iterdir()] == ["analysis"]


def test_a_pen_that_was_lost_puts_nothing_in_place(tmp_path: Path) -> None:
    tree = _tree(tmp_path)

    def lost() -> None:
        raise RuntimeError("lease lost")

    with tree.staging("x") as staged:
        (staged / "README.txt").write_text("new")
        fenced = Tree(tree.out, Pen(check=lost))
        with pytest.raises(RuntimeError, match="lease lost"):
            fenced.publish(staged / "README.txt", tree.readme)
        with pytest.raises(RuntimeError, match="lease lost"):
            fenced.write_json(tree.request, {})
        with pytest.raises(RuntimeError, match="lease lost"):
            fenced.pen.remove(tree.out)
    assert sorted(path.name for path in tree.out.rglob("*")) == [".covaria", "tmp"]


def test_clear_removes_only_ours(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    for path in (tree.model, tree.volumes, tree.analysis(4), tree.out / "analysis_mine", tree.out / "thesis"):
        path.mkdir(parents=True)
    tree.job_json.write_text("{}")
    (tree.out / "notes.txt").write_text("mine")
    tree.clear()
    assert sorted(path.name for path in tree.out.iterdir()) == ["analysis_mine", "notes.txt", "thesis"]
    assert not tree.is_ours and not tree.is_empty


def test_documented_names(tmp_path: Path) -> None:
    tree, analysis = Tree(tmp_path), AnalysisTree(tmp_path / "analysis_10")
    names = [
        tree.downsampled_star(128), tree.zdim(4), tree.mean_half(1), tree.eigenvolume(3), tree.variance(10),
        tree.density_knee, analysis.center(0), analysis.center_files(0).half(2),
        analysis.trajectory(0).state(1).volume,
        analysis.center_files(0).diagnostics, analysis.pca_plot(0), tree.analysis(10),
    ]  # fmt: skip
    assert [str(path.relative_to(tmp_path)) for path in names] == [
        "downsampled/particles.128.star", "model/zdim_4", "output/volumes/mean_half1_unfil.mrc",
        "output/volumes/eigen_pos0003.mrc", "output/volumes/variance10.mrc", "density/data/deconv_density_knee.pkl",
        "analysis_10/kmeans/center000.mrc", "analysis_10/kmeans/center000_half2_unfil.mrc",
        "analysis_10/traj000/state001.mrc", "analysis_10/kmeans/diagnostics/center000",
        "analysis_10/plots/PCA/PC_01.png", "analysis_10",
    ]  # fmt: skip
    assert tree.zdims() == []
    for zdim in (10, 2):
        tree.zdim(zdim).mkdir(parents=True)
    assert tree.zdims() == [2, 10]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
