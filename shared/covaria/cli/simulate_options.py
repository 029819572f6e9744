"""The options of `covaria simulate`: what the particle does, the experiment, and what spoils it (off by default)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from covaria.cli.config import load_config
from covaria.errors import InvalidInput


class Motion(StrEnum):
    """What the built-in particle does."""

    homogeneous = "homogeneous"
    discrete = "discrete"
    presence = "presence"
    curved = "curved"
    plane = "plane"
    ring = "ring"


Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")]
States = Annotated[
    Motion,
    typer.Option(
        help="The built-in particle: homogeneous (rigid); discrete (three states); presence (a part is there "
        "or not); curved (one latent: the arm swings); plane (two latents: arm, head); ring (the arm goes round)."
    ),
]
StateCount = Annotated[int, typer.Option(min=1, help="Steps that a continuous motion is sampled in.")]
Structure = Annotated[
    list[Path] | None,
    typer.Option(help="A state from a .pdb, .cif or .mrc file instead of the built-in particle (may be repeated)."),
]
ImageCount = Annotated[int, typer.Option("--n-images", "-n", min=1, help="Particles.")]
Box = Annotated[
    int | None, typer.Option("--box", "-D", help="Image size, pixels (default: 64, or an .mrc file's own).")
]
PixelSize = Annotated[float | None, typer.Option(help="A per pixel (default: 256 / box; an .mrc file's own).")]
Snr = Annotated[float, typer.Option(help="Signal over noise variance inside a disk of radius 0.35 box.")]
ContrastSd = Annotated[float, typer.Option(min=0, help="Spread of the contrast about 1.")]
ShiftSd = Annotated[float, typer.Option(min=0, help="Spread of the origins, pixels.")]
DefocusMin = Annotated[float, typer.Option(help="Smallest defocus, micrometres.")]
DefocusMax = Annotated[float, typer.Option(help="Largest defocus, micrometres.")]
Voltage = Annotated[float, typer.Option(help="kV.")]
Dark = Annotated[bool, typer.Option("--dark", help="Particles darker than the background.")]
Symmetry = Annotated[
    str | None, typer.Option(help="Cn, Dn, T, O, I1 .. I4: units of the built-in particle, each in a state of its own.")
]
HelicalRise = Annotated[float | None, typer.Option(help="A filament of such units: A for each along its axis.")]
HelicalTwist = Annotated[float | None, typer.Option(help="Degrees for each unit; right-handed is positive.")]
Tilts = Annotated[
    int | None, typer.Option(min=2, max=121, help="Tilt series: images of each particle, 0, +step, -step, +2 step ..")
]
TiltStep = Annotated[float, typer.Option(help="Degrees from one tilt to the next.")]
DosePerTilt = Annotated[float, typer.Option(help="e/A^2 of each tilt.")]


class TiltLayout(StrEnum):
    """Who wrote the tilt series."""

    warp = "warp"
    relion5 = "relion5"


Layout = Annotated[
    TiltLayout, typer.Option("--tilt-layout", help="A row for each image (Warp, M), or RELION 5's files.")
]
Seed = Annotated[int, typer.Option(help="Same seed, same set.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulated set.")]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.yaml", help="Options from a file.", is_eager=True, callback=load_config),
]

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


def read_helix(rise: float | None, twist: float | None) -> tuple[float, float] | None:
    """Rise and twist where both are given. Raises InvalidInput for one alone."""
    if rise is not None and twist is not None:
        return rise, twist
    if rise is not None or twist is not None:
        raise InvalidInput("a helix has a rise and a twist", hint="give --helical-rise and --helical-twist")
    return None


def read_defocus(smallest: float, largest: float) -> tuple[float, float]:
    """Micrometres as angstrom. Raises InvalidInput where they are the wrong way round."""
    if smallest > largest:
        raise InvalidInput(f"--defocus-min {smallest} is above --defocus-max {largest}", hint="swap them")
    return smallest * 1e4, largest * 1e4
