"""How good each place is: from names as EPU writes them, by optics group, and no more places than an event holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from covaria.feedback import MOST_PLACES
from covaria.results.particle_table import ParticleTable
from covaria_reconstruction.places import quality_by_place

NAMES = [
    "Images-Disc1/GridSquare_7/Data/FoilHole_1_Data_0.tiff",
    "Images-Disc1/GridSquare_7/Data/FoilHole_2_Data_0.tiff",
    "Images-Disc1/GridSquare_9/Data/FoilHole_3_Data_0.tiff",
    "elsewhere.mrc",
]


def table(half_set: list[int], **columns: list[float]) -> ParticleTable:
    count = len(half_set)
    known = {name: np.zeros(count) for name in ("p_empty", "p_outlier")} | {"contrast": np.ones(count)}
    numbers = {name: np.array(values) for name, values in columns.items()}
    return ParticleTable({"half_set": np.array(half_set), "weight": np.ones(count), **known, **numbers})


def particles(micrograph: list[int], group: list[int] | None = None) -> Any:
    codes = np.array(micrograph)
    return cast(Any, SimpleNamespace(micrograph=codes, optics_group=np.array(group or [0] * len(codes))))


def test_places_are_found_in_names_and_only_images_in_use_count() -> None:
    found = quality_by_place(
        particles([0, 0, 1, 2, 3, -1, 2], [0, 0, 0, 1, 1, 1, 1]),
        NAMES,
        table([0, 1, 0, 1, 0, 1, -1], p_empty=[0, 0.9, 0, 0, 0, 0, np.nan], weight=[1, 0.1, 1, 1, 1, 1, np.nan],
              contrast=[1, 9, 2, 1, 1, 1, np.nan], latent_1=[1, 99, 3, 5, 0, 0, np.nan]),
    )  # fmt: skip
    by_kind = {one.kind: one for one in found}
    assert list(by_kind) == ["optics_group", "grid_square", "hole", "micrograph"]
    first, second = by_kind["grid_square"].places
    assert (first.name, first.images, first.contrast, first.latents) == ("GridSquare_7", 3, 1.5, (2.0,))
    assert first.empty == 1 / 3
    assert (second.name, second.images, second.latents) == ("GridSquare_9", 1, (5.0,))
    assert [one.name for one in by_kind["hole"].places] == ["FoilHole_1", "FoilHole_2", "FoilHole_3"]
    assert [one.images for one in by_kind["micrograph"].places] == [2, 1, 1, 1]
    assert [(one.name, one.images) for one in by_kind["optics_group"].places] == [("1", 3), ("2", 3)]
    assert by_kind["hole"].whole.images == 6


def test_those_with_most_images_are_named() -> None:
    count = MOST_PLACES + 20
    micrograph = [number for number in range(count) for _ in range(1 + (number == 5))]
    (found,) = quality_by_place(particles(micrograph), [f"m{n}.mrc" for n in range(count)], table([0] * (count + 1)))
    assert found.kind == "micrograph"
    assert len(found.places) == MOST_PLACES
    assert found.left_out == 20
    assert found.places[0].name == "m5.mrc"


def test_a_file_that_tells_no_places_has_none() -> None:
    assert quality_by_place(particles([-1, -1]), [], table([0, 1])) == []
