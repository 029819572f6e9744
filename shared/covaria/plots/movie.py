"""Pictures one after another as an animated GIF: any browser, mail client and slide shows it, no encoder is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from covaria.plots.surface import Picture

COLOURS = 255


def write_movie(path: Path, frames: Sequence[Picture], seconds: float = 0.12, *, to_and_fro: bool = False) -> None:
    """Frames (n, m, 4) RGBA of one size, on white, each for `seconds`, without end.

    to_and_fro: play backwards at the end instead of jumping to the start.
    """
    if not frames:
        raise ValueError("a movie needs a frame")
    flat = [_on_white(frame) for frame in frames]
    shown = [*flat, *flat[-2:0:-1]] if to_and_fro else flat
    palette = Image.fromarray(np.concatenate(flat[:: max(1, len(flat) // 4)])).quantize(COLOURS)
    pictures = [Image.fromarray(frame).quantize(COLOURS, palette=palette, dither=Image.Dither.NONE) for frame in shown]
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], duration=round(1000 * seconds), loop=0,
        disposal=1, optimize=False,
    )  # fmt: skip


def _on_white(frame: Picture) -> Picture:
    cover = frame[..., 3:] / 255
    flat: Picture = np.rint(frame[..., :3] * cover + 255 * (1 - cover)).astype(np.uint8)
    return flat
