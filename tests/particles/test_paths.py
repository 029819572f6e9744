"""Where stacks are looked for, and which files a service may open."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from covaria.errors import InvalidInput, MissingFile
from covaria.opening import Roots
from covaria.particles import read_particles
from covaria.request.model import IngestOptions


def at(workshop, name, **options):
    """The set with its stack called `name` in the STAR (the file itself stays where the test put it)."""
    rows = [f"{row + 1}@{name}" for row in range(workshop.count)]
    star = workshop.star(particles={"_rlnImageName": rows}, stack=False, name="Refine3D/job010/run_data.star")
    return read_particles(IngestOptions(particles=star, **options))


@pytest.mark.parametrize(
    ("place", "name", "options", "rule"),
    [
        ("elsewhere/a.mrcs", "{root}/elsewhere/a.mrcs", {}, "as given"),
        ("Extract/job002/m/a.mrcs", "Extract/job002/m/a.mrcs", {}, "beneath a parent of the metadata's folder"),
        ("Refine3D/job010/a.mrcs", "a.mrcs", {}, "beside the metadata"),
        ("Refine3D/job010/a.mrc", "a.mrcs", {}, "beside the metadata, .mrcs exchanged for .mrc"),
        ("Refine3D/job010/a.mrcs", "a.mrc", {}, ".mrc exchanged for .mrcs"),
        ("data/m/a.mrcs", "m/a.mrcs", {"datadir": "data"}, "beneath --datadir"),
        ("data/a.mrcs", "/gone/m/a.mrcs", {"datadir": "data"}, "by file name in --datadir"),
        (
            "data/m/a.mrcs",
            "/scratch/x/m/a.mrcs",
            {"datadir": "data", "strip_prefix": "/scratch/x/"},
            "after --strip-prefix",
        ),
        ("Refine3D/job010/m/a.mrcs", "J7/m/a.mrcs", {"strip_prefix": "J7/"}, "after --strip-prefix"),
    ],
)
def test_the_rule_that_found_the_stack_is_told(workshop, tmp_path, place, name, options, rule):
    workshop.write_stack(tmp_path / place, workshop.images)
    options = {key: tmp_path / value if key == "datadir" else value for key, value in options.items()}
    particles = at(workshop, name.format(root=tmp_path), **options)
    assert rule in "\n".join(particles.notes)
    np.testing.assert_array_equal(particles.images.read(np.arange(6)), workshop.images)


def test_missing_stacks_are_counted_and_the_places_named(workshop, tmp_path):
    with pytest.raises(MissingFile, match=r"(?s)nowhere/a\.mrcs.*looked for.*--datadir"):
        at(workshop, "nowhere/a.mrcs")


def test_a_guard_refuses_what_lies_outside(workshop, tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    workshop.write_stack(outside / "stack.mrcs", workshop.images)
    workshop.folder = inside
    star = workshop.star()
    roots = Roots.of([inside])
    assert len(read_particles(IngestOptions(particles=star), roots=roots)) == 6
    with pytest.raises(InvalidInput, match="outside the folders"):
        read_particles(IngestOptions(particles=star), roots=Roots.of([outside]))
    (inside / "stack.mrcs").unlink()
    (inside / "stack.mrcs").symlink_to(outside / "stack.mrcs")  # a link does not lead out
    with pytest.raises(InvalidInput):
        read_particles(IngestOptions(particles=star), roots=roots)
    assert len(read_particles(IngestOptions(particles=star))) == 6
    for name in (f"{outside}/stack.mrcs", "../outside/stack.mrcs"):
        star = workshop.star(particles={"_rlnImageName": [f"{row + 1}@{name}" for row in range(6)]}, stack=False)
        with pytest.raises(InvalidInput):
            read_particles(IngestOptions(particles=star), roots=roots)
        with pytest.raises(InvalidInput, match="outside the folders"):
            read_particles(IngestOptions(particles=star, poses=outside / "stack.mrcs"), roots=roots)
    (inside / "list.txt").write_text(f"{outside}/stack.mrcs\n")
    with pytest.raises(InvalidInput, match="outside the folders"):
        read_particles(IngestOptions(particles=inside / "list.txt"), roots=roots)


def test_dots_are_fine_where_the_result_stays_inside(workshop, tmp_path):
    star = workshop.star(particles={"_rlnImageName": [f"{row + 1}@sub/../stack.mrcs" for row in range(6)]})
    (tmp_path / "sub").mkdir()
    assert len(read_particles(IngestOptions(particles=star), roots=Roots.of([tmp_path]))) == 6


def test_stacks_of_a_list_come_in_order(workshop, tmp_path):
    from covaria.particles.stacks.locate import plain_stacks

    workshop.write_stack(tmp_path / "b.mrcs", workshop.images[:2])
    workshop.write_stack(tmp_path / "m" / "a.mrcs", workshop.images[2:])
    (tmp_path / "list.txt").write_text("b.mrcs\n\nm/a.mrcs\n")
    stacks = plain_stacks(IngestOptions(particles=tmp_path / "list.txt"))
    np.testing.assert_array_equal(stacks.images(16).read(np.arange(6)), workshop.images)
    workshop.write_stack(tmp_path / "m" / "a.mrcs", np.zeros((1, 32, 32), np.float32))
    mixed = plain_stacks(IngestOptions(particles=tmp_path / "list.txt"))
    with pytest.raises(InvalidInput, match="32 x 32"):
        mixed.checked(np.ones(3, dtype=bool))
    np.testing.assert_array_equal(mixed.checked(np.array([True, True, False])).stack_of_row, [0, 0, -1])
    assert mixed.checked(np.array([False, False, True])).box == 32


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000 + "b.mrcs", "\u00e9\u4e2d.mrcs", "~/x.mrcs", "$HOME/x"])
def test_impossible_names_are_missing_stacks(workshop, tmp_path, name):
    with pytest.raises(MissingFile):
        at(workshop, name)
    with pytest.raises(InvalidInput):
        at(workshop, name, datadir=tmp_path / "nothing", strip_prefix="x")


def test_impossible_input_names_are_refused(tmp_path):
    for name in ("x" * 5000 + ".star", "a\0b.star"):
        with pytest.raises((InvalidInput, ValidationError)):  # the options refuse some themselves
            read_particles(IngestOptions(particles=tmp_path / name))
    with pytest.raises(InvalidInput, match="not a regular file"):
        (tmp_path / "folder.star").mkdir()
        read_particles(IngestOptions(particles=tmp_path / "folder.star"))
