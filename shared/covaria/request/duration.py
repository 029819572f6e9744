"""How long a run takes: legs of known steps, a straight line through what was measured (docs/performance.md).

For each leg, on two CPU cores at 64 pixels: seconds that are always there, seconds that grow with the box's cube, and
seconds for an image, which grow with its square. Components and volumes multiply what depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from covaria.request.disk import volumes
from covaria.request.model import MOST_DIMENSIONS, Request
from covaria.request.stages import StageName, planned_stages

MEASURED_BOX, MEASURED_CORES, MEASURED_COMPONENTS, MEASURED_VOLUMES = 64, 2, 10, 26
CORES_THAT_HELP = 16
DECONVOLVE_S = (0.0, 1.9, 15.0, 85.0, 380.0)
"""Of a density of none to four dimensions, its smoothness found by trial."""
USUAL_DIMENSIONS = 2
"""Of a density, before it is known how many components are confirmed."""


@dataclass(frozen=True)
class Leg:
    """A part of a stage that begins when `progress` first tells of a step whose name begins so ("": with the stage).

    counted     what the step tells of itself says how far it is
    tells_pace  it shows how fast this machine is: not the loading of libraries
    """

    stage: str
    step: str
    seconds: float
    counted: bool = False
    tells_pace: bool = True


@dataclass(frozen=True)
class _Measured:
    stage: StageName
    step: str
    always: float = 0.0
    once: float = 0.0
    image: float = 0.0
    by: str = ""
    """components, volumes: what multiplies `once` and `image`; dimensions: of the density, what multiplies `always`."""
    coarse: bool = False
    """At a fixed number of shells: it does not grow with the box."""
    counted: bool = False


MEAN = (
    _Measured("reconstruction", "mean", once=0.3, image=0.0001),
    _Measured("reconstruction", "contrast", image=0.0001),
    _Measured("reconstruction", "noise", image=0.0001),
    _Measured("reconstruction", "mean", once=0.3, image=0.0001),
    _Measured("reconstruction", "contrast", image=0.0001),
    _Measured("reconstruction", "noise", image=0.0001),
    _Measured("reconstruction", "mean", once=0.6, image=0.0002),
)
HALF_FIT = (
    _Measured("reconstruction", "components", always=1.6, once=0.3, image=0.0008, by="components", coarse=True),
    _Measured("reconstruction", "confirmation", image=0.0001, by="components", coarse=True),
)
MEASURED = (
    _Measured("ingest", "", always=0.5, image=0.0001),
    _Measured("reconstruction", "", always=2.8),
    _Measured("reconstruction", "reading images", image=0.0001),
    *MEAN,
    *HALF_FIT,
    *HALF_FIT,
    _Measured("reconstruction", "components", always=0.2, once=0.2, image=0.0003, by="components", coarse=True),
    _Measured("reconstruction", "residuals", image=0.0001),
    _Measured("reconstruction", "components", always=0.5, once=1.5, image=0.0024),
    _Measured("reconstruction", "sensitivity", always=0.5, image=0.0001),
    _Measured("reconstruction", "embedding", image=0.0002, by="components"),
    _Measured("reconstruction", "results", always=7.0, once=0.5, image=0.0002),
    _Measured("density", "", always=0.6),
    _Measured("density", "deconvolve", always=1.0, by="dimensions", counted=True),
    _Measured("density", "figures", always=3.0),
    _Measured("analysis", "", always=9.0, image=0.0004),
    _Measured("analysis", "states", always=2.0, once=17.0, image=0.0005, by="volumes"),
    _Measured("analysis", "figures", always=9.0, counted=True),
)
"""In the order in which a run meets them."""
REFINED = (*HALF_FIT, *HALF_FIT, _Measured("reconstruction", "poses", always=1.0, once=1.0, image=0.002), *MEAN)
"""What follows the mean where poses are refined: each half-set's own components, the poses, and the mean anew."""


def legs_of(request: Request, *, used: int, box: int, cores: int, confirmed: int | None = None) -> list[Leg]:
    """What a whole run goes through; `box` is that of the images in use; `confirmed` components, once that is known."""
    return list(_legs(request, used, box, cores, confirmed))


def stage_seconds(request: Request, *, used: int, box: int, cores: int) -> dict[str, float]:
    """The sum of each stage's legs."""
    found: dict[str, float] = dict.fromkeys(planned_stages(request), 0.0)
    for leg in _legs(request, used, box, cores, None):
        found[leg.stage] += leg.seconds
    return found


def _legs(request: Request, used: int, box: int, cores: int, confirmed: int | None) -> Iterator[Leg]:
    size = box / MEASURED_BOX
    dimensions = min(request.density.dim or MOST_DIMENSIONS, USUAL_DIMENSIONS if confirmed is None else confirmed)
    factors = {
        "": 1.0,
        "components": max(4, *request.reconstruction.zdim) / MEASURED_COMPONENTS,
        "volumes": volumes(request) / MEASURED_VOLUMES,
        "dimensions": 1.0,
    }
    planned, only_mean = planned_stages(request), request.reconstruction.only_mean
    for leg in _measured(request):
        if leg.stage not in planned:
            continue
        if only_mean and leg.step in ("components", "confirmation", "residuals", "embedding"):
            continue
        if confirmed == 0 and leg.step in ("deconvolve", "states"):
            continue
        grown = 1.0 if leg.coarse else size
        growing = (leg.once * grown**3 + leg.image * used * grown**2) * factors[leg.by]
        always = leg.always * (DECONVOLVE_S[dimensions] if leg.by == "dimensions" else 1.0)
        seconds = always + growing * MEASURED_CORES / min(cores, CORES_THAT_HELP)
        yield Leg(leg.stage, leg.step, seconds, leg.counted, tells_pace=bool(leg.step))


def _measured(request: Request) -> tuple[_Measured, ...]:
    if not request.reconstruction.refine_poses:
        return MEASURED
    settled = MEASURED.index(MEAN[-1]) + 1
    return (*MEASURED[:settled], *REFINED, *MEASURED[settled:])
