"""Rows of a growing set are known by their images' names; what cannot be the same set is refused, and says why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from covaria import particles as particle_files
from covaria.errors import InvalidInput, MissingFile
from covaria.particles.identity import read_rows
from covaria.request.model import IngestOptions, Request
from covaria.simulation import ensemble
from covaria.simulation.dataset import SimulationOptions, simulate
from covaria.stage import Job
from covaria.testing import MemoryContext
from covaria.tree import Tree
from covaria_ingest import stage as ingest

COUNT, FIRST = 60, 40


def rows_of(star: Path) -> tuple[list[str], list[str]]:
    lines = star.read_text().splitlines()
    first = max(number for number, line in enumerate(lines) if line.startswith("_rln")) + 1
    return lines[:first], [line for line in lines[first:] if line.strip()]


class Growing:
    """A set whose file is written anew for each version."""

    def __init__(self, folder: Path) -> None:
        options = SimulationOptions(box=16, pixel_size_angstrom=16.0, atom_sigma_angstrom=8.0, n_images=COUNT, snr=1.0)
        simulate(folder / "set", ensemble.homogeneous(1), options)
        self.folder, self.star = folder, folder / "set" / "particles.star"
        self.head, self.rows = rows_of(self.star)
        self.stack = folder / "set" / "particles.mrcs"

    def write(self, rows: list[str], head: list[str] | None = None) -> Path:
        path = self.star.with_name("now.star")
        path.write_text("\n".join([*(head or self.head), *rows]) + "\n")
        return path

    def version(self, name: str, star: Path, before: str = "", **options) -> Tree:
        given = Tree(self.folder / before).growth_memory if before else None
        if given is not None:
            given.touch()
        asked = IngestOptions(particles=star, downsample=None, growing=True, grown_from=given, **options)
        request = Request(out=self.folder / name, ingest=asked)
        ingest.run(Job("growth", request), MemoryContext())
        return Tree(self.folder / name)

    def unassigned(self, rows: list[str]) -> tuple[list[str], list[str]]:
        """The same without half-sets: head and rows."""
        place = next(n for n, line in enumerate(self.head) if line.startswith("_rlnRandomSubset"))
        column = int(self.head[place].split("#")[1]) - 1
        names = [line.split(" #")[0] for n, line in enumerate(self.head) if n != place]
        later = [line.split(" #")[0] for line in self.head[place + 1 :]]
        head = [*self.head[:place], *(f"{name} #{column + 1 + k}" for k, name in enumerate(later))]
        assert len(names) == len(head)
        return head, [" ".join(w for k, w in enumerate(line.split()) if k != column) for line in rows]


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def test_rows_follow_their_images_and_only_new_ones_are_read(growing: Growing) -> None:
    first = growing.version("v1", growing.write(growing.rows[:FIRST]))
    order = np.random.default_rng(0).permutation(np.arange(5, COUNT))
    second = growing.version("v2", growing.write([growing.rows[k] for k in order]), "v1")
    rows = read_rows(second.growth_rows)
    assert int(rows.version) == 2
    assert rows.before.tolist() == [k if k < FIRST else -1 for k in order]
    assert not rows.moved.any()
    particles = particle_files.load(second.particles)
    assert [path.name for path in particles.images.paths] == ["particles.16.mrcs", "particles.16.0001.mrcs"]
    with mrcfile.open(growing.stack, permissive=True) as stack:
        assert np.allclose(particles.images.read(np.arange(len(order))), stack.data[order], atol=1e-5)
    parts = [tree.downsampled / "particles.16.mrcs" for tree in (first, second)]
    assert parts[0].samefile(parts[1]), "what was read before is not written again"
    of_star = particle_files.read_particles(IngestOptions(particles=second.downsampled_star(16), downsample=None))
    assert np.array_equal(of_star.images.read(np.arange(9)), particles.images.read(np.arange(9)))


def test_half_sets_last(growing: Growing) -> None:
    head, rows = growing.unassigned(growing.rows)
    first = particle_files.load(growing.version("v1", growing.write(rows[:FIRST], head)).particles)
    second = particle_files.load(growing.version("v2", growing.write(rows[::-1], head), "v1").particles)
    assert np.array_equal(second.half_set[::-1][:FIRST], first.half_set)
    assert abs(int((second.half_set == 0).sum()) - COUNT // 2) <= 1
    other = [row.split() for row in growing.rows]
    column = int(next(line for line in growing.head if line.startswith("_rlnRandomSubset")).split("#")[1]) - 1
    for row in other:
        row[column] = str(3 - int(row[column]))
    growing.version("v3", growing.write(growing.rows[:FIRST]))
    with pytest.raises(InvalidInput, match="40 rows are in the other half-set than before"):
        growing.version("v4", growing.write([" ".join(row) for row in other]), "v3")


def test_what_is_half_written_or_another_set_is_refused(growing: Growing) -> None:
    growing.version("v1", growing.write(growing.rows[:FIRST]))
    with pytest.raises(InvalidInput, match="holds the first 30 of OUT's 40 rows and nothing else"):
        growing.version("v2", growing.write(growing.rows[:30]), "v1")
    with pytest.raises(InvalidInput, match=r"row 41|line"):
        growing.version("v2", growing.write([*growing.rows[:FIRST], growing.rows[FIRST][:50]]), "v1")
    with pytest.raises(InvalidInput, match="names none of the images that OUT holds"):
        growing.version("v2", growing.write(growing.rows[FIRST:]), "v1")
    with pytest.raises(InvalidInput, match="--ind and a set that grows"):
        growing.version("v2", growing.write(growing.rows), "v1", ind=growing.star)
    wider = [line.replace(" 16.0", " 17.0").replace(" 16.000000", " 17.000000") for line in growing.head]
    with pytest.raises(InvalidInput, match=r"16 pixels of 17 angstrom, OUT's images have 16 of 16"):
        growing.version("v2", growing.write(growing.rows, wider), "v1")


def test_particles_of_cryosparc_are_known_by_their_uid(growing: Growing) -> None:
    """Also where the images were written anew into other stacks, in another order."""

    def table(name: str, uids: np.ndarray, stack: str, places: np.ndarray) -> Path:
        columns: dict[str, Any] = {
            "uid": uids.astype(np.uint64), "blob/path": np.full(len(uids), f"{stack}".encode()),
            "blob/idx": places.astype(np.uint32), "blob/shape": np.full((len(uids), 2), 16, np.uint32),
            "blob/psize_A": np.full(len(uids), 16.0, np.float32), "alignments3D/pose": np.zeros((len(uids), 3), "<f4"),
            "alignments3D/shift": np.zeros((len(uids), 2), "<f4"), "alignments3D/split": (uids % 2).astype(np.uint32),
            "alignments3D/psize_A": np.full(len(uids), 16.0, np.float32),
        }  # fmt: skip
        known = {"accel_kv": 300, "cs_mm": 2.7, "amp_contrast": 0.1, "df1_A": 15000, "df2_A": 15000}
        known |= {"df_angle_rad": 0, "phase_shift_rad": 0}
        columns |= {f"ctf/{key}": np.full(len(uids), value, np.float32) for key, value in known.items()}
        made = np.zeros(len(uids), [(key, value.dtype, value.shape[1:]) for key, value in columns.items()])
        for key, value in columns.items():
            made[key] = value
        path = growing.star.with_name(name)
        with path.open("wb") as file:
            np.save(file, made)
        return path

    uids = np.random.default_rng(1).permutation(np.arange(1000, 1000 + COUNT))
    first = growing.version("v1", table("a.cs", uids[:FIRST], "particles.mrcs", np.arange(FIRST)))
    order = np.random.default_rng(2).permutation(COUNT)
    with mrcfile.open(growing.stack, permissive=True) as stack, mrcfile.new(growing.star.with_name("re.mrcs")) as again:
        again.set_data(stack.data[order])
        again.voxel_size = 16.0
    second = growing.version("v2", table("b.cs", uids[order], "re.mrcs", np.arange(COUNT)), "v1")
    rows = read_rows(second.growth_rows)
    assert rows.before.tolist() == [k if k < FIRST else -1 for k in order]
    assert not rows.moved.any()
    assert len(read_rows(first.growth_rows).key) == FIRST


def test_only_stacks_of_the_version_before_are_taken_over(growing: Growing, tmp_path: Path) -> None:
    """What a file in an output folder names is a stranger's claim."""
    first = growing.version("v1", growing.write(growing.rows[:FIRST]))
    known = dict(np.load(first.particles))
    secret = tmp_path / "secret.mrcs"
    shutil.copyfile(growing.stack, secret)
    np.savez(first.particles, **(known | {"stack_paths": np.array([str(secret)])}))
    with pytest.raises(InvalidInput, match=r"secret\.mrcs: is no stack that OUT keeps"):
        growing.version("v2", growing.write(growing.rows), "v1")
    assert secret.stat().st_nlink == 1
    with pytest.raises(InvalidInput, match="is not what a run keeps for growing"):
        asked = IngestOptions(particles=growing.star, downsample=None, growing=True, grown_from=secret)
        ingest.run(Job("growth", Request(out=tmp_path / "v3", ingest=asked)), MemoryContext())


def test_a_replaced_stack_is_told_from_one_that_was_touched(growing: Growing) -> None:
    growing.version("v1", growing.write(growing.rows[:FIRST]))
    status = growing.stack.stat()
    os.utime(growing.stack, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    growing.version("v2", growing.write(growing.rows), "v1")
    with mrcfile.open(growing.stack, mode="r+", permissive=True) as stack:
        stack.set_data(np.roll(np.array(stack.data), 1, axis=0))
    with pytest.raises(InvalidInput, match=r"row 1.*particles\.mrcs was replaced"):
        growing.version("v3", growing.write(growing.rows), "v1")


def test_the_microscopes_folder_may_be_gone_for_what_was_read(growing: Growing) -> None:
    more = growing.stack.with_name("more.mrcs")
    shutil.copyfile(growing.stack, more)
    rows = [*growing.rows[:FIRST], *(row.replace("particles.mrcs", "more.mrcs") for row in growing.rows[FIRST:])]
    growing.version("v1", growing.write(rows[:FIRST]))
    growing.stack.unlink()
    found = particle_files.load(growing.version("v2", growing.write(rows), "v1").particles)
    assert found.images.read(np.arange(COUNT)).std() > 0
    more.unlink()
    with pytest.raises(MissingFile, match=r"more\.mrcs"):
        growing.version("v3", growing.write(rows), "v1")
