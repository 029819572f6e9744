"""What moves: maps along each confirmed component, movies of components and paths, and a script for ChimeraX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.figures.analysis import AnalysisFigures
from covaria.figures.drawing import Drawing
from covaria.figures.volumes import small_volume
from covaria.maps import read_volume, write_volume
from covaria.plots import style
from covaria.plots.movie import write_movie
from covaria.plots.surface import BODY, render, render_all
from covaria.request.disk import MOST_COMPONENTS_SHOWN, STEPS_OF_A_COMPONENT
from covaria.tree import AnalysisTree

STEPS = np.linspace(-2, 2, STEPS_OF_A_COMPONENT)
"""Standard deviations at which a component's maps are made."""
PIXELS = 240
TURNS = np.arange(0, 360, 20)


def write_component_maps(figures: AnalysisFigures, out: AnalysisTree) -> None:
    """components/component000/volume000.mrc ...: the filtered mean moved from -2 to 2 sd, 128 voxels a side at most."""
    mean, pixel = read_volume(figures.tree.mean_filtered)
    for component in shown_components(figures):
        for number, volume in enumerate(_moved(figures, component)):
            path = out.component_volume(component, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, volume, pixel * len(mean) / len(volume))


def shown_components(figures: AnalysisFigures) -> range:
    """The confirmed ones, strongest first, six at most."""
    return range(min(figures.latents.confirmed, MOST_COMPONENTS_SHOWN))


def movies(figures: AnalysisFigures, target: AnalysisTree) -> Iterator[Drawing]:
    """The movies of an analysis, and its script for ChimeraX."""
    if figures.latents.confirmed == 0:
        return
    yield Drawing(target.mean_movie, partial(_mean, figures))
    for component in shown_components(figures):
        yield Drawing(target.component_movie(component), partial(_component, figures, component))
    for number in range(len(figures.paths)):
        yield Drawing(target.trajectory_movie(number), partial(_trajectory, figures, number))
    yield Drawing(target.chimerax_script, partial(_script, figures))


def _moved(figures: AnalysisFigures, component: int) -> Iterator[NDArray[np.floating]]:
    eigenvolume = small_volume(figures.tree.eigenvolume(component))
    for step in STEPS:
        yield figures.mean + np.float32(step * figures.latents.deviations[component]) * eigenvolume


def _mean(figures: AnalysisFigures, path: Path) -> None:
    """The mean turning, in the colours of the confirmed components' deviation."""
    variance = sum(
        (figures.latents.deviations[k] * small_volume(figures.tree.eigenvolume(k))) ** 2
        for k in shown_components(figures)
    )
    deviation = np.sqrt(np.asarray(variance))
    shades = (deviation, style.MOVING, (0.0, float(deviation.max()) or 1.0))
    cameras = [figures.camera.turned(float(degrees)) for degrees in TURNS]
    frames = [partial(render, figures.mean, figures.level, camera, PIXELS, shades=shades) for camera in cameras]
    write_movie(path, render_all(frames))


def _component(figures: AnalysisFigures, component: int, path: Path) -> None:
    frames = [partial(render, volume, figures.level, figures.camera, PIXELS) for volume in _moved(figures, component)]
    write_movie(path, render_all(frames), to_and_fro=True)


def _trajectory(figures: AnalysisFigures, number: int, path: Path) -> None:
    volumes = map(small_volume, path_volumes(figures, number))
    frames = [partial(render, volume, figures.level, figures.camera, PIXELS) for volume in volumes]
    write_movie(path, render_all(frames), 0.2, to_and_fro=True)


def path_volumes(figures: AnalysisFigures, number: int) -> list[Path]:
    """The maps along a path, in its order; at least the first, which must be there."""
    folder, found = figures.source.trajectory(number), [figures.source.trajectory(number).state(0).volume]
    while (following := folder.state(len(found)).volume).is_file():
        found.append(following)
    return found


def _script(figures: AnalysisFigures, path: Path) -> None:
    source = figures.source
    series: list[tuple[str, list[Path]]] = []
    for component in shown_components(figures):
        steps = [source.component_volume(component, number) for number in range(len(STEPS))]
        if all(step.is_file() for step in steps):
            series.append((f"component {component + 1}, -2 to 2 sd", steps))
    series += [(f"path {number}", path_volumes(figures, number)) for number in range(len(figures.paths))]
    series.append(("centres", [source.center(number) for number in range(len(figures.clusters.centers))]))
    named = [(name, [file.relative_to(source.root).as_posix() for file in files]) for name, files in series]
    path.write_text(chimerax_script(named, figures.level))


def chimerax_script(series: Sequence[tuple[str, Sequence[str]]], level: float) -> str:
    """ChimeraX commands that open each series of maps (name, files beneath the script), one level, one camera.

    ChimeraX runs a script in the script's own folder. The first series is shown, its slider plays it.
    """
    lines = ["# Covaria: open this file with ChimeraX. Each model is a series; its slider plays it."]
    for number, (name, files) in enumerate(series, 1):
        lines.append(f"# {number}: {name}")
        lines.append(f"open {' '.join(files)} vseries true")
        lines.append(f"volume #{number} level {level:.6g} style surface step 1 color {BODY}")
        lines.append(f'rename #{number} "{name}"')
    lines += [f"hide #{number} models" for number in range(2, len(series) + 1)]
    lines += ["lighting soft", "set bgColor white", "view #1", "vseries play #1 direction oscillate loop true"]
    return "\n".join(lines) + "\n"
