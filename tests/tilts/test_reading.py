"""Warp's and M's series of 2-D images: which rows are one particle, their dose and cosine, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.imaging.images import read_images
from covaria.imaging.noise import Noise
from covaria.particles import read_particles
from covaria.particles.expansion import expanded
from covaria.particles.halves import with_half_sets
from covaria.particles.shrink import shrink
from covaria.particles.store import load, save
from covaria.request.model import IngestOptions

TILTS = 7


def read(star, **options):
    return read_particles(IngestOptions(particles=star, **options))


def changed(series, tmp_path, change):
    """The STAR with `change(fields of a row, row number)` in every particle row, in a folder with its stack."""
    text = series.star.read_text()
    head, body = text[: text.index("000001@")], text[text.index("000001@") :]
    rows = [change(line.split(), number) for number, line in enumerate(body.splitlines())]
    (tmp_path / "tilts.mrcs").symlink_to(series.star.parent / "tilts.mrcs")
    star = tmp_path / "particles.star"
    star.write_text(head + "".join(" ".join(row) + "\n" for row in rows if row is not None))
    return star


def test_a_row_for_each_tilt(series):
    particles = read(series.star)
    np.testing.assert_array_equal(particles.particle, series.particle)
    np.testing.assert_allclose(particles.ctf.b_factor_angstrom2[:TILTS], 12.0 * np.arange(TILTS))
    assert particles.count == 120 and len(particles.leads) == 120
    assert "tilt series: 120 particles of up to 7 tilts" in particles.notes
    np.testing.assert_array_equal(with_half_sets(particles, 0).half_set, series.particle % 2)


def test_the_first_tilts_by_dose(series, tmp_path):
    star = changed(series, tmp_path, lambda row, number: row)
    particles = read(star, ntilts=3)
    np.testing.assert_array_equal(np.flatnonzero(particles.used) % TILTS, np.tile([0, 1, 2], 120))


def test_dose_and_angle_from_options(series, tmp_path):
    """Without the file's own; the third image of a dose-symmetric series is at the first angle, the fourth at two."""
    text = series.star.read_text()
    labels = re.findall(r"_rln(\w+) #\d+", text[text.index("data_particles") :])
    keep = [place for place, label in enumerate(labels) if label not in ("CtfScalefactor", "CtfBfactor")]
    (tmp_path / "tilts.mrcs").symlink_to(series.star.parent / "tilts.mrcs")
    head = "".join(f"_rln{labels[place]} #{number}\n" for number, place in enumerate(keep, start=1))
    body = text[text.index("000001@") :].splitlines()
    rows = "".join(" ".join(line.split()[place] for place in keep) + "\n" for line in body)
    star = tmp_path / "particles.star"
    star.write_text(text[: text.index("data_particles")] + "data_particles\n\nloop_\n" + head + rows)
    particles = read(star, dose_per_tilt=3.0, angle_per_tilt=15.0)
    np.testing.assert_allclose(particles.ctf.dose[:TILTS], 3.0 * np.arange(TILTS))
    np.testing.assert_allclose(particles.ctf.scale[:4], np.cos(np.deg2rad([0, 15, 15, 30])))
    with pytest.raises(InvalidInput, match="--dose-per-tilt out"):
        read(series.star, dose_per_tilt=3.0)


def test_half_sets_are_made_whole(series, tmp_path):
    def split(row, number):
        row[10] = str(1 + number % 2)
        return row

    particles = read(changed(series, tmp_path, split))
    halves = particles.half_set.reshape(-1, TILTS)
    assert np.all(halves == halves[:, :1])
    assert any("120 particles have tilts in both half-sets" in note for note in particles.notes)


def test_drawn_half_sets_keep_particles_whole(series, tmp_path):
    def unassigned(row, number):
        row[10] = "1"
        return row

    halves = with_half_sets(read(changed(series, tmp_path, unassigned)), 3).half_set.reshape(-1, TILTS)
    assert np.all(halves == halves[:, :1])
    assert halves[:, 0].sum() == 60


def test_a_doubled_tilt_is_refused_and_a_missing_one_noted(series, tmp_path):
    def doubled(row, number):
        row[0] = "000003@tilts.mrcs" if number == 4 else row[0]
        return row

    with pytest.raises(InvalidInput, match=r"row 5, column _rlnImageName.*twice"):
        read(changed(series, tmp_path, doubled))
    (tmp_path / "b").mkdir()
    particles = read(changed(series, tmp_path / "b", lambda row, number: None if number in (3, 9) else row))
    assert "tilt series: 120 particles of up to 7 tilts; 2 have fewer" in particles.notes


def test_a_negative_dose_is_refused_by_row(series, tmp_path):
    text = series.star.read_text().replace("_rlnCtfBfactor", "_rlnMicrographPreExposure")
    (tmp_path / "tilts.mrcs").symlink_to(series.star.parent / "tilts.mrcs")
    star = tmp_path / "particles.star"
    star.write_text(text)
    with pytest.raises(InvalidInput, match=r"row 2, column _rlnMicrographPreExposure.*dose of -12"):
        read(star)


def test_options_for_tilts_are_refused_elsewhere(series, tmp_path):
    star = tmp_path / "particles.star"
    text = series.star.read_text()
    for label in ("GroupName", "CtfScalefactor", "CtfBfactor", "MicrographName"):
        text = text.replace(f"_rln{label}", f"_other{label}")
    star.write_text(text)
    (tmp_path / "tilts.mrcs").symlink_to(series.star.parent / "tilts.mrcs")
    assert read(star).particle is None
    with pytest.raises(InvalidInput, match="--ntilts is for tilt series"):
        read(star, ntilts=3)


def test_series_without_particles_are_refused(series, tmp_path):
    star = tmp_path / "particles.star"
    star.write_text(series.star.read_text().replace("_rlnGroupName", "_otherGroup"))
    with pytest.raises(InvalidInput, match="no column says which are of one particle"):
        read(star)


def test_stages_and_symmetry_keep_them(series, tmp_path):
    particles = read(series.star)
    (tmp_path / ".covaria").mkdir()
    save(tmp_path / ".covaria" / "particles.npz", particles)
    np.testing.assert_array_equal(load(tmp_path / ".covaria" / "particles.npz").particle, particles.particle)
    copies = expanded(particles, IngestOptions(particles=particles.source, symmetry="C2"))
    assert copies.count == 240 and np.all(copies.particle[840:] == particles.particle + 120)


@pytest.mark.parametrize("size", [5, 7, 20, 64])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_batch_holds_whole_particles(series, size, ranks):
    particles = read(series.star)
    seen = []
    for rank in range(ranks):
        images = read_images(particles, rank=rank, ranks=ranks)
        noise = Noise.white(images.box, images.groups)
        for batch in images.batches(np.ones(len(images), bool), noise, size=size):
            whole = images.particle[batch.index]
            assert np.all(np.diff(batch.particle.numpy()) >= 0)
            assert len(np.unique(whole)) == int(batch.particle.max()) + 1
            assert np.all(np.unique(whole, return_counts=True)[1] == TILTS)
            seen += whole.tolist()
    assert sorted(seen) == sorted(series.particle.tolist())


def test_a_smaller_set_says_the_same_of_its_tilts(series, tmp_path):
    """Also where the source is of RELION 3.0's form, and its STAR is written anew."""
    text = series.star.read_text()
    labels = re.findall(r"_rln(\w+) #\d+", text[text.index("data_particles") :])
    added = {"Voltage": "300", "SphericalAberration": "2.7", "AmplitudeContrast": "0.1", "ImagePixelSize": "5.0"}
    head = "".join(f"_rln{label} #{number}\n" for number, label in enumerate([*labels, *added], start=1))
    rows = "".join(f"{line} {' '.join(added.values())}\n" for line in text[text.index("000001@") :].splitlines())
    (tmp_path / "tilts.mrcs").symlink_to(series.star.parent / "tilts.mrcs")
    star = tmp_path / "particles.star"
    star.write_text("data_\n\nloop_\n" + head + rows)
    before = read(star)
    for source, folder in ((star, "old"), (series.star, "new")):
        done = shrink(IngestOptions(particles=source), 16, tmp_path / folder, progress=lambda *_: None)
        after = read(done.star)
        np.testing.assert_array_equal(after.particle, before.particle)
        np.testing.assert_allclose(after.ctf.b_factor_angstrom2, before.ctf.b_factor_angstrom2)
        np.testing.assert_allclose(after.ctf.scale, before.ctf.scale, atol=1e-6)
