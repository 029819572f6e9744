import numpy as np
import pytest
from typer.testing import CliRunner

from covaria.cli import application
from covaria.cli.states import read_end, read_points
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.maps import read_volume
from covaria.tree import AnalysisTree


def invoke(*words):
    result = CliRunner().invoke(application(), [str(word) for word in words])
    if isinstance(result.exception, CovariaError):
        raise result.exception
    return result


def test_points_are_read_with_their_lines(tmp_path):
    file = tmp_path / "points.txt"
    file.write_text("# a comment\n1 2\n\n3,4  # another\n")
    assert read_points(file).tolist() == [[1, 2], [3, 4]]
    file.write_text("1 2\n1 two\n")
    with pytest.raises(InvalidInput, match="row 2"):
        read_points(file)
    file.write_text("1 2\n1\n")
    with pytest.raises(InvalidInput, match="row 2: 1 numbers, 2 in the rows above"):
        read_points(file)
    file.write_text("\n")
    with pytest.raises(InvalidInput, match="no point"):
        read_points(file)
    with pytest.raises(MissingFile):
        read_points(tmp_path / "absent.txt")


def test_an_end_is_a_centre_or_a_point(finished):
    assert read_end(finished.tree, 2, "0.5,-1.2").tolist() == [0.5, -1.2]
    with pytest.raises(InvalidInput, match="needs 3"):
        read_end(finished.tree, 3, "1 2")
    with pytest.raises(InvalidInput, match="not a latent point"):
        read_end(finished.tree, 1, "north")
    centers = AnalysisTree(finished.tree.analysis(1)).centers_txt
    centers.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(centers, [[1.5], [2.5]])
    assert read_end(finished.tree, 1, "1").tolist() == [2.5]
    assert read_end(finished.tree, 1, "1.0").tolist() == [1.0]
    with pytest.raises(InvalidInput, match="no centre 7"):
        read_end(finished.tree, 1, "7")


def test_state_writes_a_new_folder_and_refuses_a_full_one(finished, tmp_path):
    points = tmp_path / "points.txt"
    np.savetxt(points, finished.simulated.latents[[1, 6]])
    words = ("state", finished.tree.out, "--zdim", 1, "--points", points, "-o", tmp_path / "states", "--device", "cpu")
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert read_volume(tmp_path / "states" / "state001.mrc")[0].shape == (24, 24, 24)
    with pytest.raises(CovariaError, match="not empty"):
        invoke(*words)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("keep")
    with pytest.raises(CovariaError, match="holds no states"):
        invoke(*words[:-4], "-o", tmp_path / "precious", "--device", "cpu", "--overwrite")
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_trajectory_writes_its_path_and_volumes(finished, tmp_path):
    low, high = finished.simulated.latents[[0, 7], 0]
    result = invoke(
        "trajectory", finished.tree.out, "--zdim", 1, f"--from={low:.4f}", f"--to={high:.4f}",
        "-o", tmp_path / "path", "--n-vols-along-path", 3, "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (tmp_path / "path").glob("state???.mrc")) == [f"state{i:03d}.mrc" for i in range(3)]
    assert (tmp_path / "path" / "path.json").is_file()
