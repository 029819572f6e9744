"""`covaria run`, and each stage alone."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import typer

from covaria.cli import options as o
from covaria.cli.request import build_request, given, stored_request
from covaria.cli.summary import print_summary


def register(app: typer.Typer) -> None:
    """Add run, ingest, reconstruct, density and analyze to the application."""
    for command in (run, ingest, reconstruct, density, analyze):
        app.command(name=command.__name__)(command)


def run(
    context: typer.Context, particles: o.Particles, out: o.Out,
    poses: o.Poses = None, ctf: o.Ctf = None, ind: o.Ind = None, halfsets: o.Halfsets = None,
    passthrough: o.Passthrough = None, datadir: o.Datadir = None, strip_prefix: o.StripPrefix = None,
    n_images: o.NImages = None, downsample: o.Downsample = 256, no_downsample: o.NoDownsample = False,
    box: o.Box = None, pixel_size: o.PixelSize = None, voltage: o.Voltage = None, cs: o.Cs = None,
    amplitude_contrast: o.AmplitudeContrast = None, symmetry: o.Symmetry = None,
    zdim: o.Zdim = "1,2,4,10,20", mask: o.Mask = "from_halfmaps", focus_mask: o.FocusMask = None,
    mask_dilate_iter: o.MaskDilateIter = 0, uninvert_data: o.Uninvert = o.UninvertData.automatic,
    correct_contrast: o.CorrectContrast = True, only_mean: o.OnlyMean = False,
    no_density: o.NoDensity = False, density_dim: o.DensityDim = None, density_zdim: o.DensityZdim = None,
    analysis_zdim: o.AnalysisZdim = None, n_clusters: o.NClusters = 20, n_trajectories: o.NTrajectories = 1,
    n_vols_along_path: o.NVolsAlongPath = 6, b_factor: o.BFactor = 0.0, skip_umap: o.SkipUmap = False,
    seed: o.Seed = 0, device: o.Device = "auto", memory_gb: o.MemoryGb = None, overwrite: o.Overwrite = False,
    config: o.Config = None,
) -> None:  # fmt: skip
    """Particles in, ensemble out: all stages, resuming what an interrupted run left."""
    _execute(out, None, build_request(out, dict(context.params)), context)


def ingest(
    context: typer.Context, particles: o.Particles, out: o.Out,
    poses: o.Poses = None, ctf: o.Ctf = None, ind: o.Ind = None, halfsets: o.Halfsets = None,
    passthrough: o.Passthrough = None, datadir: o.Datadir = None, strip_prefix: o.StripPrefix = None,
    n_images: o.NImages = None, downsample: o.Downsample = 256, no_downsample: o.NoDownsample = False,
    box: o.Box = None, pixel_size: o.PixelSize = None, voltage: o.Voltage = None, cs: o.Cs = None,
    amplitude_contrast: o.AmplitudeContrast = None, symmetry: o.Symmetry = None,
    seed: o.Seed = 0, memory_gb: o.MemoryGb = None, overwrite: o.Overwrite = False, config: o.Config = None,
) -> None:  # fmt: skip
    """Read, check and downsample the particles: the first stage alone."""
    _execute(out, "ingest", build_request(out, dict(context.params)), context)


def reconstruct(
    context: typer.Context, out: o.Finished,
    zdim: o.Zdim = "1,2,4,10,20", mask: o.Mask = "from_halfmaps", focus_mask: o.FocusMask = None,
    mask_dilate_iter: o.MaskDilateIter = 0, uninvert_data: o.Uninvert = o.UninvertData.automatic,
    correct_contrast: o.CorrectContrast = True, only_mean: o.OnlyMean = False,
    seed: o.Seed = 0, device: o.Device = "auto", memory_gb: o.MemoryGb = None, overwrite: o.Overwrite = False,
    config: o.Config = None,
) -> None:  # fmt: skip
    """Mean map, mask, noise, principal components, contrasts and latent coordinates of an ingested OUT.

    Options that are not given are those of OUT's last run.
    """
    _execute(out, "reconstruction", _again(context, out), context)


def density(
    context: typer.Context, out: o.Finished,
    density_dim: o.DensityDim = None, density_zdim: o.DensityZdim = None,
    seed: o.Seed = 0, memory_gb: o.MemoryGb = None, overwrite: o.Overwrite = False, config: o.Config = None,
) -> None:  # fmt: skip
    """The conformational density of a reconstructed OUT."""
    # Asked for by name, even where the earlier run had --no-density.
    values = given(context, context.params) | {"enabled": True}
    _execute(out, "density", build_request(out, values, stored_request(out)), context)


def analyze(
    context: typer.Context, out: o.Finished,
    zdim: o.AnalysisZdim = None, density: o.DensityFile = None, output: o.AnalysisOut = None,
    n_clusters: o.NClusters = 20, n_trajectories: o.NTrajectories = 1, n_vols_along_path: o.NVolsAlongPath = 6,
    b_factor: o.BFactor = 0.0, skip_umap: o.SkipUmap = False,
    seed: o.Seed = 0, device: o.Device = "auto", memory_gb: o.MemoryGb = None, overwrite: o.Overwrite = False,
    config: o.Config = None,
) -> None:  # fmt: skip
    """Clusters, volumes of states, paths and plots of a reconstructed OUT, in OUT/analysis_<zdim>."""
    values = given(context, context.params)
    if "zdim" in values:
        values["analysis_zdim"] = values.pop("zdim")
    stored = stored_request(out)
    stored["analysis"] = dict(stored.get("analysis", {})) | {"output": None}
    _execute(out, "analysis", build_request(out, values, stored), context)


def _again(context: typer.Context, out: Path) -> Any:
    return build_request(out, given(context, context.params), stored_request(out))


def _execute(out: Path, stage: str | None, request: Any, context: typer.Context) -> None:
    from covaria.job.ownership import stage_folder
    from covaria.operations.one_machine import run_stages

    memory_gb = context.params.get("memory_gb")
    run_stages(
        request,
        None if stage is None else (stage,),
        command=str(context.info_name),
        command_line=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        device=context.params.get("device") or "auto",
        memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
    )
    print_summary(out, None if stage is None else stage_folder(stage, request))
