"""How far a map of two half-maps can be believed: fsc.csv, its figure, and the .star of RELION's postprocess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covaria.maps.postprocess import FscCurves, Guinier
from covaria.plots import plot_fsc
from covaria.tree.atomic import write_text

NAMES = ("shell", "per_angstrom", "angstrom", "fsc_corrected", "fsc_unmasked", "fsc_masked", "fsc_random_phases")


@dataclass(frozen=True)
class SharpenedFrom:
    """The files that the curves belong to, as the .star names them."""

    half1: Path | str
    half2: Path | str
    mask: Path | str


class FscFiles(Protocol):
    """Where the tables go."""

    @property
    def star(self) -> Path: ...

    @property
    def fsc_csv(self) -> Path: ...

    @property
    def fsc_plot(self) -> Path: ...


def write_fsc_tables(files: FscFiles, curves: FscCurves, guinier: Guinier, source: SharpenedFrom) -> None:
    """The curves as .csv, .star and a figure."""
    rows = [
        (shell, 0.0 if shell == 0 else 1 / curves.angstrom(shell), 999.0 if shell == 0 else curves.angstrom(shell),
         curves.corrected[shell], curves.unmasked[shell], curves.masked[shell], curves.random[shell])
        for shell in range(len(curves.corrected))
    ]  # fmt: skip
    lines = [",".join(NAMES), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    write_text(files.fsc_csv, "\n".join(lines) + "\n")
    write_text(files.star, _star(rows, curves, guinier, source))
    box = 2 * len(curves.corrected)
    plot_fsc(files.fsc_plot, curves.unmasked, curves.pixel_size_angstrom, box, curves.corrected, title="Half-maps")


def _star(rows: Sequence[tuple[float, ...]], curves: FscCurves, guinier: Guinier, source: SharpenedFrom) -> str:
    """As RELION's postprocess.star; its B-factors are negative where they sharpen."""
    general = {
        "_rlnFinalResolution": f"{curves.resolution_angstrom:.6f}",
        "_rlnBfactorUsedForSharpening": f"{-guinier.b_factor:.6f}",
        "_rlnUnfilteredMapHalf1": source.half1,
        "_rlnUnfilteredMapHalf2": source.half2,
        "_rlnMaskName": source.mask,
        "_rlnRandomiseFrom": f"{curves.angstrom(curves.random_from):.6f}",
    }
    labels = (
        "_rlnSpectralIndex", "_rlnResolution", "_rlnAngstromResolution", "_rlnFourierShellCorrelationCorrected",
        "_rlnFourierShellCorrelationUnmaskedMaps", "_rlnFourierShellCorrelationMaskedMaps",
        "_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    )  # fmt: skip
    lines = ["", "data_general", "", *(f"{name:<35} {_quoted(str(value))}" for name, value in general.items())]
    lines += ["", "", "data_fsc", "", "loop_", *(f"{name} #{k}" for k, name in enumerate(labels, 1))]
    lines += [" ".join([f"{int(row[0]):12d}", *(f"{value:12.6f}" for value in row[1:])]) for row in rows]
    lines += ["", "", "data_guinier", "", "loop_", "_rlnResolutionSquared #1", "_rlnLogAmplitudesWeighted #2"]
    there = guinier.log_amplitude > -99
    pairs = zip(guinier.squared_frequency[there], guinier.log_amplitude[there], strict=True)
    lines += [f"{squared:12.6f} {amplitude:12.6f}" for squared, amplitude in pairs]
    return "\n".join([*lines, "", ""])


def _quoted(text: str) -> str:
    return f'"{text}"' if any(mark in text for mark in " \t'#") else text
