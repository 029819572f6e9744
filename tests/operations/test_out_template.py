"""Results go where the facility's template says."""

from __future__ import annotations

from pathlib import Path

import pytest

from covaria.errors import InvalidInput
from covaria.operations.out_template import fill, is_template
from covaria.request.origin import Origin

ROOTS = (Path("/data/a"), Path("/data/b"))
PARTICLES = Path("/data/b/cm1-2/raw/run_data.star")


def test_it_is_filled() -> None:
    out = fill("{root}/{visit}/processed/covaria/{stem}", PARTICLES, Origin(visit="cm1-2"), ROOTS)
    assert out == Path("/data/b/cm1-2/processed/covaria/run_data")
    assert is_template("{root}/x") and not is_template("/data/{odd}/x")


@pytest.mark.parametrize(
    ("template", "origin", "says"),
    [
        ("{root}/{visit}", Origin(), "needs the visit, which is not given"),
        ("{root}/{visit}", Origin(visit=".."), "no name of a folder"),
        ("{root}/{visit}", Origin(visit="a/b"), "no name of a folder"),
        ("{root}/{vsit}", Origin(visit="a"), "no field {vsit}"),
        ("{visit}/x", Origin(visit="a"), "does not begin at the top"),
    ],
)
def test_what_cannot_be_filled_is_refused(template: str, origin: Origin, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fill(template, PARTICLES, origin, ROOTS)
    assert says in str(refused.value)


def test_a_set_outside_the_roots_has_no_root() -> None:
    with pytest.raises(InvalidInput, match="none of the allowed folders"):
        fill("{root}/x", Path("/tmp/p.star"), Origin(), ROOTS)
