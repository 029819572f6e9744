"""`covaria simulate`: particles with known truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import nuisances as spoil
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


def register(app: typer.Typer) -> None:
    """Add simulate to the application."""
    app.command(name="simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    states: Annotated[
        Motion,
        typer.Option(
            help="The built-in particle: homogeneous (rigid); discrete (three states); presence (a part is there "
            "or not); curved (one latent: the arm swings); plane (two latents: arm, head); ring (the arm goes round)."
        ),
    ] = Motion.curved,
    n_states: Annotated[int, typer.Option(min=1, help="Steps that a continuous motion is sampled in.")] = 40,
    structure: Annotated[
        list[Path] | None,
        typer.Option(help="A state from a .pdb, .cif or .mrc file instead of the built-in particle (may be repeated)."),
    ] = None,
    n_images: Annotated[int, typer.Option("--n-images", "-n", min=1, help="Particles.")] = 4000,
    box: Annotated[
        int | None, typer.Option("--box", "-D", help="Image size, pixels (default: 64, or an .mrc file's own).")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="A per pixel (default: 256 / box; an .mrc file's own).")
    ] = None,
    snr: Annotated[float, typer.Option(help="Signal over noise variance inside a disk of radius 0.35 box.")] = 0.05,
    contrast_sd: Annotated[float, typer.Option(min=0, help="Spread of the contrast about 1.")] = 0.15,
    shift_sd: Annotated[float, typer.Option(min=0, help="Spread of the origins, pixels.")] = 1.5,
    defocus_min: Annotated[float, typer.Option(help="Smallest defocus, micrometres.")] = 0.8,
    defocus_max: Annotated[float, typer.Option(help="Largest defocus, micrometres.")] = 2.2,
    voltage: Annotated[float, typer.Option(help="kV.")] = 300.0,
    dark: Annotated[bool, typer.Option("--dark", help="Particles darker than the background.")] = False,
    pose_error: spoil.PoseError = None,
    bad_poses: spoil.BadPoses = 0.0,
    defocus_error: spoil.DefocusError = 0.0,
    empty: spoil.Empty = 0.0,
    carbon_edge: spoil.CarbonEdge = 0.0,
    blobs: spoil.Blobs = 0.0,
    micrograph_noise: spoil.MicrographNoise = 0.0,
    views: spoil.Views = 1.0,
    scale_spread: spoil.ScaleSpread = 0.0,
    gradient: spoil.Gradient = 0.0,
    magnification_error: spoil.MagnificationError = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same set.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulated set.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Options from a file.", is_eager=True, callback=load_config),
    ] = None,
) -> None:
    """Make a particle set with known truth: particles.star, particles.mrcs, poses.pkl, ctf.pkl, and gt/."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions
    from covaria.simulation.dataset import simulate as make
    from covaria.simulation.ensemble import BUILT_IN, from_files
    from covaria.simulation.files import volume_geometry
    from covaria.simulation.nuisances import Nuisances

    if defocus_min > defocus_max:
        raise InvalidInput(f"--defocus-min {defocus_min} is above --defocus-max {defocus_max}", hint="swap them")
    rotation_error, shift_error = spoil.read_pose_error(pose_error)
    nuisances = Nuisances(
        rotation_error_deg=rotation_error, shift_error_pixels=shift_error, bad_pose_share=bad_poses,
        defocus_error_angstrom=defocus_error, empty_share=empty, carbon_edge_share=carbon_edge, blob_share=blobs,
        micrograph_noise_sd=micrograph_noise, kept_view_share=views, scale_sd=scale_spread, gradient_height=gradient,
        magnification_sd=magnification_error,
    )  # fmt: skip
    ensemble = from_files(structure) if structure else BUILT_IN[states.value](n_states)
    first = ensemble.structures[0]
    own_box, own_pixel_size = volume_geometry(first) if isinstance(first, Path) else (64, None)
    box = box or own_box
    pixel_size = pixel_size or own_pixel_size or BOX_LENGTH_ANGSTROM / box
    options = SimulationOptions(
        n_images=n_images, box=box, pixel_size_angstrom=pixel_size, snr=snr,
        contrast_sd=contrast_sd, shift_sd_pixels=shift_sd,
        defocus_range_angstrom=(defocus_min * 1e4, defocus_max * 1e4), voltage_kv=voltage, dark=dark, seed=seed,
        nuisances=nuisances,
    )  # fmt: skip
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("simulate", total=n_images)
        make(out, ensemble, options, overwrite=overwrite, progress=lambda done, _: bars.update(task, completed=done))
    typer.echo(f"{n_images} images of {box} pixels, {len(ensemble)} states, SNR {snr:g}: {out}/particles.star")
    typer.echo(f"truth    {out}/gt" + (", of each image: images.txt" if nuisances.any else ""))
    typer.echo(f"next     covaria run {out}/particles.star -o {out}-run --no-downsample")
