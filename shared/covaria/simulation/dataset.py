"""A particle set with known truth, from the physics forwards: slice, CTF, contrast, shift, coloured noise, nuisances.

image(k) = contrast x CTF(k) x F(R^T k) x exp(2 pi i k t / D) + noise(k); t is the translation that centres it.
Grey levels are those of RELION's normalised stacks: noise of variance 1; the truth's volumes are on the same scale.
Nothing here is shared with the estimators that are judged by these sets, neither projector nor CTF nor noise model.
Of a symmetric particle states and latents are those of its units: line g N + i is unit g of image i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from covaria.errors import InvalidInput, RefusedOutput
from covaria.simulation import files, noise
from covaria.simulation.assembly import of_units
from covaria.simulation.atoms import Atoms
from covaria.simulation.backgrounds import background
from covaria.simulation.ensemble import Ensemble
from covaria.simulation.experiment import BOX_LENGTH_ANGSTROM, Experiment, SimulationOptions, draw
from covaria.simulation.image_truth import ImageTruth, write_image_truth
from covaria.simulation.signal import particle_of, signal
from covaria.simulation.spoiling import Spoiled, spoil
from covaria.simulation.tilt_files import SERIES, STACKS, TOMOGRAMS, warp_columns, write_relion5
from covaria.tree import atomic
from covaria.tree.atomic import remove

BATCH = 128
SCALE_SAMPLE = 256
OWN_NAMES = {files.STACK, files.STAR, files.POSES, files.CTF, "gt", TOMOGRAMS, SERIES, STACKS}
__all__ = ["BOX_LENGTH_ANGSTROM", "SimulationOptions", "simulate", "volume_path"]


def simulate(
    out: Path,
    ensemble: Ensemble,
    options: SimulationOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write particles.star, particles.mrcs, poses.pkl, ctf.pkl and gt/ into `out`.

    `progress(done, total)` is called after each batch. Raises RefusedOutput where `out` holds something and `overwrite`
    is not given (or holds what this command does not write), InvalidInput for impossible options.
    """
    _check(ensemble, options)
    _claim(out, overwrite=overwrite)
    # Many products of small matrices: on a busy machine BLAS threads make them many times slower.
    with threadpool_limits(limits=1, user_api="blas"):
        _write_set(out, ensemble, options, progress)


def _write_set(out: Path, ensemble: Ensemble, options: SimulationOptions, progress: Callable[[int, int], None]) -> None:
    pose_seed, noise_seed, nuisance_seed = np.random.SeedSequence(options.seed).spawn(3)
    assembly = options.assembly
    if assembly is not None:
        ensemble = of_units(ensemble, assembly)
    clean = draw(ensemble, options, np.random.default_rng(pose_seed))
    scale = _scale(ensemble, clean, options)
    spoiled = spoil(clean, options.nuisances, options.box, nuisance_seed)
    spectrum = noise.unit_noise_spectrum(options.box)
    stack = files.StackWriter(out / files.STACK, len(clean), options.box, options.pixel_size_angstrom)
    done = 0
    for state, seed in enumerate(noise_seed.spawn(len(ensemble))):
        source, rng = particle_of(ensemble, state, assembly, options), np.random.default_rng(seed)
        files.write_volume(volume_path(out, state), source.volume() * scale, options.pixel_size_angstrom)
        for rows in _batches(np.flatnonzero(clean.state == state)):
            shown = signal(source, rows, spoiled.shown, options) * scale
            stack.write(rows, _pixels(shown, spectrum, spoiled.truth.take(rows), options, rng))
            done += len(rows)
            progress(done, len(clean))
    stack.close()
    _write_tables(out, ensemble, spoiled, options, spectrum)


def volume_path(out: Path, state: int) -> Path:
    """The true density of a state, on the scale of the images."""
    return out / "gt" / f"vol{state:04d}.mrc"


def _check(ensemble: Ensemble, options: SimulationOptions) -> None:
    if options.box < 16 or options.box % 2:
        raise InvalidInput(f"a box of {options.box} pixels", hint="give an even box of at least 16 pixels")
    if options.n_images < len(ensemble):
        raise InvalidInput(
            f"{options.n_images} images for {len(ensemble)} states", hint="give at least as many images as states"
        )
    if options.snr <= 0 or options.pixel_size_angstrom <= 0:
        raise InvalidInput("SNR and pixel size must be above 0", hint="see covaria simulate --help")
    if options.tilts is not None:
        _check_tilts(options)
    length = options.box * options.pixel_size_angstrom
    largest = np.exp(3 * options.nuisances.magnification_sd)
    radius = largest * max((s.radius_angstrom for s in ensemble.structures if isinstance(s, Atoms)), default=0.0)
    if radius > length / 2:
        raise InvalidInput(
            f"the particle reaches {radius:.0f} A from its centre, the box of {length:.0f} A only {length / 2:.0f} A",
            hint=f"give --pixel-size {2.4 * radius / options.box:.2f} or a larger --box"
            + (", or a smaller --magnification-error" if largest > 1 else ""),
        )


def _check_tilts(options: SimulationOptions) -> None:
    """Images of one particle share its pose: what is drawn for each image alone cannot be written for it."""
    nuisances = options.nuisances
    per_image = (nuisances.rotation_error_deg, nuisances.shift_error_pixels, nuisances.bad_pose_share,
                 nuisances.defocus_error_angstrom)  # fmt: skip
    if nuisances.kept_view_share < 1 or (options.tilts and options.tilts.layout == "relion5" and any(per_image)):
        raise InvalidInput(
            "--views, and with RELION 5's layout wrong poses and defocus, are for images that are particles",
            hint="leave them out, or leave --tilts out",
        )
    if options.helix is not None:
        raise InvalidInput("a filament is seen from its side", hint="leave --tilts out")


def _claim(out: Path, *, overwrite: bool) -> None:
    foreign = sorted(p.name for p in out.iterdir() if p.name not in OWN_NAMES) if out.is_dir() else []
    if foreign:
        raise RefusedOutput(f"holds {', '.join(foreign[:5])}", file=out, hint="give a new folder")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise RefusedOutput("holds a simulated set", file=out, hint="give a new folder, or --overwrite")
        for name in OWN_NAMES:
            remove(out / name)
    out.mkdir(parents=True, exist_ok=True)


def _batches(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _pixels(
    shown: NDArray[np.complex64],
    spectrum: NDArray[np.float64],
    truth: ImageTruth,
    options: SimulationOptions,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Images (n, D, D) of these signals: noise and background added, grey scale and sign applied."""
    box = options.box
    level, scale = (values[:, None, None].astype(np.float32) for values in (truth.noise_level, truth.scale))
    spectra = shown + noise.draw_noise(len(truth), spectrum, box, rng) * level
    pixels = np.fft.irfft2(spectra, s=(box, box)) + background(truth, box, options.nuisances.gradient_height)
    pixels *= -scale if options.dark else scale
    return pixels.astype(np.float32)


def _scale(ensemble: Ensemble, experiment: Experiment, options: SimulationOptions) -> np.float32:
    """What the density is multiplied by to have the SNR asked for against noise of variance 1."""
    sample = np.unique(np.linspace(0, len(experiment) - 1, SCALE_SAMPLE).astype(np.int64))
    inside = noise.disk(options.box)
    variances: list[NDArray[np.float64]] = []
    for state in np.unique(experiment.state[sample]):
        source = particle_of(ensemble, state, options.assembly, options)
        spectra = signal(source, sample[experiment.state[sample] == state], experiment, options)
        variances.append(np.fft.irfft2(spectra, s=(options.box,) * 2)[:, inside].var(axis=1))
    return np.float32(np.sqrt(options.snr / np.concatenate(variances).mean()))


def _write_tables(
    out: Path, ensemble: Ensemble, spoiled: Spoiled, options: SimulationOptions, spectrum: NDArray[np.float64]
) -> None:
    shown, stated, box, pixel = spoiled.shown, spoiled.stated, options.box, options.pixel_size_angstrom
    files.write_pickles(out, stated.rotations, stated.translations, stated.ctf, box, pixel)
    if options.tilts is not None and options.tilts.layout == "relion5":
        assert stated.tilted is not None
        write_relion5(out, stated.tilted, stated.ctf, stated.half_set, box, pixel)
    else:
        files.write_star(
            out, stated.angles_deg, stated.translations, stated.ctf, stated.micrograph, stated.half_set, box, pixel,
            _columns(stated),
        )  # fmt: skip
    truth, parameters = out / "gt", asdict(options) | {"n_states": len(ensemble)}
    state = shown.state if shown.units is None or options.helix else shown.units.T.ravel()
    np.savetxt(truth / "labels.txt", state, fmt="%d")
    np.savetxt(truth / "latent.txt", ensemble.latents[state], fmt="%.6f")
    np.savetxt(truth / "contrast.txt", shown.contrast, fmt="%.6f")
    np.savetxt(truth / "noise_variance.txt", spectrum, fmt="%.8g")
    for name in ("symmetry", "helix", "tilts"):
        if parameters[name] is None:
            del parameters[name]
    if options.nuisances.any or options.tilts is not None:
        write_image_truth(truth, spoiled.truth)
    if not options.nuisances.any:
        del parameters["nuisances"]
    atomic.write_json(truth / "parameters.json", parameters)


def _columns(stated: Experiment) -> dict[str, list[str]]:
    """What the STAR says besides of each image: its filament, or its place in a tilt series."""
    if stated.tilted is not None:
        return warp_columns(stated.tilted, stated.ctf)
    return {} if stated.tube is None else {"HelicalTubeID": [str(number) for number in stated.tube]}
