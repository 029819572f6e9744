"""How long a run will still take: what was planned for each leg, corrected by the pace that was seen."""

from __future__ import annotations

from collections.abc import Sequence

from covaria.request.duration import Leg

DOUBT_S = 4.0
"""Of planned work: a pace that was seen over much less of it says little."""
FIRST_USE_S = 6.0
"""By so much a leg may exceed its time and say nothing of the pace: what is compiled or loaded for the first time."""
SHOWN = 0.5
"""Of a leg: then what it took tells what it will take."""
NEARLY = 0.95
"""Of a leg that tells no progress, when it takes longer than its time."""


class TimeLeft:
    """Hears the steps of all stages in their order, and the clock. Legs that a run leaves out count no more."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self._legs = list(legs)
        self._at = -1
        self._began = self._done = 0.0
        self._spent = self._expected = 0.0
        """Seconds of the legs that are over, and what was planned for them: those that tell the pace."""

    def plan(self, legs: Sequence[Leg]) -> None:
        """What is known now of what comes; what was heard before stays heard."""
        self._legs, self._at = list(legs), -1

    def hear(self, stage: str, step: str, share: float, now: float) -> None:
        """`step` of `stage` is `share` done ("" when the stage begins)."""
        found = self._find(stage, step)
        if found is not None and found != self._at:
            self._close(now)
            self._at, self._began, self._done = found, now, 0.0
        leg = self._legs[self._at] if self._at >= 0 else None
        if leg is not None and leg.counted and step.startswith(leg.step):
            self._done = share

    def left(self, now: float) -> float | None:
        """Seconds; None before the first leg."""
        if self._at < 0:
            return None
        leg = self._legs[self._at]
        passed, pace = now - self._began, self._pace()
        share = self._done
        if leg.seconds > 0 and not (leg.counted and share > 0):
            share = min(passed / (leg.seconds * pace), NEARLY)
        rest = sum(one.seconds for one in self._legs[self._at + 1 :])
        if leg.counted and share > 0:  # more and more what it has shown of itself: its first parts may be the longest
            shown = min(1.0, share / SHOWN)
            return (1 - share) * (shown * passed / share + (1 - shown) * pace * leg.seconds) + pace * rest
        return pace * ((1 - share) * leg.seconds + rest)

    def _pace(self) -> float:
        """Seconds for a planned second."""
        return (self._spent + DOUBT_S) / (self._expected + DOUBT_S)

    def _close(self, now: float) -> None:
        if self._at >= 0 and self._legs[self._at].tells_pace:
            took, planned = now - self._began, self._legs[self._at].seconds
            self._spent += min(took, max(planned, took - FIRST_USE_S))
            self._expected += planned

    def _find(self, stage: str, step: str) -> int | None:
        """The leg of the step: the one that runs, or the next one with that name in its stage."""
        if self._at >= 0:
            leg = self._legs[self._at]
            if leg.stage == stage and step.startswith(leg.step) and (leg.step or not step):
                return self._at
        for number in range(self._at + 1, len(self._legs)):
            leg = self._legs[number]
            if leg.stage == stage and step.startswith(leg.step) and (leg.step or not step):
                return number
        return None
