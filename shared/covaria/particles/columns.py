"""Every column that RELION 3 to 5 and cryoSPARC write for particles, and what it means here.

used       it is read, and changes the result
neutral    it may say that the images differ from the model: nothing at its neutral value; beyond, it is applied, noted
           or refused by row, as docs/inputs.md says
harmless   it says nothing about what an image shows
refused    a table that has it is not one of independent 2-D images
A column in none of these is noted by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["used", "neutral", "harmless", "refused"]


@dataclass(frozen=True)
class Column:
    """What a column is to us, and why."""

    role: Role
    reason: str


_RELION: dict[tuple[Role, str], str] = {
    ("used", "which image"): "ImageName OpticsGroup ImagePixelSize ImageSize DetectorPixelSize Magnification",
    ("used", "pose"): "AngleRot AngleTilt AnglePsi OriginXAngst OriginYAngst OriginX OriginY",
    ("used", "CTF"): """
        DefocusU DefocusV DefocusAngle PhaseShift Voltage SphericalAberration AmplitudeContrast CtfBfactor
        CtfScalefactor""",
    ("used", "half-sets, and what may not be split between them"): """
        RandomSubset MicrographName HelicalTubeID CoordinateX CoordinateY""",
    ("used", "--class"): "ClassNumber",
    ("used", "the grey level is divided by it"): "NormCorrection",
    ("used", "what the images were multiplied by"): "CtfDataAreCtfPremultiplied CtfDataArePhaseFlipped",
    ("used", "phases that are taken from the images, or added to the CTF's"): """
        BeamTiltX BeamTiltY OddZernike EvenZernike""",
    ("neutral", "2 is read"): "ImageDimensionality",
    ("used", "the image is read at M^-1 k"): "MagMat00 MagMat01 MagMat10 MagMat11",
    ("neutral", "astigmatic magnification of RELION 2: refused unless 0"): "MagnificationCorrection",
    ("neutral", "refused unless 0: a sub-tomogram has a depth"): "OriginZAngst OriginZ",
    ("used", "which images are tilts of one particle, and their dose"): "GroupName MicrographPreExposure",
    ("harmless", "name, number or bookkeeping"): """
        OpticsGroupName ImageId ImageOriginalName ReconstructImageName ParticleId ParticleName OriginalParticleName
        GroupNumber MicrographId MicrographNameNoDW MicrographMovieName MicrographMetadata MicrographGainName
        MicrographDefectFile MicrographStartFrame MicrographEndFrame MicrographFrameNumber NrOfFrames
        AverageNrOfFrames MovieFramesRunningAverage BeamTiltClass BeamTiltGroupName AreaId AreaName Comment Enabled
        CtfImage CtfPowerSpectrum MtfFileName MtfValue ResolutionInversePixel ParticleBoxFractionMask
        MicrographNameEven MicrographNameOdd MicrographCoordinates SelectParticlesZscore ParticleSelectZScore
        SortedIndex Selected""",
    ("harmless", "where it was picked"): """
        CoordinateZ AutopickFigureOfMerit ParticleFigureOfMerit ParticleAutopickFOM HelicalTubePitch
        HelicalTrackLength HelicalTrackLengthAngst NrHelicalAsymUnits ManualPickRadius""",
    ("harmless", "the microscope's file of the whole micrograph"): """
        MicrographOriginalPixelSize MicrographPixelSize MicrographBinning MicrographDoseRate MicrographTiltAngle
        MicrographTiltAxisDirection MicrographTiltAxisOutOfPlane AccumMotionTotal AccumMotionEarly AccumMotionLate
        MotionModelVersion TotalDose""",
    ("harmless", "how well the CTF fitted"): """
        CtfFigureOfMerit CtfMaxResolution CtfAstigmatism CtfIceRingDensity CtfValidationScore CtfValue FinalResolution
        ResolutionEstimate""",
    ("harmless", "how sure RELION was"): """
        LogLikeliContribution MaxValueProbDistribution NrOfSignificantSamples PMax EstimatedResolution ClassDistribution
        AccuracyRotations AccuracyTranslations AccuracyTranslationsAngst ClassPosterior""",
    ("harmless", "a prior of the search, not its result"): """
        AngleRotPrior AngleTiltPrior AnglePsiPrior AnglePsiFlipRatio AnglePsiFlip AngleRotFlipRatio OriginXPrior
        OriginYPrior OriginZPrior OriginXPriorAngst OriginYPriorAngst OriginZPriorAngst""",
    ("harmless", "statistics of the pixels"): """
        AverageValue StandardDeviationValue MinimumValue MaximumValue SkewnessValue KurtosisExcessValue ImageWeight
        SamplingRate SamplingRateX SamplingRateY SamplingRateZ ImageSizeX ImageSizeY ImageSizeZ DataType""",
    ("harmless", "the spread of focus of the beam, small and the same for all"): """
        ChromaticAberration EnergyLoss ConvergenceCone LensStability LongitudinalDisplacement TransversalDisplacement
        HighTension""",
    ("harmless", "one body's pose in a multi-body refinement is that of the row"): "BodyStarFile BodyMaskName",
    ("refused", "particles of tomograms: read with --tomograms, refused without"): """
        TomoName TomoTiltSeriesName TomoTiltSeriesStarFile TomoParticleName TomoParticleId TomoVisibleFrames
        TomoSubTomosAre2DStacks TomoSubtomogramBinning TomoSubtomogramRot TomoSubtomogramTilt TomoSubtomogramPsi
        TomoTiltSeriesPixelSize TomoManifoldIndex TomoTomogramsFile TomoParticlesFile TomoFrameCount TomoHand
        TomoNominalStageTiltAngle TomoNominalTiltAxisAngle TomoNominalDefocus TomoXTilt TomoYTilt TomoZRot
        TomoXShiftAngst TomoYShiftAngst CenteredCoordinateXAngst CenteredCoordinateYAngst CenteredCoordinateZAngst""",
}  # fmt: skip

_CRYOSPARC: dict[tuple[Role, str], str] = {
    ("used", "which image"): "uid blob/path blob/idx blob/shape blob/psize_A",
    ("used", "grey levels are multiplied by it where it differs between rows"): "blob/sign",
    ("used", "CTF"): """
        ctf/exp_group_id ctf/accel_kv ctf/cs_mm ctf/amp_contrast ctf/df1_A ctf/df2_A ctf/df_angle_rad
        ctf/phase_shift_rad ctf/scale ctf/bfactor""",
    ("used", "a phase that is taken from the images"): "ctf/tilt_A",
    ("used", "the image is read at M^-1 k"): "ctf/anisomag",
    ("used", "pose (also of alignments_class_K and alignments3D_multi)"): """
        alignments3D/pose alignments3D/shift alignments3D/psize_A alignments3D/class_posterior""",
    ("used", "half-sets, and what may not be split between them"): """
        alignments3D/split location/micrograph_path location/micrograph_uid location/center_x_frac
        location/center_y_frac location/micrograph_shape filament/filament_uid sym_expand/src_uid""",
    ("neutral", "a phase that the model leaves out: noted up to pi/4 at Nyquist, refused beyond"): """
        ctf/trefoil_A ctf/tetra_A ctf/shift_A""",
    ("neutral", "noted unless 0: its meaning is not published"): "ctf/scale_const",
    ("harmless", "name, number or bookkeeping"): """
        blob/import_sig ctf/type ctf/path ctf/ctf_fit_to_A ctf/cross_corr_ctffind4 ctf/fig_of_merit_gctf
        ctf/ctf_fit_to_A""",
}  # fmt: skip
HARMLESS_CRYOSPARC = (
    "alignments", "location/", "pick_stats/", "filament/", "sym_expand/", "mscope_params/", "movie_blob/",
    "micrograph_blob", "background_blob/", "gain_ref_blob/", "rigid_motion/", "spline_motion/", "ctf_stats/",
    "components_mode_", "ml_properties/", "denoise/", "exposure", "micrograph_thumbnail", "motion/", "class2D",
)  # fmt: skip
"""Beginnings of columns that describe picking, classification or the micrograph, or belong to another pose."""


def _table(source: dict[tuple[Role, str], str], prefix: str) -> dict[str, Column]:
    return {prefix + name: Column(role, reason) for (role, reason), names in source.items() for name in names.split()}


RELION = _table(_RELION, "_rln")
CRYOSPARC = _table(_CRYOSPARC, "")


def unknown_relion(labels: Iterable[str]) -> list[str]:
    """The RELION labels that are in no list above; other programs' own columns are theirs."""
    return [label for label in labels if label.startswith("_rln") and label not in RELION]


def unknown_cryosparc(names: Iterable[str]) -> list[str]:
    """The columns of a .cs that may say something about the images and are in no list above."""
    return [name for name in names if name not in CRYOSPARC and not name.startswith(HARMLESS_CRYOSPARC)]


def unknown_note(unknown: list[str], source: str) -> list[str]:
    """A note that names columns nobody here knows, or nothing."""
    if not unknown:
        return []
    shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
    return [f"{source}: columns that are not known here and were not read: {shown}"]
