"""How long a run takes: legs of known steps, a straight line through what was measured (docs/performance.md).

For each leg, on two CPU cores at 64 pixels: seconds that are always there, seconds that grow with the box's cube, and
seconds for an image, which grow with its square. Components and volumes multiply what depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from covaria.request.disk import volumes
from covaria.request.model import Request
from covaria.request.stages import StageName, planned_stages

MEASURED_BOX, MEASURED_CORES, MEASURED_COMPONENTS, MEASURED_VOLUMES = 64, 2, 10, 26
CORES_THAT_HELP = 16


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
    """components, volumes: what multiplies `once` and `image`."""
    coarse: bool = False
    """At a fixed number of shells: it does not grow with the box."""
    counted: bool = False


MEASURED = (
    _Measured("ingest", "", always=0.5, image=0.0001),
    _Measured("reconstruction", "", always=2.0),
    _Measured("reconstruction", "reading images", always=0.5, image=0.0001),
    _Measured("reconstruction", "mean", always=2.0, once=0.5, image=0.0006),
    _Measured("reconstruction", "components", always=2.5, once=1.0, image=0.0004, by="components", coarse=True),
    _Measured("reconstruction", "confirmation", image=0.0001, coarse=True),
    _Measured("reconstruction", "components", always=2.5, once=1.0, image=0.0004, by="components", coarse=True),
    _Measured("reconstruction", "confirmation", image=0.0001, coarse=True),
    _Measured("reconstruction", "components", always=1.0, once=0.8, image=0.0002, by="components", coarse=True),
    _Measured("reconstruction", "residuals", image=0.0002),
    _Measured("reconstruction", "components", always=3.0, once=1.5, image=0.0025),
    _Measured("reconstruction", "sensitivity", always=1.0, image=0.0025),
    _Measured("reconstruction", "embedding", always=0.5, image=0.0005, by="components"),
    _Measured("reconstruction", "results", always=6.5, once=2.5),
    _Measured("density", "", always=0.8),
    _Measured("density", "deconvolve", always=14.0, counted=True),
    _Measured("density", "figures", always=4.3),
    _Measured("analysis", "", always=9.0),
    _Measured("analysis", "states", always=13.0, once=9.0, image=0.0025, by="volumes"),
    _Measured("analysis", "figures", always=7.0, once=2.0, counted=True),
)
"""In the order in which a run meets them."""


def legs_of(request: Request, *, used: int, box: int, cores: int) -> list[Leg]:
    """What a whole run goes through; `box` is that of the images in use."""
    return list(_legs(request, used, box, cores))


def stage_seconds(request: Request, *, used: int, box: int, cores: int) -> dict[str, float]:
    """The sum of each stage's legs."""
    found: dict[str, float] = dict.fromkeys(planned_stages(request), 0.0)
    for leg in _legs(request, used, box, cores):
        found[leg.stage] += leg.seconds
    return found


def _legs(request: Request, used: int, box: int, cores: int) -> Iterator[Leg]:
    size = box / MEASURED_BOX
    factors = {
        "": 1.0,
        "components": max(4, *request.reconstruction.zdim) / MEASURED_COMPONENTS,
        "volumes": volumes(request) / MEASURED_VOLUMES,
    }
    planned, only_mean = planned_stages(request), request.reconstruction.only_mean
    for leg in MEASURED:
        if leg.stage not in planned:
            continue
        if only_mean and leg.step in ("components", "confirmation", "residuals", "embedding"):
            continue
        grown = 1.0 if leg.coarse else size
        growing = (leg.once * grown**3 + leg.image * used * grown**2) * factors[leg.by]
        seconds = leg.always + growing * MEASURED_CORES / min(cores, CORES_THAT_HELP)
        yield Leg(leg.stage, leg.step, seconds, leg.counted, tells_pace=bool(leg.step))
