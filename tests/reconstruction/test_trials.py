"""Trials of starts on a few images of a large set."""

from dataclasses import replace

import numpy as np
import pytest

from covaria.estimation.components import expectation_maximisation as em
from covaria.running.passes import Pass
from covaria.testing import MemoryContext


def test_a_few_images_of_each_set_are_drawn_by_lot(moving_mean):
    problem = moving_mean.problem
    few = em.sampled(problem, 100, seed=1)
    assert np.bincount(few.split[few.split >= 0]).tolist() == [100, 100]
    assert (few.split[few.split >= 0] == problem.split[few.split >= 0]).all()
    np.testing.assert_array_equal(em.sampled(problem, 100, seed=1).split, few.split)
    np.testing.assert_array_equal(em.sampled(problem, 10**6, seed=1).split, problem.split)


def test_a_start_that_a_few_images_found_is_refined_by_all(moving_mean, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(em, "TRIAL_IMAGES", 200)
    context = MemoryContext()
    problem = replace(moving_mean.problem, passes=Pass(context))
    found = em.fit_components(problem, 2, limit=10, last_steps=0)
    totals = [total for _, done, total in context.steps if done == total]
    assert totals[:8] == [400] * 8
    assert set(totals[8:]) == {1000}
    everyone = em.fit_components(moving_mean.problem, 2, limit=10, last_steps=0)
    assert found.gain == pytest.approx(everyone.gain, rel=0.05)
