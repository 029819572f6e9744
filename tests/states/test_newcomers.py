"""Other particles in a run's coordinates: the same numbers, another session's populations, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.estimation.populations.intervals import Populations
from covaria.particles import read_particles
from covaria.request.model import IngestOptions
from covaria.states import comparison
from covaria.states.comparison import Comparison, centers_of
from covaria.states.newcomers import AGREE, embed_newcomers
from covaria.testing import MemoryContext


def turned(star: Path, into: Path, degrees: float) -> Path:
    """The same particles with poses in a frame that is turned about z."""
    lines, column = [], -1
    for line in star.read_text().splitlines():
        label = re.match(r"_rlnAngleRot\s+#(\d+)", line)
        column = int(label.group(1)) - 1 if label else column
        words = line.split()
        if "@" in line and column >= 0:
            words[column] = f"{float(words[column]) + degrees:.6f}"
            line = " ".join(words)
        lines.append(line)
    into.write_text("\n".join(lines) + "\n")
    return into


def test_a_runs_own_particles_come_where_they_were(finished) -> None:
    star = finished.tree.out.parent / "set" / "particles.star"
    found = embed_newcomers(finished.tree, 1, IngestOptions(particles=star), 0, MemoryContext())
    truth = finished.simulated.latents[finished.simulated.labels][:, 0]
    z = found.regularised.coordinates[:, 0]
    assert len(found.regularised.rows) == len(truth) == len(read_particles(IngestOptions(particles=star)))
    assert np.corrcoef(z, truth)[0, 1] > 0.85
    slope = np.polyfit(truth, found.unregularised.coordinates[:, 0], 1)[0]
    assert 0.85 < slope < 1.15, "in the run's units"
    assert abs(found.agreement - 1) < 0.15


def test_grey_level_does_not_matter(finished, tmp_path: Path) -> None:
    """Another session's stack may be normalised otherwise."""
    import mrcfile

    folder = finished.tree.out.parent / "set"
    star = folder / "particles.star"
    (name,) = {line.split("@")[1].split()[0] for line in star.read_text().splitlines() if "@" in line}
    with mrcfile.open(folder / name, permissive=True) as stack:
        mrcfile.write(tmp_path / Path(name).name, 3 * stack.data, voxel_size=float(stack.voxel_size.x))
    (tmp_path / "particles.star").write_text(star.read_text().replace(name, Path(name).name))
    first, second = (
        embed_newcomers(finished.tree, 1, IngestOptions(particles=one), 0, MemoryContext()).regularised.coordinates
        for one in (star, tmp_path / "particles.star")
    )
    np.testing.assert_allclose(second, first, rtol=2e-2, atol=2e-2 * np.nanstd(first))


def test_particles_of_a_larger_box_are_made_smaller(smaller) -> None:
    star = smaller.tree.out.parent / "set" / "particles.star"
    found = embed_newcomers(smaller.tree, 1, IngestOptions(particles=star), 0, MemoryContext())
    truth = smaller.simulated.latents[smaller.simulated.labels][:, 0]
    assert np.corrcoef(found.regularised.coordinates[:, 0], truth)[0, 1] > 0.85


def test_poses_of_another_frame_are_refused(finished, tmp_path: Path) -> None:
    star = turned(finished.tree.out.parent / "set" / "particles.star", tmp_path / "turned.star", 70.0)
    options = IngestOptions(particles=star, datadir=finished.tree.out.parent / "set")
    with pytest.raises(InvalidInput, match="poses in the run's frame"):
        embed_newcomers(finished.tree, 1, options, 0, MemoryContext())
    assert 0 < AGREE < 1


def test_another_pixel_size_and_too_few_are_refused(finished, smaller) -> None:
    other = smaller.tree.out.parent / "set" / "particles.star"
    with pytest.raises(InvalidInput, match=r"the run has 24 of"):
        embed_newcomers(finished.tree, 1, IngestOptions(particles=other), 0, MemoryContext())
    own = IngestOptions(particles=finished.tree.out.parent / "set" / "particles.star", n_images=20)
    with pytest.raises(InvalidInput, match="20 images"):
        embed_newcomers(finished.tree, 1, own, 0, MemoryContext())
    with pytest.raises(MissingFile, match=r"covaria analyze"):
        centers_of(finished.tree, 1)


def populations(shares: list[float], width: float) -> Populations:
    share = np.array(shares)
    return Populations(share, share - width, share + width, np.ones(len(share), bool))


def test_differences_are_told_with_their_errors() -> None:
    same = comparison._differences(populations([0.5, 0.5], 0.02), populations([0.51, 0.49], 0.02))
    other = comparison._differences(populations([0.5, 0.5], 0.02), populations([0.6, 0.4], 0.02))
    assert same.min() > 0.5 and other.max() < 1e-6


def test_a_state_that_the_run_lacks_is_flagged_and_the_same_cloud_is_not() -> None:
    rng = np.random.default_rng(0)
    run = rng.normal(size=(2000, 2))
    flagged = []
    for extra in (0, 60):
        new = np.concatenate([rng.normal(size=(940, 2)), rng.normal(size=(extra, 2)) * 0.3 + 8])
        alone, chance = comparison._alone(run, new, 0)
        nothing = populations([1.0], 0.0)
        found = Comparison(nothing, nothing, np.ones(1), run, new, alone, chance)
        flagged.append(found.has_a_strange_state)
        assert set(range(940, 940 + extra)) <= set(alone.tolist())
    assert flagged == [False, True]
