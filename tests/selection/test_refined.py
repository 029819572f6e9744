"""Refined poses in the format of the source: only poses change, and what is read back is what was refined."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from covaria.particles import load
from covaria.particles.cryosparc.poses import with_poses
from covaria.particles.cryosparc.subset import CsRows
from covaria.particles.read import read_metadata
from covaria.particles.rotations import matrices_from_euler, matrices_from_rotation_vectors
from covaria.particles.star.poses import write_star_poses
from covaria.particles.star.relion import read_relion
from covaria.particles.star.subset import StarRows
from covaria.request.model import IngestOptions
from covaria.results.particle_table import REFINED, read_particle_table, with_refined_poses, write_particle_table
from covaria.selection.refined import Moves, PosedSource
from covaria.tree import RefinedFiles, Tree

STAR = """data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1  2.0   # a comment that stays

data_particles

loop_
_rlnAngleRot #1
_rlnImageName #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnNote #7
10.0 000001@a.mrcs\t20.0  30.0 1.0 2.0 "two words"  # kept
# between two rows
40.5   000002@a.mrcs 50 60 3 4 'x # no comment'
70 000003@a.mrcs 80 90 5 6 plain

data_extra
_rlnNote kept
"""


def posed(content: str, folder: Path, rows: list[int], **poses: NDArray[np.float64]) -> str:
    source = folder / "particles.star"
    source.write_bytes(content.encode())
    target = io.BytesIO()
    rotations = poses.get("rotations", np.tile(np.eye(3), (len(rows), 1, 1)))
    shifts = poses.get("shifts", np.full((len(rows), 2), 1.5))
    write_star_poses(StarRows(source), np.array(rows), rotations, shifts, np.full(len(rows), 2.0), target)
    return target.getvalue().decode()


def test_only_the_values_of_poses_change(tmp_path: Path) -> None:
    found = posed(STAR, tmp_path, [1]).splitlines()
    changed = [number for number, (a, b) in enumerate(zip(STAR.splitlines(), found, strict=True)) if a != b]
    assert [found[number] for number in changed] == [
        "0.000000   000002@a.mrcs 0.000000 0.000000 3.000000 3.000000 'x # no comment'"
    ]


def test_line_ends_stay_and_what_is_written_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rotations, shifts = Rotation.random(2, rng=rng).as_matrix(), rng.normal(size=(2, 2))
    found = posed(STAR.replace("\n", "\r\n"), tmp_path, [0, 2], rotations=rotations, shifts=shifts)
    assert found.count("\r\n") == found.count("\n") == STAR.count("\n")
    (tmp_path / "again.star").write_bytes(found.encode())
    again = read_relion(tmp_path / "again.star")
    assert again.rotations is not None
    assert again.shifts is not None
    np.testing.assert_allclose(again.rotations[[0, 2]], rotations, atol=1e-7)
    np.testing.assert_allclose(again.shifts.values[[0, 2]], 2 * shifts, atol=1e-6)
    np.testing.assert_allclose(again.rotations[1], matrices_from_euler(np.array([[40.5, 50, 60]]))[0], atol=1e-7)


def test_origins_in_pixels_and_none_at_all(tmp_path: Path) -> None:
    in_pixels = STAR.replace("_rlnOriginXAngst", "_rlnOriginX").replace("_rlnOriginYAngst", "_rlnOriginY")
    assert "0.000000 1.500000 1.500000 plain" in posed(in_pixels, tmp_path, [2])
    lines = [line for line in STAR.splitlines() if "Origin" not in line]
    bare = "\n".join(lines).replace(" 1.0 2.0 ", " ").replace(" 3 4 ", " ").replace(" 5 6 ", " ")
    bare = bare.replace("_rlnNote #7", "_rlnNote #5") + "\n"
    (tmp_path / "added.star").write_text(posed(bare, tmp_path, [0]))
    added = read_relion(tmp_path / "added.star")
    assert added.shifts is not None
    np.testing.assert_allclose(added.shifts.values, [[3, 3], [0, 0], [0, 0]])


def cs_file(path: Path, columns: dict[str, NDArray]) -> Path:
    table = np.zeros(len(columns["uid"]), [(name, value.dtype.str, value.shape[1:]) for name, value in columns.items()])
    for name, value in columns.items():
        table[name] = value
    with path.open("wb") as file:
        np.save(file, table)
    return path


@pytest.mark.parametrize("form", ["alignments3D", "passthrough", "classes", "multi", "no shift"])
def test_every_form_of_cs(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(1)
    uid, ones = np.array([7, 3, 9, 5], "u8"), np.ones(4, "f4")
    rotations, shifts = Rotation.random(2, rng=rng).as_matrix(), rng.normal(size=(2, 2))
    pose, shift = rng.normal(size=(4, 3)).astype("f4"), rng.normal(size=(4, 2)).astype("f4")
    own = {"alignments3D/pose": pose, "alignments3D/shift": shift, "alignments3D/psize_A": 4 * ones}
    main, others, prefix, classes = {"uid": uid, "blob/psize_A": 2 * ones}, (), "alignments3D", None
    if form == "passthrough":
        order = [2, 0, 3, 1]
        other = {"uid": uid[order]} | {name: value[order] for name, value in own.items()}
        others = (cs_file(tmp_path / "pass.cs", other),)
    elif form == "classes":
        classes = np.array([0, 1, 1, 0])
        both = {name.replace("3D", f"_class_{k}"): value for k in (0, 1) for name, value in own.items()}
        main |= both
        prefix = "alignments_class_0"
    elif form == "multi":
        classes, prefix = np.array([0, 1, 1, 0]), "alignments3D_multi"
        stacked = {name: np.stack([value, value], 1) for name, value in own.items() if "psize" not in name}
        main |= {name.replace("3D", "3D_multi"): value for name, value in stacked.items()}
        main["alignments3D_multi/psize_A"] = 4 * ones
    else:
        main |= {name: value for name, value in own.items() if form != "no shift" or "shift" not in name}
    source = CsRows(cs_file(tmp_path / "main.cs", main), others)
    found, rest = with_poses(source, prefix, classes, np.array([1, 3]), rotations, shifts, np.full(2, 2.0))
    for name in source.main.dtype.names:
        if not name.endswith(("pose", "shift")):
            np.testing.assert_array_equal(found[name], source.main[name])
    table, at = (rest[0], [3, 2]) if form == "passthrough" else (found, [1, 3])
    assert table["uid"][at].tolist() == [3, 5]
    for k, row in enumerate(at):
        number = 0 if classes is None else classes[[1, 3][k]]
        name = f"alignments_class_{number}" if form == "classes" else prefix
        inside = (row, number) if form == "multi" else (row,)
        read = matrices_from_rotation_vectors(table[f"{name}/pose"][inside][None].astype(float))[0]
        np.testing.assert_allclose(read, rotations[k], atol=1e-6)
        np.testing.assert_allclose(table[f"{name}/shift"][inside], shifts[k] / 2, rtol=1e-5)  # of 4 A, not of 2
    others_stay = [row for row in range(4) if row not in at]
    if form in ("alignments3D", "multi"):
        for field in ("pose", "shift"):
            before = source.main[f"{prefix}/{field}"]
            np.testing.assert_array_equal(table[f"{prefix}/{field}"][others_stay], before[others_stay])


def test_a_run_of_smaller_images_writes_its_source(
    dataset: Path, finished: Callable[..., Tree], tmp_path: Path
) -> None:
    """Moves are in pixels of the smaller box; rows that were left out keep their bytes."""
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"{row}\n" for row in range(0, 60, 2)))
    tree = finished(dataset / "particles.star", downsample=16, ind=rows)
    particles, ingest = load(tree.particles), IngestOptions(particles=dataset / "particles.star", ind=rows)
    rng = np.random.default_rng(2)
    moved = rng.normal(size=(30, 5)) * [0.5, 0.5, 0.03, 0.03, 0.03]
    pixel = particles.pixel_size_angstrom
    source = PosedSource.read(ingest)
    source.write(Moves(particles.rows, moved[:, 2:], moved[:, :2] * pixel), 16 * pixel, RefinedFiles(tmp_path))
    before = (dataset / "particles.star").read_text().splitlines()
    after = RefinedFiles(tmp_path).star.read_text().splitlines()
    same = [one for one, other in zip(before, after, strict=True) if "@" in one and one == other]
    assert len(same) == 30
    again = read_metadata(ingest.model_copy(update={"particles": RefinedFiles(tmp_path).star})).metadata
    turned = Rotation.from_rotvec(moved[:, 2:]).as_matrix() @ particles.rotations[::2]
    assert again.rotations is not None
    assert again.shifts is not None
    np.testing.assert_allclose(again.rotations[::2], turned, atol=1e-6)
    shifts = again.shifts.pixels(16, pixel)[::2]
    np.testing.assert_allclose(shifts, particles.translations[::2] + moved[:, :2], atol=1e-4)

    table = read_particle_table(tree, 60)
    degrees = np.concatenate([moved[:, :2], np.rad2deg(moved[:, 2:])], 1)
    columns = {name: np.full(60, np.nan, np.float32) for name in REFINED}
    for k, name in enumerate(REFINED):
        columns[name][::2] = degrees[:, k]
    assert with_refined_poses(tree, particles) is particles
    write_particle_table(tree, replace(table, columns={**table.columns, **columns}))
    here = with_refined_poses(tree, particles)
    np.testing.assert_allclose(here.rotations[::2], turned, atol=1e-6)
    np.testing.assert_allclose(here.translations[::2], shifts, atol=1e-4)
    np.testing.assert_array_equal(here.rotations[1::2], particles.rotations[1::2])


def test_poses_of_a_pickle_go_back_as_one(dataset: Path, tmp_path: Path) -> None:
    ingest = IngestOptions(particles=dataset / "particles.mrcs", poses=dataset / "poses.pkl", ctf=dataset / "ctf.pkl")
    source = PosedSource.read(ingest)
    moves = Moves(np.array([3]), np.array([[0, 0, 0.1]]), np.array([[8.0, 0]]))
    source.write(moves, 32 * 8.0, RefinedFiles(tmp_path))
    again = read_metadata(ingest.model_copy(update={"poses": RefinedFiles(tmp_path).pkl})).metadata
    before = source.metadata
    assert again.shifts is not None
    assert before.shifts is not None
    difference = again.shifts.pixels(32, 8.0) - before.shifts.pixels(32, 8.0)
    np.testing.assert_allclose(difference[3], [1, 0], atol=1e-5)
    np.testing.assert_allclose(np.delete(difference, 3, 0), 0, atol=1e-6)


def test_poses_of_cistem_s_file_are_written_in_its_columns(
    dialect: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    source = dialect(tmp_path / "source", "native")
    before = read_relion(source)
    rng = np.random.default_rng(0)
    rotations, shifts = Rotation.random(2, rng=rng).as_matrix(), rng.normal(size=(2, 2))
    with (tmp_path / "again.star").open("wb") as file:
        write_star_poses(StarRows(source), np.array([0, 2]), rotations, shifts, np.full(2, 2.0), file)
    again = read_relion(tmp_path / "again.star")
    np.testing.assert_allclose(again.rotations[[0, 2]], rotations, atol=1e-7)
    np.testing.assert_allclose(again.shifts.values[[0, 2]], 2 * shifts, atol=1e-6)
    assert np.array_equal(again.rotations[1], before.rotations[1])
    assert np.array_equal(again.shifts.values[3:], before.shifts.values[3:])
