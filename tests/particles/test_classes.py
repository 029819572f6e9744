"""Several classes' alignments in one .cs: each particle's own class says its pose, shift and half-set."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles import read_particles
from covaria.particles.rotations import matrices_from_rotation_vectors
from covaria.request.model import IngestOptions

ROWS = 6
OWN = np.array([0, 1, 2, 1, 0, 2])


def read(path, **options):
    return read_particles(IngestOptions(particles=path, **options))


def alignment(number):
    """What class `number` says; different in every column."""
    rng = np.random.default_rng(number)
    return {
        "pose": rng.normal(size=(ROWS, 3)).astype("f4"),
        "shift": rng.normal(size=(ROWS, 2)).astype("f4"),
        "psize_A": np.full(ROWS, 1.5 * (number + 1), "f4"),
        "split": (np.arange(ROWS) + number).astype("u4") % 2,
        "class_posterior": np.where(number == OWN, 0.8, 0.1).astype("f4"),
    }


def without_refinement(workshop, more):
    single = {f"alignments3D/{name}": None for name in ("pose", "shift", "psize_A")}
    return workshop.cs(workshop.cs_table({**single, **more}))


def separate(classes=(0, 1, 2), without=()):
    return {
        f"alignments_class_{number}/{name}": values
        for number in classes
        for name, values in alignment(number).items()
        if name not in without
    }


def together():
    every = [alignment(number) for number in range(3)]
    names = [name for name in every[0] if name != "split"]
    columns = {f"alignments3D_multi/{name}": np.stack([one[name] for one in every], axis=1) for name in names}
    return columns | {"alignments3D_multi/split": alignment(0)["split"]}


@pytest.mark.parametrize("columns", [separate(), together()], ids=["separate columns", "one column of all classes"])
def test_the_class_with_the_largest_posterior_says_the_pose(workshop, columns):
    particles = read(without_refinement(workshop, columns))
    every = [alignment(number) for number in range(3)]
    for row, own in enumerate(OWN):
        expected = matrices_from_rotation_vectors(every[own]["pose"])[row]
        np.testing.assert_allclose(particles.rotations[row], expected, atol=1e-6)
        shift = every[own]["shift"][row] * every[own]["psize_A"][row] / 1.5
        np.testing.assert_allclose(particles.translations[row], shift, rtol=1e-5)
    assert "3 classes; each particle has the pose of its most probable class" in " ".join(particles.notes)


def test_the_split_is_that_of_the_alignment_in_use(workshop):
    particles = read(without_refinement(workshop, separate()))
    np.testing.assert_array_equal(particles.half_set, (np.arange(ROWS) + OWN) % 2)


def test_one_class_can_be_chosen(workshop):
    path = without_refinement(workshop, separate())
    np.testing.assert_array_equal(read(path, class_number=1).rows, [1, 3])
    with pytest.raises(InvalidInput, match="0, 1, 2"):
        read(path, class_number=3)


def test_without_a_posterior_the_classes_are_listed(workshop):
    path = without_refinement(workshop, separate(without=("class_posterior",)))
    with pytest.raises(InvalidInput, match=r"(?s)3 classes \(0, 1, 2\).*--class"):
        read(path)
    particles = read(path, class_number=2)
    assert particles.used.all()
    expected = matrices_from_rotation_vectors(alignment(2)["pose"])
    np.testing.assert_allclose(particles.rotations, expected, atol=1e-6)


def test_one_class_alone_is_a_refinement(workshop):
    particles = read(without_refinement(workshop, separate(classes=(4,))))
    expected = matrices_from_rotation_vectors(alignment(4)["pose"])
    np.testing.assert_allclose(particles.rotations, expected, atol=1e-6)
    np.testing.assert_array_equal(particles.half_set, alignment(4)["split"])


def test_the_jobs_own_alignments_come_before_a_passthrough_ones(workshop):
    main = without_refinement(workshop, separate())
    other = workshop.cs_table()
    other["uid"] = np.load(main)["uid"]
    passthrough = workshop.cs(other[["uid", "alignments3D/pose", "alignments3D/shift", "alignments3D/psize_A"]], "p.cs")
    np.testing.assert_allclose(read(main, passthrough=(passthrough,)).rotations, read(main).rotations, atol=1e-12)


def test_signs_are_row_by_row(workshop):
    sign = np.array([1, -1, 1, 1, -1, 1], "f4")
    particles = read(workshop.cs(workshop.cs_table({"blob/sign": sign})))
    np.testing.assert_array_equal(particles.images.read(np.arange(ROWS)), workshop.images * sign[:, None, None])
    assert "-1 in 2 of 6 rows" in " ".join(particles.notes)
    same = read(workshop.cs(workshop.cs_table({"blob/sign": np.full(ROWS, -1, "f4")})))
    np.testing.assert_array_equal(same.images.read(np.arange(ROWS)), workshop.images)


def test_scale_and_b_factor(workshop):
    more = {"ctf/scale": np.linspace(0.5, 1.5, ROWS).astype("f4"), "ctf/bfactor": np.full(ROWS, 30, "f4")}
    ctf = read(workshop.cs(workshop.cs_table(more))).ctf
    np.testing.assert_allclose(ctf.scale, more["ctf/scale"])
    np.testing.assert_allclose(ctf.b_factor_angstrom2, 30)


@pytest.mark.parametrize(
    ("column", "value"),
    [("trefoil_A", (0, 9e4)), ("tetra_A", (9e7, 0, 0, 0)), ("shift_A", (2.0, 0))],
)  # fmt: skip
def test_aberrations(workshop, column, value):
    values = np.zeros((ROWS, len(value)), "f4")
    assert column not in " ".join(read(workshop.cs(workshop.cs_table({f"ctf/{column}": values}))).notes)
    values[2] = np.array(value) / 50
    noted = read(workshop.cs(workshop.cs_table({f"ctf/{column}": values})))
    assert f"ctf/{column} is not modelled in 1 images" in " ".join(noted.notes)
    values[2] = value
    with pytest.raises(InvalidInput, match=f"row 3, column ctf/{column}"):
        read(workshop.cs(workshop.cs_table({f"ctf/{column}": values})))


# ---- the wrong file of a job


def test_a_passthrough_file_in_place_of_the_particles(workshop):
    main = workshop.cs(workshop.cs_table(), "J1_particles.cs")
    table = np.load(main)[["uid", "ctf/df1_A"]]
    with pytest.raises(InvalidInput, match=r"(?s)passthrough file.*J1_particles\.cs"):
        read(workshop.cs(table, "J1_passthrough_particles.cs"))
    with pytest.raises(InvalidInput, match=r"(?s)not a job's particle file.*--passthrough"):
        read(workshop.cs(table, "other.cs"))


def test_poses_without_images_want_the_passthrough(workshop):
    table = workshop.cs_table()[["uid", "alignments3D/pose", "alignments3D/shift"]]
    with pytest.raises(InvalidInput, match=r"(?s)blob/path.*give the job's passthrough file"):
        read(workshop.cs(table))


def test_images_without_poses_name_the_column(workshop):
    single = {f"alignments3D/{name}": None for name in ("pose", "shift", "psize_A")}
    with pytest.raises(InvalidInput, match=r"(?s)alignments3D/pose.*--passthrough"):
        read(workshop.cs(workshop.cs_table(single)))


def test_a_group_description_names_what_to_give(workshop):
    (workshop.folder / "J1_particles.csg").write_text(
        "results:\n  blob:\n    metafile: '>J1_particles.cs'\n"
        "  location:\n    metafile: '>J1_passthrough_particles.cs'\n"
    )
    with pytest.raises(InvalidInput, match=r"give J1_particles\.cs --passthrough J1_passthrough_particles\.cs"):
        read(workshop.folder / "J1_particles.csg")
