"""What more images would show, from what a run has."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.estimation.forecast import components_at, forecast, resolution_at, states_at


def test_strong_components_stay_weak_ones_may_come_and_noise_does_not() -> None:
    scores = np.array([20.0, 2.5, -1.5, -3.0])
    assert components_at(scores, 1) == (1, 2)
    assert components_at(scores, 8) == (2, 2)


def curve(images: float, box: int = 64, b_factor: float = 0.02) -> np.ndarray:
    """FSC of signal over noise that falls as a line of its logarithm over squared frequency."""
    signal = images * np.exp(3 - b_factor * np.arange(box // 2) ** 2)
    return signal / (1 + signal)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_resolution_follows_signal_over_noise(factor: int) -> None:
    low, high = resolution_at(curve(1), 1.0, factor)
    later = curve(factor)
    true = 64 / float(np.interp(0.143, later[::-1], np.arange(32.0)[::-1]))
    assert low < true < high
    assert high / low < 2


def test_no_resolution_is_foretold_beyond_the_pixels_or_from_nothing() -> None:
    assert resolution_at(np.full(32, 0.99), 1.0, 4) == (64 / 31, 64 / 31)
    assert resolution_at(np.zeros(32), 1.0, 4) is None


def test_widths_shrink_with_the_root_of_the_images() -> None:
    at_two, _, at_eight = forecast(np.zeros(2), curve(1), 1.0, 0.2)
    assert at_two.population[0] < 0.2 / 2**0.5 < at_two.population[1]
    assert at_two.population[0] / at_eight.population[0] == pytest.approx(2)


def test_states_are_foretold_by_the_middle_one() -> None:
    coarse, middle, fine = curve(0.01), curve(0.1), curve(1)
    alone = states_at([middle], 1.0, 4)
    assert states_at([fine, coarse, middle], 1.0, 4) == alone
    blank = np.zeros(32)
    assert states_at([blank, middle], 1.0, 4) == alone, "one that shows nothing is no state"
    better, worse = resolution_at(middle, 1.0, 4)
    assert alone[0] < better < worse <= alone[1], "less is known of how a state grows than of the mean"
    assert states_at([blank], 1.0, 4) is None
    assert forecast(np.zeros(2), fine, 1.0, None)[0].state_resolution_angstrom is None
