"""What a person or a facility asks for. One model for the command line, the messages and job.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IngestOptions(_Options):
    """How the particles are read."""

    particles: Path
    poses: Path | None = None
    ctf: Path | None = None
    ind: Path | None = None
    halfsets: Path | None = None
    passthrough: tuple[Path, ...] = ()
    datadir: Path | None = None
    strip_prefix: str | None = None
    n_images: Annotated[int, Field(gt=0)] | None = None
    downsample: Annotated[int, Field(ge=16, multiple_of=2)] | None = 256
    box: Annotated[int, Field(ge=16, multiple_of=2)] | None = None
    pixel_size: Annotated[float, Field(gt=0)] | None = None
    voltage: Annotated[float, Field(gt=0)] | None = None
    cs: Annotated[float, Field(ge=0)] | None = None
    amplitude_contrast: Annotated[float, Field(ge=0, lt=1)] | None = None
    symmetry: str | None = None


class ReconstructionOptions(_Options):
    """Mean map, mask, noise, components, contrasts, latent coordinates."""

    zdim: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1, 2, 4, 10, 20)
    mask: str = "from_halfmaps"
    """from_halfmaps, sphere, none, or the path of an .mrc file."""
    focus_mask: Path | None = None
    mask_dilate_iter: Annotated[int, Field(ge=0)] = 0
    uninvert_data: Literal["automatic", "true", "false"] = "automatic"
    correct_contrast: bool = True
    only_mean: bool = False


class DensityOptions(_Options):
    """The conformational density."""

    enabled: bool = True
    dim: Annotated[int, Field(ge=1, le=4)] | None = None
    zdim: Annotated[int, Field(ge=1)] | None = None


class AnalysisOptions(_Options):
    """Clusters, states, trajectories, plots."""

    zdim: Annotated[int, Field(ge=1)] | None = None
    n_clusters: Annotated[int, Field(ge=1)] = 20
    n_trajectories: Annotated[int, Field(ge=0)] = 1
    n_vols_along_path: Annotated[int, Field(ge=2)] = 6
    b_factor: float = 0.0
    skip_umap: bool = False
    density: Path | None = None
    """A density to use instead of the job's own."""
    output: Path | None = None
    """Where the analysis goes instead of OUT/analysis_<zdim>."""


class Request(_Options):
    """All that one run needs. Every stage reads its own part."""

    out: Path
    ingest: IngestOptions
    reconstruction: ReconstructionOptions = ReconstructionOptions()
    density: DensityOptions = DensityOptions()
    analysis: AnalysisOptions = AnalysisOptions()
    seed: int = 0
    overwrite: bool = False

    @property
    def analysis_zdim(self) -> int:
        """The zdim that analysis uses: as asked, else the largest computed one up to 10 (else the smallest)."""
        if self.analysis.zdim is not None:
            return self.analysis.zdim
        zdims = sorted(self.reconstruction.zdim)
        return max((z for z in zdims if z <= 10), default=zdims[0])
