"""What the versions of a growing set found, against the number of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from covaria.plots import style


def plot_history(path: Path, versions: Sequence[Mapping[str, Any]]) -> style.Sheet:
    """Resolution, confirmed components, and populations with 90 % intervals of versions, as `covaria history --json`
    gives them; versions that were fitted afresh are marked."""
    images = np.array([one["used"] for one in versions], float)
    with style.figure(path, 12.6, 4.0) as figure:
        resolution, components, populations = figure.subplots(1, 3)
        angstrom = np.array([np.nan if (r := one["resolution_angstrom"]) is None else r for one in versions])
        count = np.array([one["confirmed"] or 0 for one in versions])
        afresh = np.array([one["refreshed"] is not False for one in versions])
        resolution.plot(images, angstrom, "o-", color=style.BLUE)
        resolution.plot(images[afresh], angstrom[afresh], "s", color=style.VERMILION, label="fitted afresh")
        resolution.invert_yaxis()
        resolution.set_ylabel("resolution of the mean (Å)")
        resolution.legend()
        components.step(images, count, where="post", color=style.BLUE)
        components.plot(images, count, "o", color=style.BLUE)
        components.set_ylabel("confirmed components")
        components.set_ylim(-0.3, max(count.max(initial=0), 1) + 0.5)
        components.yaxis.get_major_locator().set_params(integer=True)
        figure.numbers = {
            "version": [one["version"] for one in versions],
            "images": images,
            "hours": _hours(versions),
            "resolution_angstrom": angstrom,
            "confirmed": count,
        }
        for number, name in enumerate(sorted({state["name"] for one in versions for state in one["populations"]})):
            share, low, high = _of_state(versions, name)
            color = style.CYCLE[number % len(style.CYCLE)]
            errors = np.stack([share - low, high - share])
            populations.errorbar(images, 100 * share, 100 * np.maximum(errors, 0), color=color, capsize=3, label=name)
            figure.numbers |= {f"{name}_share": share, f"{name}_low": low, f"{name}_high": high}
        populations.set_ylabel("population (%)")
        for axes in (resolution, components, populations):
            axes.set_xlabel("particles")
    return figure


def _hours(versions: Sequence[Mapping[str, Any]]) -> list[float]:
    times = [datetime.fromisoformat(one["at"]) for one in versions]
    return [(at - times[0]).total_seconds() / 3600 for at in times]


def _of_state(versions: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """(3, versions) share and its ends; NaN where a version has no such state."""
    rows = []
    for one in versions:
        state = next((state for state in one["populations"] if state["name"] == name), None)
        rows.append([np.nan] * 3 if state is None else [state["share"], state["low"], state["high"]])
    return np.array(rows, float).T
