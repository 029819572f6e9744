"""What a run found, in numbers and in words: computed once, said everywhere with the same words.

Each stage adds its part (`Findings` with the fields that it knows); `together` joins them. The end of `covaria run`,
README.txt, job.json, the report and the events show what this module says, and nothing else of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from covaria.shares import Share

SURE = 0.9
"""Probability from which a motion would have been seen."""
USUAL_MASS, USUAL_POPULATION = 0.15, 0.3
"""Of the motion that is spoken of, where it would have been seen."""
MOST_IN_BRIEF, MOST_OF_A_WARNING = 20, 300
"""States and warnings of an event, characters of each warning."""
MOST_POPULATIONS = 5
"""That are said in words; all are in the table of states."""


class Component(BaseModel):
    """A confirmed principal component."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    z_score: float
    """Held-out log likelihood that it adds, over its standard error: the smaller of the two half-sets'."""
    share: Share
    """Of the variance of all confirmed components."""
    parts: dict[str, Share] = {}
    """Of several focus masks: name -> share of this component's motion that lies in it."""

    def where(self) -> str:
        """The parts in which it moves, most first."""
        parts = sorted(self.parts.items(), key=lambda part: -part[1])
        return ", ".join(f"{100 * share:.0f} % in {name}" for name, share in parts)


class State(BaseModel):
    """A volume at a centre of the latent cloud."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str
    """Of its file, without ending: center003."""
    particles: Annotated[int, Field(ge=0)]
    share: Share
    """Of the particles in use, those whose estimate lies nearest to this centre."""
    population: Share | None = None
    """Share of those that truly do, their coordinates' errors taken out; `low` and `high` hold it in 9 of 10 sets."""
    low: Share | None = None
    high: Share | None = None
    resolution_angstrom: Annotated[float, Field(gt=0)] | None = None
    """Where the half-maps' FSC falls below 0.143."""


class PoseRefined(BaseModel):
    """What `--refine-poses` did. Standard deviations along each axis of what the poses lacked before, and lack now."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    rounds: Annotated[int, Field(ge=0)]
    """That the other half-set confirmed; 0: all poses were left as they were."""
    shift_pixels_before: Annotated[float, Field(ge=0)]
    shift_pixels: Annotated[float, Field(ge=0)]
    rotation_deg_before: Annotated[float, Field(ge=0)]
    rotation_deg: Annotated[float, Field(ge=0)]

    def line(self) -> str:
        """For people."""
        if not self.rounds:
            return "Poses were left as they were: moving them helped neither half-set's map."
        return (
            f"Poses refined in {self.rounds} {'round' if self.rounds == 1 else 'rounds'}: what they lack fell from "
            f"{self.shift_pixels_before:.2g} to {self.shift_pixels:.2g} pixels and from "
            f"{self.rotation_deg_before:.2g} to {self.rotation_deg:.2g} degrees along each axis."
        )


class Growth(BaseModel):
    """How a version of a growing set came about."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: Annotated[int, Field(ge=1)]
    refreshed: bool
    """Everything was fitted afresh; else the model of the version before went on with the new images."""
    why: str = ""
    """It was fitted afresh."""
    moved: Share | None = None
    """Share of the confirmed variance that left the space of the components of the version before."""
    moved_since_refresh: Share | None = None

    def line(self) -> str:
        """For people."""
        if self.refreshed:
            return f"Version {self.version}, fitted afresh{': ' + self.why if self.why else ''}."
        moved, since = 100 * (self.moved or 0), 100 * (self.moved_since_refresh or 0)
        return (
            f"Version {self.version}, updated: the components moved by {moved:.1f} % of their variance, by "
            f"{since:.1f} % since all was fitted afresh."
        )


class Motion(BaseModel):
    """A motion that was not looked for but reckoned with: would it have been confirmed?"""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    mass: Share
    """Share of the particle's mass that moves."""
    way_angstrom: Annotated[float, Field(gt=0)] | None = None
    """How far the centre of that part goes; None: the part is there or not."""
    population: Share
    """Share of the particles in the second of two states."""
    probability: Share
    """That both half-sets confirm it."""


class Basin(BaseModel):
    """A stable state: a basin of the conformational density."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    population: Share
    low: Share | None
    high: Share | None
    """Ends of its 90 % interval."""
    barrier_kt: Annotated[float, Field(ge=0)] | None
    """What it takes to leave it over the lowest pass; None where it is alone, or no pass is known."""

    def words(self) -> str:
        """As 30 % (27-34 %), 1.2 kT to leave."""
        text = f"{100 * self.population:.0f} %"
        text += "" if self.low is None or self.high is None else f" ({100 * self.low:.0f}-{100 * self.high:.0f} %)"
        return text if self.barrier_kt is None else f"{text}, {self.barrier_kt:.1f} kT to leave"


class Findings(BaseModel):
    """What is known so far; None or empty where no stage has said."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    particles: Annotated[int, Field(ge=0)] | None = None
    """Rows of the input file."""
    used: Annotated[int, Field(ge=0)] | None = None
    resolution_angstrom: Annotated[float, Field(gt=0)] | None = None
    """Of the mean map."""
    tested: Annotated[int, Field(ge=0)] | None = None
    """How many components were looked for; None: none were asked for."""
    components: tuple[Component, ...] = ()
    """The confirmed ones, strongest first."""
    sensitivity: tuple[Motion, ...] = ()
    """What these images would have shown; empty where that was not reckoned."""
    states: tuple[State, ...] = ()
    basins: tuple[Basin, ...] = ()
    """Stable states: of the density, the most populated first."""
    poses: PoseRefined | None = None
    growth: Growth | None = None
    """Of a growing set."""
    set_aside: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Reason -> particles left out of the sums, or counted with little weight."""
    warnings: tuple[str, ...] = ()

    @property
    def confirmed(self) -> int | None:
        """How many components both half-sets confirm; None where none were looked for."""
        return None if self.tested is None else len(self.components)

    def grown(self, growth: Growth) -> Findings:
        """The same of a version of a growing set."""
        return Findings.model_validate({**self.model_dump(exclude_unset=True), "growth": growth})

    def brief(self) -> Findings:
        """The same within the size of an event: the most populated states, the first warnings."""
        states = sorted(self.states, key=lambda one: -one.share)[:MOST_IN_BRIEF]
        warnings = tuple(text[:MOST_OF_A_WARNING] for text in self.warnings[:MOST_IN_BRIEF])
        return self.model_copy(update={"states": tuple(states), "warnings": warnings})

    def headline(self) -> str:
        """One sentence: what was found, or that nothing was."""
        if self.confirmed is None:
            return (
                "No motion was looked for: only the mean map was asked for." if self.used else "Nothing is known yet."
            )
        if self.confirmed == 0:
            return (
                "No motion was found: of what one half of the particles shows, the other half confirms nothing. "
                "The particle may be rigid, or its motion too small or too rare for these images."
            )
        one = self.confirmed == 1
        return f"{self.confirmed} {'component' if one else 'components'} of motion confirmed by both half-sets."

    def lines(self) -> list[str]:
        """The headline and what stands beside it, a line each, for people."""
        found = [self.headline()]
        if self.confirmed == 0:
            found.append(
                "To try: more particles; a mask or --focus-mask around the part that moves; a cleaner set. "
                "No clusters, paths or densities of noise were made."
            )
        if self.sensitivity:
            found.append(visible_words(self.sensitivity))
        if self.particles is not None and self.used is not None:
            found.append(f"{self.used:,} of {self.particles:,} particles used.")
        found += [f"{count:,} particles set aside: {reason}." for reason, count in self.set_aside.items() if count]
        if self.resolution_angstrom is not None:
            found.append(f"Mean map: {self.resolution_angstrom:.1f} Å (FSC 0.143, inside the mask).")
        if self.poses is not None:
            found.append(self.poses.line())
        if self.growth is not None:
            found.append(self.growth.line())
        if self.components:
            shares = ", ".join(f"{100 * one.share:.0f} % (z = {one.z_score:.1f})" for one in self.components)
            found.append(f"Share of the confirmed variance by component: {shares}.")
            found += [
                f"Motion of component {number}: {one.where()}."
                for number, one in enumerate(self.components, 1)
                if one.parts
            ]
        if len(self.basins) == 1:
            found.append("One stable state: no second one is told from it by the density of resampled particles.")
        elif self.basins:
            found.append(f"{len(self.basins)} stable states: {'; '.join(one.words() for one in self.basins)}.")
        if self.states:
            found.append(f"{len(self.states)} maps at centres of the latent cloud, {_range(self.states)}.")
        known = sorted(
            (one for one in self.states if one.population is not None), key=lambda one: -(one.population or 0)
        )
        if known:
            some = ", ".join(f"{one.name} {population_words(one)}" for one in known[:MOST_POPULATIONS])
            found.append(f"Populations with 90 % intervals, largest first: {some}.")
        return found + [f"Warning: {text}" for text in self.warnings]


def together(parts: Iterable[Findings]) -> Findings:
    """The stages' parts as one: later parts win where both speak; warnings and what was set aside add up."""
    whole = Findings()
    for part in parts:
        said = {name: getattr(part, name) for name in part.model_fields_set}
        said["warnings"] = whole.warnings + part.warnings
        said["set_aside"] = whole.set_aside | part.set_aside
        whole = whole.model_copy(update=said)
    return whole


def visible_words(motions: Sequence[Motion]) -> str:
    """What would have been seen: the smallest way of a middling part in a third of the particles, the smallest part
    that is there or not; where that is not enough, of a larger part or in half of the particles."""
    seen = [one for one in motions if one.probability >= SURE]
    moving = min((one for one in seen if one.way_angstrom), key=_asks_most, default=None)
    missing = min((one for one in seen if not one.way_angstrom), key=_asks_most, default=None)
    words = (
        [f"{_part(moving)} that moves by {moving.way_angstrom:g} Å in {_percent(moving.population)} of the particles"]
        if moving
        else []
    )
    words += [f"{_part(missing)} that is missing in {_percent(missing.population)} of them"] if missing else []
    if not words:
        return (
            "None of the motions that were tried would have been seen with these images, not even of a third of the "
            "particle in half of the particles: more of them are needed, or less noise."
        )
    return f"Would have been seen, were it there: {'; '.join(words)} (9 of 10 times; more in model/sensitivity.csv)."


def _asks_most(motion: Motion) -> tuple[float, float, float]:
    return abs(motion.population - USUAL_POPULATION), abs(motion.mass - USUAL_MASS), motion.way_angstrom or 0.0


def _part(motion: Motion) -> str:
    return f"a part of {_percent(motion.mass)} of the mass"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def population_words(state: State) -> str:
    """31 % (27 to 35 %); empty where it is not known."""
    if state.population is None or state.low is None or state.high is None:
        return ""
    return f"{100 * state.population:.0f} % ({100 * state.low:.0f} to {100 * state.high:.0f} %)"


def _range(states: tuple[State, ...]) -> str:
    known = [one.resolution_angstrom for one in states if one.resolution_angstrom is not None]
    counts = sorted(one.particles for one in states)
    words = f"of {counts[0]:,} to {counts[-1]:,} particles"
    return f"{words}, {min(known):.1f} to {max(known):.1f} Å" if known else words
