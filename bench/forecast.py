"""How often forecasts hold: sets fed in parts, each part's forecast against what later parts found.

python bench/forecast.py /tmp/forecast [--sets 8] [--images 1200] [--box 24]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from growth import parts_of_sizes, update

from covaria.estimation.forecast import FACTORS, components_at, resolution_at
from covaria.maps import resolution_at as resolution_of
from covaria.simulation.dataset import BOX_LENGTH_ANGSTROM, SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.testing import TruthSet

KINDS = (("plane", 25), ("ring", 20), ("curved", 20), ("discrete", 3), ("presence", 2))
SNRS = (0.05, 0.1, 0.2, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--box", type=int, default=24)
    given = parser.parse_args()
    voxel = BOX_LENGTH_ANGSTROM / given.box
    held: dict[str, list[bool]] = {"components": [], "resolution": []}
    widths: list[int] = []
    for number in range(given.sets):
        (states, count), snr = KINDS[number % len(KINDS)], SNRS[number % len(SNRS)]
        shutil.rmtree(given.folder, ignore_errors=True)
        options = SimulationOptions(
            n_images=given.images, box=given.box, pixel_size_angstrom=voxel, snr=snr, seed=number,
            atom_sigma_angstrom=max(2.0, 0.6 * voxel),
        )  # fmt: skip
        truth = TruthSet.simulated(given.folder / "set", BUILT_IN[states](count), options)
        sizes = [given.images // factor for factor in (8, 4, 2, 1)]
        found = [update(given.folder / "out", star, None, 4) for star in parts_of_sizes(truth, sizes)]
        for first, one in enumerate(found):
            for step, later in enumerate(found[first + 1 :]):
                low, high = components_at(one.z_score, FACTORS[step])
                held["components"].append(low <= later.confirmed <= high)
                widths.append(high - low)
                ends = resolution_at(one.fsc, voxel, FACTORS[step])
                if ends is not None:
                    there = max(resolution_of(later.fsc, voxel), 2 * voxel)
                    held["resolution"].append(ends[0] * 0.999 <= there <= ends[1] * 1.001)
        words = "; ".join(f"{one.confirmed} {np.round(one.z_score, 1).tolist()} "
                          f"{resolution_of(one.fsc, voxel):.1f} A" for one in found)  # fmt: skip
        print(f"{states}, SNR {snr}: {words}", flush=True)
    for name, values in held.items():
        print(f"{name}: {np.mean(values):.2f} of {len(values)} intervals hold")
    print(f"components: {np.mean(widths):.2f} from end to end")


if __name__ == "__main__":
    main()
