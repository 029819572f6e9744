"""A picture of some images: low-passed, with a scale bar, so that a particle can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.read import read_metadata
from covaria.particles.stacks.locate import locate_stacks
from covaria.request.model import IngestOptions

FILTER_ANGSTROM, FILTER_PIXELS = 20.0, 4.0
"""Details finer than the larger of these are taken out."""
BARS_ANGSTROM = (10, 20, 50, 100, 200, 500, 1000, 2000)
BAR_SHARE = 0.4
"""Of the box, at most."""
COLUMNS = 6


def gallery(options: IngestOptions, path: Path, *, count: int = 24, roots: Roots = ANYWHERE) -> None:
    """Write a picture of `count` images spread evenly over the rows in use. Raises MissingFile without stacks."""
    if path.suffix.lower() != ".png":
        raise InvalidInput("the picture must be a .png", file=path, hint="give a name that ends in .png")
    described = read_metadata(options, roots=roots)
    stacks = described.stacks or locate_stacks(described.metadata, described.used, options, roots)
    rows = np.flatnonzero(described.used)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64))]
    render_gallery(stacks.images(stacks.box).read(chosen), chosen, path, described.metadata.pixel_size_angstrom)


def low_passed(images: NDArray[np.float32], finest_pixels: float) -> NDArray[np.float64]:
    """images (n, box, box) without what is finer than `finest_pixels`: a Gaussian, 1/2 there."""
    along, across = np.fft.fftfreq(images.shape[1]), np.fft.rfftfreq(images.shape[2])
    squared = (along[:, None] ** 2 + across**2) * finest_pixels**2
    kept: NDArray[np.float64] = np.fft.irfft2(np.fft.rfft2(images) * 0.5**squared, s=images.shape[1:])
    return kept


def bar_length(box: int, pixel_size_angstrom: float) -> int:
    """The longest round length, angstrom, that is no longer than its share of the box."""
    return max((bar for bar in BARS_ANGSTROM if bar <= BAR_SHARE * box * pixel_size_angstrom), default=BARS_ANGSTROM[0])


def render_gallery(
    images: NDArray[np.float32], rows: NDArray[np.int64], path: Path, pixel_size_angstrom: float | None = None
) -> None:
    """A picture (.png) of images (n, box, box), each in its own grey range, titled with its row (from 0)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    box, pixel = images.shape[-1], pixel_size_angstrom
    finest = max(FILTER_PIXELS, FILTER_ANGSTROM / pixel) if pixel else FILTER_PIXELS
    columns = min(COLUMNS, len(images))
    lines = -(-len(images) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.75 * lines + 0.3), layout="constrained")
    for place, (image, row) in enumerate(zip(images, rows, strict=True), start=1):
        axes = figure.add_subplot(lines, columns, place)
        sound = bool(np.isfinite(image).all())
        shown = low_passed(image[None], finest)[0] if sound else image
        low, high = np.percentile(shown, (1, 99)) if sound else (0.0, 1.0)
        axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), origin="lower")
        if pixel:
            length = bar_length(box, pixel) / pixel
            axes.plot([0.06 * box, 0.06 * box + length], [0.06 * box] * 2, color="yellow", linewidth=2, scalex=False)
        axes.set_title(str(int(row)), fontsize=7)
        axes.set_axis_off()
    words = f"low-passed to {finest * pixel:.3g} \u00c5; bar {bar_length(box, pixel)} \u00c5" if pixel else "low-passed"
    figure.suptitle(f"Images by row: {words}", fontsize=9)
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
