import io
import json
import os
import pickle
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

from covaria.cli import application
from covaria.cli.points import read_end, read_points
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.maps import read_volume
from covaria.tree import AnalysisTree


def invoke(*words):
    line = [str(word) for word in words]
    with patch("sys.argv", ["covaria", *line]):  # which job.json and command.txt repeat
        result = CliRunner().invoke(application(), line)
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
    with pytest.raises(CovariaError, match="holds no state"):
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
    folder = tmp_path / "path"
    assert all((folder / name).is_file() for name in ("path.json", "job.json", "command.txt", "run.log", "README.txt"))


def test_points_come_as_text_as_an_array_and_through_a_pipe(tmp_path, monkeypatch):
    wanted = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.save(tmp_path / "points.npy", wanted.astype(np.float32))
    assert read_points(tmp_path / "points.npy").tolist() == wanted.tolist()
    np.save(tmp_path / "one.npy", wanted[0])
    assert read_points(tmp_path / "one.npy").tolist() == [[1.0, 2.0]]
    os.mkfifo(tmp_path / "pipe")
    for sent in (b"1,2\n3,4\n", (tmp_path / "points.npy").read_bytes()):
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(sent,))
        writer.start()
        assert read_points(tmp_path / "pipe").tolist() == wanted.tolist()
        writer.join()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sent)))
        assert read_points(Path("-")).tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps([[1.0, 2.0]]), "is a pickle"),
        (b"\x93NUMPY\x01\x00broken", "damaged .npy"),
        (b"\xff\xfe\x00\x01", "neither text nor .npy"),
        (b"1 2\nnan 3\n", "row 2: a number that is not finite"),
        (b"x y\n1 2\n", "row 1: 'x y' is not a row of numbers"),
    ],
)
def test_what_holds_no_points_is_refused_without_its_bytes(tmp_path, content, says):
    (tmp_path / "points").write_bytes(content)
    with pytest.raises(InvalidInput, match=says) as caught:
        read_points(tmp_path / "points")
    assert str(caught.value).isascii() and "\\x" not in str(caught.value)


def test_an_array_of_another_kind_is_refused(tmp_path):
    for values in (np.zeros((2, 2, 2)), np.array(["a"]), np.zeros(0), np.array([[1j]])):
        np.save(tmp_path / "points.npy", values)
        with pytest.raises(InvalidInput, match="shape"):
            read_points(tmp_path / "points.npy")


def test_a_folder_of_states_says_what_it_is(finished, tmp_path):
    points = tmp_path / "points.txt"
    far = 100 * np.abs(finished.simulated.latents).max()
    np.savetxt(points, [finished.simulated.latents[1], [far]])
    out = tmp_path / "new" / "states"
    before = sorted(path for path in finished.tree.out.rglob("*"))
    result = invoke("state", finished.tree.out, "--zdim", 1, "--points", points, "-o", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "point 2 lies far outside" in result.stderr and "point 1" not in result.stderr
    assert sorted(path for path in finished.tree.out.rglob("*")) == before, "OUT is left as it is"
    assert [path.name for path in out.parent.iterdir()] == ["states"], "nothing is left beside it"
    document = json.loads((out / "job.json").read_text())
    assert document["command"] == "state" and document["status"] == "succeeded"
    assert document["parameters"]["zdim"] == 1 and document["parameters"]["out"] == str(finished.tree.out)
    assert document["inputs"][0]["path"] == str(points) and len(document["inputs"][0]["sha256"]) == 64
    assert document["outputs"]["states"][0] == "state000.mrc"
    assert document["stages"]["state"]["device"] == "cpu" and document["stages"]["state"]["seconds"] > 0
    assert (out / "command.txt").read_text().startswith("covaria ")
    assert "states: 2 targets" in (out / "run.log").read_text()
    readme = (out / "README.txt").read_text()
    assert "state000.mrc ... " in readme and "open state000.mrc" in readme
    assert np.loadtxt(out / "points.txt").tolist() == np.loadtxt(points).tolist()
    assert not (out / ".covaria").exists()


def test_a_path_between_equal_ends_is_refused(finished, tmp_path):
    with pytest.raises(InvalidInput, match="are the same point"):
        invoke("trajectory", finished.tree.out, "--zdim", 1, "--from", "0.5", "--to", "0.50", "-o", tmp_path / "p")
    assert not (tmp_path / "p").exists()
