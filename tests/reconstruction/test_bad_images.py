"""Stacks that hold nothing to find end in words, not in states."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.estimation.components.confirmation import significant_components
from covaria_reconstruction.findings import findings_of, unseen_share
from covaria_reconstruction.stage import refuse_no_images


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pixels: pixels * 0 + 3, "images are constant"),
        (lambda pixels: np.repeat(pixels[:1], len(pixels), 0), "copies of others"),
        (lambda pixels: np.concatenate([pixels[: len(pixels) // 2 - 1]] * 2 + [pixels[:2]]) * 0 + pixels[:1], "copies"),
    ],
)
def test_images_that_say_nothing_are_refused(rigid, change, words):
    pixels = change(rigid.particles.images.read(np.arange(len(rigid.particles))))
    with pytest.raises(InvalidInput, match=words):
        refuse_no_images(rigid.with_pixels(pixels).images(), Path("particles.star"))


def test_what_is_not_a_number_is_refused_by_row(rigid):
    pixels = rigid.particles.images.read(np.arange(len(rigid.particles)))
    pixels[17, 3, 3] = np.nan
    with pytest.raises(InvalidInput, match="finite") as refused:
        refuse_no_images(rigid.with_pixels(pixels).images(), Path("particles.star"))
    assert refused.value.row == 18


def test_a_set_that_is_all_noise_says_so(rigid, solve_set):
    rng = np.random.default_rng(0)
    shape = (len(rigid.particles), rigid.particles.box, rigid.particles.box)
    solved = solve_set(rigid.with_pixels(rng.normal(size=shape).astype(np.float32)))
    words = findings_of(rigid.particles, solved.images, solved.mean, None).warnings
    assert any("half-maps do not agree" in word for word in words)
    assert significant_components(solved.problem, 2, 8, seed=0).count == 0


def test_one_view_alone_says_what_it_does_not_show(rigid_mean):
    images = rigid_mean.images
    alone = replace(images, rotations=images.rotations[:1].expand(len(images), 3, 3))
    words = findings_of(rigid_mean.truth.particles, alone, rigid_mean.mean, None).warnings
    assert any("94 % of Fourier space" in word for word in words)


def test_the_unseen_share_is_that_of_the_missing_wedge():
    """All views within an angle a of the axis: what lies nearer to the axis than 90 - a is not seen, 1 - sin(a)."""
    rng = np.random.default_rng(0)
    tilt, turn = np.deg2rad(40) * np.sqrt(rng.random(4000)), rng.uniform(0, 2 * np.pi, 4000)
    views = np.zeros((4000, 3, 3))
    views[:, 2] = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], 1)
    assert unseen_share(views, 100) == pytest.approx(1 - np.sin(np.deg2rad(40)), abs=0.02)
    assert unseen_share(views[:1], 8) == pytest.approx(1 - 0.5 / 8, abs=0.005)


def test_a_clean_set_earns_no_word_about_its_images(rigid_mean):
    words = findings_of(rigid_mean.truth.particles, rigid_mean.images, rigid_mean.mean, None).warnings
    assert not [word for word in words if "images (" in word or "noise differs" in word or "half-maps" in word]


def test_constant_images_among_others_weigh_nothing(rigid, solve_set):
    pixels = rigid.particles.images.read(np.arange(len(rigid.particles)))
    pixels[:40] = 7
    solved = solve_set(rigid.with_pixels(pixels))
    assert (solved.mean.outlier[:40] == 1).all()
    assert (solved.mean.outlier[40:].max(1) > 0.5).sum() <= 2
    assert solved.mean.fsc[1:5].mean() == pytest.approx(0.98, abs=0.05)
