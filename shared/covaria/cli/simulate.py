"""`covaria simulate`: particles with known truth."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from covaria.cli import simulate_options as option
from covaria.cli.terminal import say

if TYPE_CHECKING:
    from covaria.simulation.dataset import SimulationOptions
    from covaria.simulation.ensemble import Ensemble
    from covaria.simulation.tilting import TiltScheme


def register(app: typer.Typer) -> None:
    """Add simulate to the application."""
    app.command(name="simulate")(simulate)


def simulate(
    *,
    out: option.Out,
    states: option.States = option.Motion.curved,
    n_states: option.StateCount = 40,
    structure: option.Structure = None,
    n_images: option.ImageCount = 4000,
    box: option.Box = None,
    pixel_size: option.PixelSize = None,
    snr: option.Snr = 0.05,
    contrast_sd: option.ContrastSd = 0.15,
    shift_sd: option.ShiftSd = 1.5,
    defocus_min: option.DefocusMin = 0.8,
    defocus_max: option.DefocusMax = 2.2,
    voltage: option.Voltage = 300.0,
    dark: option.Dark = False,
    symmetry: option.Symmetry = None,
    helical_rise: option.HelicalRise = None,
    helical_twist: option.HelicalTwist = None,
    tilts: option.Tilts = None,
    tilt_step: option.TiltStep = 3.0,
    dose_per_tilt: option.DosePerTilt = 3.0,
    tilt_layout: option.Layout = option.TiltLayout.warp,
    pose_error: option.PoseError = None,
    bad_poses: option.BadPoses = 0.0,
    defocus_error: option.DefocusError = 0.0,
    empty: option.Empty = 0.0,
    carbon_edge: option.CarbonEdge = 0.0,
    blobs: option.Blobs = 0.0,
    micrograph_noise: option.MicrographNoise = 0.0,
    views: option.Views = 1.0,
    scale_spread: option.ScaleSpread = 0.0,
    gradient: option.Gradient = 0.0,
    magnification_error: option.MagnificationError = 0.0,
    seed: option.Seed = 0,
    overwrite: option.Overwrite = False,
    config: option.Config = None,
) -> None:
    """Make a particle set with known truth: particles.star, particles.mrcs, poses.pkl, ctf.pkl, and gt/."""
    from covaria.simulation.dataset import SimulationOptions
    from covaria.simulation.nuisances import Nuisances

    rotation_error, shift_error = option.read_pose_error(pose_error)
    nuisances = Nuisances(
        rotation_error_deg=rotation_error, shift_error_pixels=shift_error, bad_pose_share=bad_poses,
        defocus_error_angstrom=defocus_error, empty_share=empty, carbon_edge_share=carbon_edge, blob_share=blobs,
        micrograph_noise_sd=micrograph_noise, kept_view_share=views, scale_sd=scale_spread, gradient_height=gradient,
        magnification_sd=magnification_error,
    )  # fmt: skip
    ensemble = _ensemble(states, n_states, structure)
    box, pixel_size = _grid(ensemble, box, pixel_size)
    options = SimulationOptions(
        n_images=n_images, box=box, pixel_size_angstrom=pixel_size, snr=snr,
        contrast_sd=contrast_sd, shift_sd_pixels=shift_sd,
        defocus_range_angstrom=option.read_defocus(defocus_min, defocus_max), voltage_kv=voltage, dark=dark, seed=seed,
        nuisances=nuisances, symmetry=symmetry, helix=option.read_helix(helical_rise, helical_twist),
        tilts=_scheme(tilts, tilt_step, dose_per_tilt, tilt_layout),
    )  # fmt: skip
    _make(out, ensemble, options, overwrite=overwrite)
    _say_made(out, options, len(ensemble))


def _scheme(count: int | None, step: float, dose: float, layout: option.TiltLayout) -> TiltScheme | None:
    from covaria.simulation.tilting import TiltScheme

    return None if count is None else TiltScheme(count, step, dose, layout.value)


def _grid(ensemble: Ensemble, box: int | None, pixel_size: float | None) -> tuple[int, float]:
    """Box and pixel size as asked for, else those of the first volume, else the built-in particle's."""
    from covaria.simulation.experiment import BOX_LENGTH_ANGSTROM
    from covaria.simulation.files import volume_geometry

    first = ensemble.structures[0]
    own_box, own_pixel_size = volume_geometry(first) if isinstance(first, Path) else (64, None)
    box = box or own_box
    return box, pixel_size or own_pixel_size or BOX_LENGTH_ANGSTROM / box


def _ensemble(states: option.Motion, n_states: int, structure: list[Path] | None) -> Ensemble:
    from covaria.simulation.ensemble import BUILT_IN, from_files

    return from_files(structure) if structure else BUILT_IN[states.value](n_states)


def _say_made(out: Path, options: SimulationOptions, states: int) -> None:
    tilts = options.tilts
    shown = f"{options.n_images} images"
    if tilts is not None:
        shown = f"{options.n_images} particles, {tilts.count} images each,"
    say(f"{shown} of {options.box} pixels, {states} states, SNR {options.snr:g}: {out}/particles.star")
    spoiled = options.nuisances.any or tilts is not None
    say(f"truth    {out}/gt" + (", of each image: images.txt" if spoiled else ""))
    particles, run = shlex.quote(f"{out}/particles.star"), shlex.quote(f"{out}-run")
    more = ""
    if options.symmetry is not None:
        more = f" --symmetry {options.symmetry}"
    if options.helix is not None:
        more = f" --helical-rise {options.helix[0]:g} --helical-twist {options.helix[1]:g} --helical-units 1"
    if tilts is not None and tilts.layout == "relion5":
        more += f" --tomograms {shlex.quote(f'{out}/tomograms.star')}"
    say(f"next     covaria run {particles} -o {run} --no-downsample{more}")


def _make(out: Path, ensemble: Ensemble, options: SimulationOptions, *, overwrite: bool) -> None:
    from covaria.running.run_line import at_work
    from covaria.simulation.dataset import simulate as make

    with at_work("simulate") as line:
        make(
            out, ensemble, options, overwrite=overwrite,
            progress=lambda done, total: line.hear("simulate", "", done, total, "images"),
        )  # fmt: skip
