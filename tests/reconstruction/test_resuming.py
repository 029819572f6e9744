"""A reconstruction that is stopped in the middle of a pass, again and again, ends as one that nothing stopped."""

import contextlib
from dataclasses import fields, replace

import numpy as np
import pytest

from covaria.errors import Interrupted
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.imaging.images import read_images
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.running.steps import once
from covaria.testing import MemoryCheckpoints, MemoryContext
from covaria_reconstruction.fitting import find_components, problem_of
from covaria_reconstruction.results import Components

COUNT, USED, EVERY = 2, 120, 60
SMALL = 1 << 20
"""Bytes: batches are small, so that a pass is told in the middle."""


@pytest.fixture(scope="module")
def images(moving):
    return read_images(replace(moving.particles, used=np.arange(len(moving.particles)) < USED))


def reconstruct(images, context: MemoryContext) -> tuple[MeanModel, Components]:
    passes, options = Pass(context), ReconstructionOptions()
    mean = once(context, "mean", MeanModel, lambda: estimate_mean_model(images, options, passes))
    problem = problem_of(images.signed(float(mean.data_sign)), mean, passes)
    return mean, once(context, "components", Components, lambda: find_components(problem, COUNT, 0))


class StopEvery:
    """Stops the stage whenever it has been told EVERY times, of all runs together."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self, step: str, done: int, total: int) -> None:
        self.told += 1
        if self.told % EVERY == 0:
            raise Interrupted("stopped")


def test_stopped_again_and_again_it_ends_bit_equal_and_does_no_batch_twice(images):
    whole = MemoryContext(memory_bytes=SMALL)
    expected = reconstruct(images, whole)
    checkpoints, stop = MemoryCheckpoints(), StopEvery()
    batches, runs, last, found = 0, 0, None, None
    while found is None:
        runs += 1
        context = MemoryContext(memory_bytes=SMALL, checkpoints=checkpoints, listen=stop)
        with contextlib.suppress(Interrupted):
            found = reconstruct(images, context)
        goes_on = context.steps[0] == last  # where a pass goes on is told once more
        batches, last = batches + len(context.steps) - goes_on, context.steps[-1]
    for value, other in zip(found, expected, strict=True):
        for field in fields(value):
            np.testing.assert_array_equal(getattr(value, field.name), getattr(other, field.name), err_msg=field.name)
    assert runs > 5
    assert batches == len(whole.steps)
    assert set(checkpoints.kept) == {"mean", "components", "pass-0", "pass-0-mark"}, "what is kept whole has no parts"
