"""What both half-sets' models of a run on disk say of its images."""

from __future__ import annotations

import numpy as np

from covaria.states.evidence import half_sets_say
from covaria.testing import MemoryContext


def test_every_image_in_use_is_known_to_the_other_half_set(finished) -> None:
    said = half_sets_say(finished.tree, MemoryContext())
    used = said.half >= 0
    assert 0 < used.sum() < len(used), "some rows are excluded"
    for values in (said.own, said.other, said.junk):
        assert np.isfinite(values[used]).all()
        assert np.isnan(values[~used]).all()
    assert (said.other[used] > 0).mean() > 0.9
    assert said.share < 0.05
