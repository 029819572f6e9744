"""The options of `covaria simulate` that spoil a set as real particles are spoiled. All are off by default."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from covaria.errors import InvalidInput

PANEL = "Nuisances of real particles (none by default; all combine)"


def _option(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=PANEL, show_default=False)


PoseError = Annotated[
    str | None,
    typer.Option(
        metavar="DEGREES,PIXELS", rich_help_panel=PANEL, help="Standard deviations of the files' rotation about each "
        "axis of the image and of the files' shift along x and along y: 2,0.7.",
    ),
]  # fmt: skip
BadPoses = Annotated[float, _option("Share of images whose pose in the files is random.")]
DefocusError = Annotated[float, _option("Standard deviation of the files' defocus, A.")]
Empty = Annotated[float, _option("Share of images without a particle.")]
CarbonEdge = Annotated[float, _option("Share of images that a step of 3 noise sd crosses, anywhere.")]
Blobs = Annotated[float, _option("Share of images with a bright spot of 15 noise sd, anywhere.")]
MicrographNoise = Annotated[float, _option("Spread (of the logarithm) of the noise sd by micrograph.")]
Views = Annotated[float, _option("Share kept of the orientations outside two preferred views.")]
ScaleSpread = Annotated[float, _option("Spread (of the logarithm) of the grey scale by image.")]
Gradient = Annotated[float, _option("Rise of a linear background across the box, in noise sd.")]
MagnificationError = Annotated[float, _option("Spread (of the logarithm) of the magnification by micrograph.")]


def read_pose_error(text: str | None) -> tuple[float, float]:
    """Degrees and pixels of --pose-error. Raises InvalidInput."""
    try:
        degrees, pixels = map(float, (text or "0,0").split(","))
    except ValueError as error:
        raise InvalidInput(
            f"--pose-error {text!r}", hint="give degrees, a comma and pixels, such as 2,0.7 or 0,0.7"
        ) from error
    return degrees, pixels
