"""What a person or a facility asks for. One model for the command line, the messages and job.json.

A new option is one field here: it appears with its help on every command that takes its part, in messages, in the
record of a run and in its identity; a path is guarded (`covaria.request.paths`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema

from covaria.request.options import (
    ENSEMBLE,
    LABEL,
    MAX_PATH,
    MODEL,
    READING,
    RUNNING,
    InputFile,
    InputFolder,
    Option,
    Output,
    Part,
)

MaskWord = Literal["from_halfmaps", "sphere", "none"]
MASK_WORDS: tuple[str, ...] = get_args(MaskWord)

Box = Annotated[int, Field(ge=16, le=4096, multiple_of=2)]
LatentDimension = Annotated[int, Field(ge=1, le=64)]


def _without_repeats(zdim: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(zdim)) != len(zdim):
        raise ValueError("holds a number twice")
    return tuple(sorted(zdim))


def _word_or_path(value: Any) -> str:
    return "word" if isinstance(value, str) and value in MASK_WORDS else "path"


def _mask_text(mask: str | Path) -> str:
    """Of a path that reads like a word, ./word."""
    return f"./{mask}" if isinstance(mask, Path) and str(mask) in MASK_WORDS else str(mask)


Mask = Annotated[
    Annotated[MaskWord, Tag("word")] | Annotated[InputFile, Tag("path")],
    Discriminator(_word_or_path),
    PlainSerializer(_mask_text, when_used="json"),
    WithJsonSchema({"type": "string", "maxLength": MAX_PATH}),
]
"""A way to make a mask, or the file that holds one."""


SYMMETRY = ("symmetry", "helical_rise", "helical_twist", "helical_units")
"""The options that say which symmetry the consensus map has."""
GROWTH = ("growing", "grown_from")
"""The options of a set that grows."""


class IngestOptions(Part):
    """How the particles are read."""

    particles: Annotated[
        InputFile,
        Option("RELION STAR (3.1+), cryoSPARC .cs, or .mrcs with --poses, --ctf.", metavar="PARTICLES", argument=True),
    ]
    poses: Annotated[InputFile | None, Option("Poses .pkl: (rotations, translations).", READING)] = None
    ctf: Annotated[InputFile | None, Option("CTF .pkl: nine columns.", READING)] = None
    ind: Annotated[
        InputFile | None, Option("Use only these rows (.pkl, .npy or .txt of indices, or a mask).", READING)
    ] = None
    halfsets: Annotated[
        InputFile | None,
        Option("Half-sets .pkl: two index arrays. Default: the file's random subsets, else a seeded split.", READING),
    ] = None
    passthrough: Annotated[
        tuple[InputFile, ...], Field(max_length=1000), Option("cryoSPARC passthrough .cs (may be repeated).", READING)
    ] = ()
    datadir: Annotated[InputFolder | None, Option("Folder that holds the image stacks.", READING)] = None
    strip_prefix: Annotated[
        str | None, Field(max_length=MAX_PATH), Option("Removed from the front of image paths.", READING)
    ] = None
    n_images: Annotated[int | None, Field(gt=0, le=10**9), Option("Use only the first N images.", READING)] = None
    downsample: Annotated[
        Box | None, Option("Box to downsample to.", READING, off="--no-downsample", off_help="Keep the box.")
    ] = 256
    box: Annotated[Box | None, Option("Image size, where the file does not say.", READING)] = None
    pixel_size: Annotated[float | None, Field(gt=0, le=100), Option("In A, where the file does not say.", READING)] = (
        None
    )
    voltage: Annotated[float | None, Field(gt=0, le=3000), Option("In kV, where the file does not say.", READING)] = (
        None
    )
    cs: Annotated[float | None, Field(ge=0, le=100), Option("In mm, where the file does not say.", READING)] = None
    amplitude_contrast: Annotated[float | None, Field(ge=0, le=1), Option("Where the file does not say.", READING)] = (
        None
    )
    symmetry: Annotated[str | None, Field(max_length=16), Option("Point group of the consensus map.", READING)] = None
    helical_rise: Annotated[
        float | None,
        Field(ge=-1000, le=1000, exclude_if=lambda value: value is None),
        Option("Of a helical map along its axis z, in A for each asymmetric unit.", READING),
    ] = None
    helical_twist: Annotated[
        float | None,
        Field(ge=-360, le=360, exclude_if=lambda value: value is None),
        Option("Of a helical map, in degrees for each asymmetric unit; right-handed is positive.", READING),
    ] = None
    helical_units: Annotated[
        int | None,
        Field(ge=1, le=200, exclude_if=lambda value: value is None),
        Option("Asymmetric units from one segment of a helix to the next.", READING),
    ] = None
    class_number: Annotated[
        int | None,
        Field(ge=0, le=10**6, exclude_if=lambda value: value is None),
        Option("Only the particles of this 3-D class, with its poses.", READING, flags=("--class", "--class-number")),
    ] = None
    tomograms: Annotated[
        InputFile | None,
        Field(exclude_if=lambda value: value is None),
        Option("RELION 5's tomograms.star, where each particle is a stack of 2-D tilt images.", READING),
    ] = None
    ntilts: Annotated[
        int | None,
        Field(ge=1, le=1000, exclude_if=lambda value: value is None),
        Option("Of a tilt series, use only the N images of each particle that were exposed first.", READING),
    ] = None
    dose_per_tilt: Annotated[
        float | None,
        Field(gt=0, le=100, exclude_if=lambda value: value is None),
        Option("Of a tilt series, e/A^2, where the file does not say.", READING),
    ] = None
    angle_per_tilt: Annotated[
        float | None,
        Field(gt=0, le=45, exclude_if=lambda value: value is None),
        Option("Of a dose-symmetric tilt series, in degrees, where the file does not say.", READING),
    ] = None
    no_ctf: Annotated[
        bool,
        Field(exclude_if=lambda value: not value),
        Option("The images have no contrast transfer function.", READING),
    ] = False
    growing: Annotated[
        bool,
        Field(exclude_if=lambda value: not value),
        Option("Keep what `covaria grow` needs: the images as they are worked on, and the sums.", READING),
    ] = False
    grown_from: Annotated[
        InputFile | None,
        Field(exclude_if=lambda value: value is None),
        Option("What an earlier run of fewer particles kept (OUT/.covaria/growth/memory.npz).", READING),
    ] = None


class ReconstructionOptions(Part):
    """Mean map, mask, noise, components, contrasts, latent coordinates."""

    zdim: Annotated[
        tuple[LatentDimension, ...],
        Field(min_length=1, max_length=32, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_without_repeats),
        Option("Latent dimensions to compute, separated by commas.", MODEL),
    ] = (1, 2, 4, 10, 20)
    mask: Annotated[Mask, Option("The solvent mask.", MODEL, metavar="|".join((*MASK_WORDS, "FILE")))] = "from_halfmaps"
    focus_mask: Annotated[
        InputFile | None,
        Option("Look for motion only here (.mrc).", MODEL,
               off="--no-focus-mask", off_help="Everywhere, after a run that did not."),
    ] = None  # fmt: skip
    focus_parts: Annotated[
        tuple[InputFile, ...],
        Field(max_length=32, exclude_if=lambda value: not value),
        Option("One of several parts to look for motion in (repeatable); each one's share is told.", MODEL,
               flags=("--focus-part",)),
    ] = ()  # fmt: skip
    motion_weights: Annotated[
        InputFile | None, Field(exclude_if=lambda value: value is None),
        Option("How much of the motion counts where: a map of 0 to 1, as of a micelle.", MODEL,
               off="--no-motion-weights", off_help="All of it, after a run that weighed it."),
    ] = None  # fmt: skip
    mask_dilate_iter: Annotated[int, Field(ge=0, le=256), Option("Dilate the mask by this many voxels.", MODEL)] = 0
    uninvert_data: Annotated[
        Literal["automatic", "true", "false"],
        Option("true: particles are bright; false: dark; automatic: found from the mean.", MODEL),
    ] = "automatic"
    correct_contrast: Annotated[bool, Option("Estimate each image's contrast.", MODEL)] = True
    defocus_errors: Annotated[
        bool, Field(exclude_if=lambda value: not value),
        Option("Let each image's defocus be wrong too, by as much as the images say.", MODEL,
               off="--no-defocus-errors", off_help="Defocus as in the file, after a run that let it be wrong."),
    ] = False  # fmt: skip
    refine_poses: Annotated[
        bool,
        Field(exclude_if=lambda value: not value),
        Option(
            "Move each pose as long as the other half-set confirms it; write the particles with new poses.",
            MODEL,
            off="--no-refine-poses",
            off_help="Poses as in the file, after a run that refined them.",
        ),
    ] = False
    only_mean: Annotated[
        bool,
        Option("Stop after the mean map.", MODEL, off="--no-only-mean", off_help="Go on from a run that did."),
    ] = False
    sensitivity: Annotated[
        bool,
        Field(exclude_if=lambda value: value),
        Option("", MODEL, off="--no-sensitivity", off_help="Do not say which motions would have been seen."),
    ] = True

    @property
    def focus_files(self) -> tuple[Path, ...]:
        """The masks in which motion is looked for, in all of them together; none: everywhere."""
        return (*(() if self.focus_mask is None else (self.focus_mask,)), *self.focus_parts)


MOST_DIMENSIONS = 4  # of a density


class DensityOptions(Part):
    """The conformational density."""

    enabled: Annotated[bool, Option("", ENSEMBLE, off="--no-density", off_help="Skip the density.")] = True
    dim: Annotated[
        int | None,
        Field(ge=1, le=MOST_DIMENSIONS),
        Option("Dimensions of the density (default: the confirmed components, up to 4).", ENSEMBLE, name="density_dim"),
    ] = None
    zdim: Annotated[
        LatentDimension | None, Option("zdim whose coordinates are used.", ENSEMBLE, name="density_zdim")
    ] = None


class AnalysisOptions(Part):
    """Clusters, states, trajectories, plots."""

    zdim: Annotated[
        LatentDimension | None,
        Option("zdim to analyse (default: the largest up to 10).", ENSEMBLE, name="analysis_zdim"),
    ] = None
    name: Annotated[
        str | None,
        Field(max_length=64, pattern=f"^{LABEL}$", exclude_if=lambda value: value is None),
        Option("Put it into OUT/analysis_<zdim>_<NAME>, beside others.", ENSEMBLE, name="analysis_name"),
    ] = None
    n_clusters: Annotated[int, Field(ge=1, le=1000), Option("k-means centres, a volume at each.", ENSEMBLE)] = 20
    n_trajectories: Annotated[int, Field(ge=0, le=100), Option("Paths between centres.", ENSEMBLE)] = 1
    n_vols_along_path: Annotated[int, Field(ge=2, le=1000), Option("Volumes along each path.", ENSEMBLE)] = 6
    path_spacing: Annotated[
        Literal["length", "population"],
        Field(exclude_if=lambda value: value == "length"),
        Option("Volumes along a path at equal length, or with equal shares of the particles between them.", ENSEMBLE),
    ] = "length"
    b_factor: Annotated[
        float, Field(ge=-1000, le=1000), Option("Sharpening of states, A^2.", ENSEMBLE, flags=("--Bfactor",))
    ] = 0.0
    skip_umap: Annotated[
        bool, Option("No UMAP.", ENSEMBLE, off="--no-skip-umap", off_help="UMAP, after a run without it.")
    ] = False
    density: Annotated[InputFile | None, Option("Use this density .pkl for paths and plots.", ENSEMBLE)] = None
    """A density to use instead of the job's own."""
    output: Annotated[Output | None, Option("Instead of OUT/analysis_<zdim>.", ENSEMBLE, flags=("-o", "--outdir"))] = (
        None
    )
    """Where the analysis goes instead of OUT/analysis_<zdim>."""


class Request(Part):
    """All that one run needs. Every stage reads its own part."""

    out: Annotated[Output, Option("Output directory.", flags=("-o", "--outdir"), metavar="OUT")]
    ingest: IngestOptions
    reconstruction: ReconstructionOptions = ReconstructionOptions()
    density: DensityOptions = DensityOptions()
    analysis: AnalysisOptions = AnalysisOptions()
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Option("Same seed, same result.", RUNNING)] = 0
    overwrite: Annotated[bool, Option("Replace a finished result.", RUNNING)] = False

    @property
    def analysis_zdim(self) -> int:
        """The zdim that analysis uses: as asked, else the largest computed one up to 10 (else the smallest)."""
        if self.analysis.zdim is not None:
            return self.analysis.zdim
        zdims = sorted(self.reconstruction.zdim)
        return max((z for z in zdims if z <= 10), default=zdims[0])


NOT_OF_A_STREAM = (
    "out", "overwrite", "analysis.density", "analysis.output",
    *(f"ingest.{name}" for name in ("particles", "ind", "halfsets", "box", "pixel_size", "voltage", "cs")),
    "ingest.amplitude_contrast", "ingest.grown_from",
)  # fmt: skip
"""What describes one file or one folder alone; the sets that arrive describe themselves."""
