"""cryoSPARC's own reader takes what a subset holds. Skipped where cryosparc-tools is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from covaria.request.model import IngestOptions
from covaria.selection.handoff import write_subset
from covaria.tree import ParticleFiles

Dataset = pytest.importorskip("cryosparc.dataset", reason="cryosparc-tools is not installed").Dataset
COUNT = 50


def save(path: Path, uid: NDArray[np.uint64], columns: dict[str, Any]) -> None:
    """A file that cryosparc-tools itself wrote."""
    fields = [(name, values.dtype.str if values.ndim == 1 else (values.dtype.str, values.shape[1:]))
              for name, values in columns.items()]  # fmt: skip
    described = [("uid", "<u8"), *((name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in fields)]
    table = np.zeros(len(uid), described)
    table["uid"] = uid
    for name, values in columns.items():
        table[name] = values
    Dataset(table).save(str(path))


@pytest.fixture(name="source")
def source_fixture(tmp_path: Path) -> tuple[Path, Path]:
    """A particle file and a passthrough file of another order, with every kind of field that a job writes."""
    rng = np.random.default_rng(4)
    uid = rng.integers(1, 2**63, COUNT, dtype=np.uint64)
    names = np.array([f"J3/extract/{k % 7:021d}_particles.mrc".encode() for k in range(COUNT)])
    save(tmp_path / "particles.cs", uid, {
        "blob/path": names, "blob/idx": np.arange(COUNT, dtype="<u4"), "blob/shape": np.full((COUNT, 2), 64, "<u4"),
        "blob/psize_A": np.full(COUNT, 1.5, "<f4"), "alignments3D/pose": rng.normal(size=(COUNT, 3)).astype("<f4"),
        "alignments3D/shift": rng.normal(size=(COUNT, 2)).astype("<f4"),
        "alignments3D/split": rng.integers(0, 2, COUNT).astype("<u4"),
    })  # fmt: skip
    order = rng.permutation(COUNT)
    save(tmp_path / "passthrough.cs", uid[order], {
        "ctf/df1_A": rng.normal(1e4, 1, COUNT).astype("<f4"), "ctf/type": np.array([b"spline"] * COUNT),
        "location/micrograph_uid": rng.integers(1, 2**63, COUNT, dtype=np.uint64),
        "location/center_x_frac": rng.random(COUNT).astype("<f4"),
    })  # fmt: skip
    return tmp_path / "particles.cs", tmp_path / "passthrough.cs"


def equal(found: Any, expected: Any) -> None:
    assert found.fields() == expected.fields()
    for name in expected.fields():
        assert np.array_equal(np.asarray(found[name]), np.asarray(expected[name])), name


def test_rows_fields_and_uids_are_those_of_the_source(source: tuple[Path, Path], tmp_path: Path) -> None:
    main, passthrough = source
    keep = np.random.default_rng(5).random(COUNT) < 0.4
    folder = tmp_path / "subset"
    folder.mkdir()
    write_subset(folder, IngestOptions(particles=main, passthrough=(passthrough,)), keep)
    files = ParticleFiles(folder, "particles")
    whole, passed = Dataset.load(str(main)), Dataset.load(str(passthrough))
    found, found_passed = Dataset.load(str(files.cs)), Dataset.load(str(files.passthrough(0)))
    equal(found, whole.mask(keep))
    equal(found_passed, passed.query({"uid": found["uid"]}))
    assert len(found) == len(found_passed) == keep.sum()
    joined = Dataset.innerjoin(found, found_passed)
    equal(joined, Dataset.innerjoin(whole, passed).query({"uid": found["uid"]}))


def test_the_group_names_the_files_that_hold_each_slot(source: tuple[Path, Path], tmp_path: Path) -> None:
    """As cryoSPARC loads a group: of each slot's file the fields of that slot, joined by uid."""
    main, passthrough = source
    folder = tmp_path / "subset"
    folder.mkdir()
    write_subset(folder, IngestOptions(particles=main, passthrough=(passthrough,)), np.arange(COUNT) % 2 == 1)
    group = yaml.safe_load(ParticleFiles(folder, "particles").csg.read_text())
    slots = []
    for name, slot in group["results"].items():
        assert slot["type"] == f"particle.{name}"
        slots.append(Dataset.load(str(folder / slot["metafile"].removeprefix(">")), prefixes=[name]))
        assert len(slots[-1]) == slot["num_items"]
    joined = Dataset.innerjoin_many(*slots)
    every = Dataset.innerjoin(Dataset.load(str(main)), Dataset.load(str(passthrough)))
    assert set(joined.fields()) == set(every.fields())
    assert len(joined) == COUNT // 2
