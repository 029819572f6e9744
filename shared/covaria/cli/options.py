"""The options that several commands share, each in one place. Names are those that users of this method know."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from covaria.cli.config import load_config


class UninvertData(StrEnum):
    """Whether particles are bright."""

    automatic = "automatic"
    true = "true"
    false = "false"


READING, MODEL, ENSEMBLE, RUNNING = "Reading the particles", "The model", "States and density", "Running"

Particles = Annotated[
    Path,
    typer.Argument(metavar="PARTICLES", help="RELION STAR (3.1+), cryoSPARC .cs, or .mrcs with --poses, --ctf."),
]
Finished = Annotated[Path, typer.Argument(metavar="OUT", help="The output directory of an earlier run.")]
Out = Annotated[Path, typer.Option("-o", "--outdir", metavar="OUT", help="Output directory.")]

Poses = Annotated[Path | None, typer.Option(help="Poses .pkl: (rotations, translations).", rich_help_panel=READING)]
Ctf = Annotated[Path | None, typer.Option(help="CTF .pkl: nine columns.", rich_help_panel=READING)]
Ind = Annotated[Path | None, typer.Option(help="Use only these rows (.pkl of indices).", rich_help_panel=READING)]
Halfsets = Annotated[
    Path | None,
    typer.Option(help="Half-sets .pkl: two index arrays. Default: the file's random subsets, else a seeded split.",
                 rich_help_panel=READING),
]  # fmt: skip
Passthrough = Annotated[
    list[Path] | None, typer.Option(help="cryoSPARC passthrough .cs (may be repeated).", rich_help_panel=READING)
]
Datadir = Annotated[Path | None, typer.Option(help="Folder that holds the image stacks.", rich_help_panel=READING)]
StripPrefix = Annotated[
    str | None, typer.Option(help="Removed from the front of image paths.", rich_help_panel=READING)
]
NImages = Annotated[int | None, typer.Option(help="Use only the first N images.", rich_help_panel=READING)]
Downsample = Annotated[int, typer.Option(help="Box to downsample to.", rich_help_panel=READING)]
NoDownsample = Annotated[bool, typer.Option("--no-downsample", help="Keep the box.", rich_help_panel=READING)]
Box = Annotated[int | None, typer.Option(help="Image size, where the file does not say.", rich_help_panel=READING)]
PixelSize = Annotated[float | None, typer.Option(help="In A, where the file does not say.", rich_help_panel=READING)]
Voltage = Annotated[float | None, typer.Option(help="In kV, where the file does not say.", rich_help_panel=READING)]
Cs = Annotated[float | None, typer.Option(help="In mm, where the file does not say.", rich_help_panel=READING)]
AmplitudeContrast = Annotated[float | None, typer.Option(help="Where the file does not say.", rich_help_panel=READING)]
Symmetry = Annotated[str | None, typer.Option(help="Point group of the consensus map.", rich_help_panel=READING)]

Zdim = Annotated[str, typer.Option(help="Latent dimensions to compute, separated by commas.", rich_help_panel=MODEL)]
Mask = Annotated[
    str, typer.Option(metavar="from_halfmaps|sphere|none|FILE", help="The solvent mask.", rich_help_panel=MODEL)
]
FocusMask = Annotated[Path | None, typer.Option(help="Look for motion only here (.mrc).", rich_help_panel=MODEL)]
MaskDilateIter = Annotated[int, typer.Option(help="Dilate the mask by this many voxels.", rich_help_panel=MODEL)]
Uninvert = Annotated[
    UninvertData,
    typer.Option("--uninvert-data", help="true: particles are bright; false: dark; automatic: found from the mean.",
                 rich_help_panel=MODEL),
]  # fmt: skip
CorrectContrast = Annotated[bool, typer.Option(help="Estimate each image's contrast.", rich_help_panel=MODEL)]
OnlyMean = Annotated[bool, typer.Option("--only-mean", help="Stop after the mean map.", rich_help_panel=MODEL)]

NoDensity = Annotated[bool, typer.Option("--no-density", help="Skip the density.", rich_help_panel=ENSEMBLE)]
DensityDim = Annotated[
    int | None, typer.Option(help="Dimensions of the density (default: 2, or the zdim).", rich_help_panel=ENSEMBLE)
]
DensityZdim = Annotated[int | None, typer.Option(help="zdim whose coordinates are used.", rich_help_panel=ENSEMBLE)]
AnalysisZdim = Annotated[
    int | None, typer.Option(help="zdim to analyse (default: the largest up to 10).", rich_help_panel=ENSEMBLE)
]
NClusters = Annotated[int, typer.Option(help="k-means centres, a volume at each.", rich_help_panel=ENSEMBLE)]
NTrajectories = Annotated[int, typer.Option(help="Paths between centres.", rich_help_panel=ENSEMBLE)]
NVolsAlongPath = Annotated[int, typer.Option(help="Volumes along each path.", rich_help_panel=ENSEMBLE)]
BFactor = Annotated[float, typer.Option("--Bfactor", help="Sharpening of states, A^2.", rich_help_panel=ENSEMBLE)]
SkipUmap = Annotated[bool, typer.Option("--skip-umap", help="No UMAP.", rich_help_panel=ENSEMBLE)]
DensityFile = Annotated[
    Path | None, typer.Option("--density", help="Use this density .pkl for paths and plots.", rich_help_panel=ENSEMBLE)
]
AnalysisOut = Annotated[
    Path | None, typer.Option("-o", "--outdir", help="Instead of OUT/analysis_<zdim>.", rich_help_panel=ENSEMBLE)
]

Seed = Annotated[int, typer.Option(help="Same seed, same result.", rich_help_panel=RUNNING)]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where to compute.", rich_help_panel=RUNNING)]
MemoryGb = Annotated[
    float | None, typer.Option(help="Memory budget, GB (default: 60 % of what is free).", rich_help_panel=RUNNING)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished result.", rich_help_panel=RUNNING)]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.yaml", help="Options from a file; the command line wins.", is_eager=True,
                 callback=load_config, rich_help_panel=RUNNING),
]  # fmt: skip
