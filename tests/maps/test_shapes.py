"""Sets of voxels from maps and atoms, their joins and their parts, against what is known of them."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy import ndimage

from covaria.cli import mask as command
from covaria.errors import InvalidInput
from covaria.maps import read_volume, write_volume
from covaria.maps.masks import radius_px
from covaria.maps.segments import segments
from covaria.maps.shapes import above, around, grown, softened
from covaria.maps.volume import read_origin
from covaria.plots import style
from covaria.tree import MaskTree

BOX, PIXEL = 48, 2.0
DEFAULTS = {
    "threshold": None, "blur": None, "micelle": None, "all_bodies": False, "like": None, "radius": 5.0, "chains": None,
    "extend": 0.0, "soft": None, "union": None, "intersect": None, "subtract": None, "complement": False, "parts": None,
    "overwrite": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 30)
    monkeypatch.setattr(style, "SVG_DPI", 30)


def balls(*places: tuple[float, float, float, float]) -> np.ndarray:
    """Gaussian balls at x, y, z (voxels) with a height."""
    z, y, x = np.indices((BOX,) * 3)
    return sum(
        height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / 18) for cx, cy, cz, height in places
    ).astype(np.float32)


def model(path: Path, atoms: list[tuple[str, float, float, float]]) -> Path:
    """A PDB file: chain and position, angstrom."""
    lines = [
        f"ATOM  {k:5d}  CA  ALA {chain}{k:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        for k, (chain, x, y, z) in enumerate(atoms, 1)
    ]
    path.write_text("\n".join(lines) + "\nEND\n")
    return path


def mask(source: Path, directory: Path, **options: object) -> np.ndarray:
    command.mask(source=source, directory=directory, **(DEFAULTS | options))
    return read_volume(MaskTree(directory).mask)[0]


def test_above_a_threshold_the_largest_body() -> None:
    density = balls((16, 24, 24, 1.0), (38, 24, 24, 0.6))
    whole, _ = above(density, 0, 0.3, largest=False)
    assert np.array_equal(whole, density > 0.3)
    largest, _ = above(density, 0, 0.3)
    assert largest[24, 24, 16] and not largest[24, 24, 38]
    found, used = above(density + 0.05 * np.random.default_rng(0).normal(size=density.shape).astype(np.float32), 1.0)
    assert 0.05 < used < 0.6 and found[24, 24, 16]
    with pytest.raises(InvalidInput, match=r"nothing lies above 5: the map goes from .* to 1"):
        above(density, 0, 5.0)


def test_around_atoms_is_exact() -> None:
    rng = np.random.default_rng(1)
    atoms = rng.uniform(10, 38, (20, 3))
    z, y, x = np.indices((BOX,) * 3)
    places = np.stack([x, y, z], -1).reshape(-1, 3)
    nearest = np.sqrt(((places[:, None] - atoms) ** 2).sum(-1).min(1)).reshape((BOX,) * 3)
    for radius in (0.4, 2.5, 4.0):
        assert np.array_equal(around(atoms, radius, BOX), nearest < radius)
    with pytest.raises(InvalidInput, match=r"20 of 20 atoms lie outside [\s\S]*fit the model"):
        around(atoms + 100, 3.0, BOX)


def test_growing_shrinking_and_soft_edges() -> None:
    ball = radius_px(BOX) <= 10
    assert (grown(ball, 3) ^ (radius_px(BOX) <= 13)).mean() < 2e-3
    assert abs(int(grown(ball, -3).sum()) / int((radius_px(BOX) <= 7).sum()) - 1) < 0.05
    edge = softened(ball, 4.0)
    assert edge[ball].min() == 1 and edge[radius_px(BOX) > 14.01].max() == 0
    assert edge[24, 24, 24 + 12] == pytest.approx(0.5, abs=0.01), "half way over the edge"
    assert set(np.unique(softened(ball, 0))) == {0.0, 1.0}


def test_segments_are_the_bodies() -> None:
    density = balls((14, 24, 24, 1.0), (25, 24, 24, 0.8), (36, 24, 24, 1.0))
    density += 0.05 * np.random.default_rng(2).normal(size=density.shape).astype(np.float32)
    inside = balls((14, 24, 24, 1.0), (25, 24, 24, 1.0), (36, 24, 24, 1.0)) > 0.2
    three = segments(density, inside, 3)
    assert sorted({three[24, 24, x] for x in (14, 25, 36)}) == [0, 1, 2]
    assert np.array_equal(three >= 0, inside)
    two = segments(density, inside, 2)
    assert set(np.unique(two[inside])) == {0, 1}
    apart = inside | (balls((24, 24, 42, 1.0)) > 0.5)
    assert (segments(density, apart, 2)[apart] >= 0).all(), "a body without a summit belongs to the nearest part"
    assert set(np.unique(segments(density, inside, 1))) == {-1, 0}


def test_a_mask_of_a_model_lies_where_the_model_does(tmp_path: Path) -> None:
    like = tmp_path / "map.mrc"
    write_volume(like, balls((20, 24, 30, 1.0)), PIXEL)
    with mrcfile.open(like, "r+") as file:
        file.header.origin = (-10.0, 4.0, 6.0)
    assert read_origin(like).tolist() == [-10, 4, 6]
    at = np.array([20, 24, 30]) * PIXEL + [-10, 4, 6]
    source = model(tmp_path / "m.pdb", [("A", *at), ("B", at[0] + 16, at[1], at[2])])
    both = mask(source, tmp_path / "both", like=like, radius=6.0, soft=0.0)
    assert np.argwhere(both > 0.5).mean(0)[::-1] == pytest.approx([24, 24, 30], abs=0.01)
    one = mask(source, tmp_path / "one", like=like, radius=6.0, soft=0.0, chains="A")
    assert np.argwhere(one > 0.5).mean(0)[::-1] == pytest.approx([20, 24, 30], abs=0.01)
    told = json.loads(MaskTree(tmp_path / "one").job_json.read_text())
    assert told["parameters"]["chains"] == ["A"] and len(told["inputs"]) == 2


def test_masks_are_joined_cut_and_drawn(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mrc", tmp_path / "second.mrc"
    write_volume(first, balls((18, 24, 24, 1.0), (30, 24, 24, 1.0)), PIXEL)
    write_volume(second, (radius_px(BOX) <= 8).astype(np.float32), PIXEL)
    base = {"threshold": 0.3, "blur": 0.0, "soft": 0.0, "all_bodies": True}
    alone = mask(first, tmp_path / "a", **base, parts=2) > 0.5
    ball = radius_px(BOX) <= 8
    for name, joined in (("union", alone | ball), ("intersect", alone & ball), ("subtract", alone & ~ball)):
        assert np.array_equal(mask(first, tmp_path / name, **base, **{name: [second]}) > 0.5, joined), name
    rest = mask(first, tmp_path / "rest", **base, complement=True) > 0.5
    assert not (rest & alone).any() and rest[24, 24, 44] and not rest[0, 0, 0]
    parts = [read_volume(MaskTree(tmp_path / "a").segment(number))[0] > 0.5 for number in (0, 1)]
    assert np.array_equal(parts[0] | parts[1], alone) and not (parts[0] & parts[1]).any()
    assert MaskTree(tmp_path / "a").plot.is_file()


def membrane_protein(*, micelle: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rod of blobs through a smooth belt of a third of its density: map, rod, belt."""
    axis = np.arange(64) - 32
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.hypot(x, y)
    rod, belt = (radius < 8) & (abs(z) < 21), (radius >= 8) & (radius < 18) & (abs(z) < 7)
    places = np.argwhere(rod)
    places = places[np.random.default_rng(0).permutation(len(places))[: len(places) // 14]]
    chain = np.zeros((64,) * 3)
    chain[tuple(places.T)] = 1
    chain = ndimage.gaussian_filter(chain, 1.0)
    density = chain / chain[rod].mean() + micelle * 0.35 * ndimage.gaussian_filter(belt.astype(float), 1.5)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=density.shape), 0.8)
    return (density + 0.1 * noise).astype(np.float32), rod, belt


def test_a_micelle_is_the_thick_shell_of_middle_density(tmp_path: Path) -> None:
    density, rod, belt = membrane_protein(micelle=True)
    write_volume(tmp_path / "map.mrc", density, PIXEL)
    found = mask(tmp_path / "map.mrc", tmp_path / "micelle", micelle=6 * PIXEL, blur=1.5 * PIXEL, soft=0.0) > 0.5
    assert (found & belt).sum() / found.sum() > 0.93
    assert (found & belt).sum() / belt.sum() > 0.75
    assert (found & rod).sum() / rod.sum() < 0.05
    assert MaskTree(tmp_path / "micelle").plot.is_file()
    with pytest.raises(InvalidInput, match="leave --threshold out"):
        mask(tmp_path / "map.mrc", tmp_path / "none", micelle=6 * PIXEL, threshold=0.1)
    bare, *_ = membrane_protein(micelle=False)
    write_volume(tmp_path / "bare.mrc", bare, PIXEL)
    with pytest.raises(InvalidInput, match="no shell of middle density"):
        mask(tmp_path / "bare.mrc", tmp_path / "none", micelle=6 * PIXEL, blur=1.5 * PIXEL)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extend": -60.0}, "nothing is left of the mask"),
        ({"union": ["other.mrc"]}, "the mask covers 32 voxels"),
        ({"subtract": ["gone.mrc"]}, "not there"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    source = tmp_path / "map.mrc"
    write_volume(source, balls((24, 24, 24, 1.0)), PIXEL)
    write_volume(tmp_path / "other.mrc", np.ones((32, 32, 32), np.float32), 5.0)
    given = {name: [tmp_path / path for path in value] if isinstance(value, list) else value
             for name, value in options.items()}  # fmt: skip
    with pytest.raises(InvalidInput, match=words):
        mask(source, tmp_path / "out", threshold=0.3, blur=0.0, **given)
    assert not (tmp_path / "out").exists()


def test_a_model_needs_a_map_and_a_chain_that_it_has(tmp_path: Path) -> None:
    source, like = model(tmp_path / "m.pdb", [("A", 40, 40, 40)]), tmp_path / "map.mrc"
    write_volume(like, balls((24, 24, 24, 1.0)), PIXEL)
    with pytest.raises(InvalidInput, match="no box of its own"):
        mask(source, tmp_path / "out")
    with pytest.raises(InvalidInput, match=r"has no chain Q[\s\S]*its chains: A"):
        mask(source, tmp_path / "out", like=like, chains="A,Q")
