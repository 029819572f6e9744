"""Movies show every frame, in order, to and fro; a map of 128 voxels takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covaria.plots.movie import write_movie


def frames(count: int) -> list[np.ndarray]:
    """Pictures of one grey level each, half transparent at the left."""
    made = []
    for number in range(count):
        picture = np.full((20, 30, 4), 40 * number, np.uint8)
        picture[..., 3] = 255
        picture[:, :5, 3] = 0
        made.append(picture)
    return made


@pytest.mark.parametrize(("to_and_fro", "order"), [(False, [0, 1, 2, 3]), (True, [0, 1, 2, 3, 2, 1])])
def test_every_frame_in_its_order(tmp_path: Path, to_and_fro: bool, order: list[int]) -> None:
    path = tmp_path / "new" / "movie.gif"
    write_movie(path, frames(4), 0.2, to_and_fro=to_and_fro)
    with Image.open(path) as movie:
        assert movie.n_frames == len(order) and movie.info["loop"] == 0 and movie.info["duration"] == 200
        for index, number in enumerate(order):
            movie.seek(index)
            shown = np.asarray(movie.convert("RGB"))
            assert shown.shape == (20, 30, 3)
            assert np.abs(shown[10, 20].astype(int) - 40 * number).max() <= 4
            assert (shown[10, 2] > 250).all(), "what is transparent is white"


def test_one_frame_and_none(tmp_path: Path) -> None:
    write_movie(tmp_path / "one.gif", frames(1), to_and_fro=True)
    with Image.open(tmp_path / "one.gif") as movie:
        assert movie.n_frames == 1
    with pytest.raises(ValueError, match="needs a frame"):
        write_movie(tmp_path / "none.gif", [])
