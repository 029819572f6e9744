"""Each nuisance, measured from the images and the files alone, against what was asked for and what the truth says."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from covaria.errors import InvalidInput
from covaria.simulation import optics
from covaria.simulation.dataset import SimulationOptions, simulate, volume_path
from covaria.simulation.ensemble import BUILT_IN, from_files
from covaria.simulation.image_truth import ImageTruth
from covaria.simulation.nuisances import Nuisances
from covaria.simulation.truth import read_image_truth, read_truth

BOX, PIXEL, COUNT = 32, 8.0, 400
EVERYTHING = Nuisances(
    rotation_error_deg=2.0,
    shift_error_pixels=0.7,
    bad_pose_share=0.1,
    defocus_error_angstrom=400.0,
    empty_share=0.12,
    carbon_edge_share=0.04,
    blob_share=0.02,
    micrograph_noise_sd=0.35,
    kept_view_share=0.3,
    scale_sd=0.5,
    gradient_height=2.0,
    magnification_sd=0.03,
)
OFFSETS = np.arange(BOX) - BOX // 2
Maker = Callable[..., "Set"]


class Set:
    """A simulated set as its files show it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = mrcfile.read(folder / "particles.mrcs").astype(float)
        with (folder / "poses.pkl").open("rb") as file:
            self.rotations, shifts = pickle.load(file)
        self.translations = shifts * BOX
        with (folder / "ctf.pkl").open("rb") as file:
            self.ctf = pickle.load(file).astype(float)
        self.contrast = np.loadtxt(folder / "gt" / "contrast.txt")
        self.star = [line.split() for line in (folder / "particles.star").read_text().splitlines() if "@" in line]
        self.truth = read_image_truth(folder)

    @property
    def micrograph(self) -> np.ndarray:
        return np.unique([row[1] for row in self.star], return_inverse=True)[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Sets of a rigid particle by their options; each is made once."""
    sets: dict[SimulationOptions, Set] = {}

    def make(*, snr: float = 0.05, seed: int = 0, dark: bool = False, **nuisances: float) -> Set:
        options = SimulationOptions(
            n_images=COUNT, box=BOX, pixel_size_angstrom=PIXEL, snr=snr, atom_sigma_angstrom=10.0, dark=dark, seed=seed,
            nuisances=Nuisances(**nuisances),
        )  # fmt: skip
        if options not in sets:
            folder = tmp_path_factory.mktemp("set")
            simulate(folder, BUILT_IN["homogeneous"](1), options)
            sets[options] = Set(folder)
        return sets[options]

    return make


def _everything() -> dict[str, float]:
    return {name: getattr(EVERYTHING, name) for name in EVERYTHING.__dataclass_fields__}


def _signal(made_set: Set, row: int, truth: ImageTruth) -> np.ndarray:
    """Image `row` without noise and background: the true volume's direct transform at the true pose, defocus and
    magnification, in the frequencies that the images hold."""
    volume = mrcfile.read(volume_path(made_set.folder, 0)).astype(np.complex64)
    m = truth.magnification[row]
    plane = np.meshgrid(np.fft.fftfreq(BOX, 1 / BOX), np.arange(BOX // 2 + 1), indexing="ij")
    inside = np.rint(np.hypot(*plane)) <= BOX // 2 - 1
    y, x = (k[inside] for k in plane)
    angles = np.deg2rad([truth.rot_deg[row], truth.tilt_deg[row], truth.psi_deg[row]])
    rotation = Rotation.from_euler("ZYZ", angles).as_matrix().T
    k = m * (x[:, None] * rotation[0] + y[:, None] * rotation[1])
    ex, ey, ez = (np.exp(-2j * np.pi / BOX * np.multiply.outer(OFFSETS, axis)).astype(np.complex64) for axis in k.T)
    slice_ = m**2 * ((((volume @ ex) * ey).sum(1)) * ez).sum(0)
    _, _, _, _, astigmatism, kv, cs, w, _ = made_set.ctf[row]
    u, v = truth.defocus_u_angstrom[row], truth.defocus_v_angstrom[row]
    s2, wavelength = (x**2 + y**2) / (BOX * PIXEL) ** 2, 12.2643 / np.sqrt(kv * 1e3 * (1 + 0.978466e-6 * kv * 1e3))
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * (np.arctan2(y, x) - np.deg2rad(astigmatism))))
    chi = np.pi * wavelength * defocus * s2 - 0.5 * np.pi * cs * 1e7 * wavelength**3 * s2**2
    shift = np.exp(2j * np.pi / BOX * (x * truth.x_pixels[row] + y * truth.y_pixels[row]))
    spectrum = np.zeros(inside.shape, complex)
    spectrum[inside] = slice_ * (np.sqrt(1 - w * w) * np.sin(chi) + w * np.cos(chi)) * shift * (-1.0) ** (x + y)
    return made_set.contrast[row] * np.fft.irfft2(spectrum, s=(BOX, BOX))


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_nothing_changes_where_nothing_is_asked_for(tmp_path: Path) -> None:
    """A set of 4b5ad1b, before there were nuisances."""
    options = SimulationOptions(n_images=160, box=32, pixel_size_angstrom=8.0, seed=3)
    simulate(tmp_path, BUILT_IN["discrete"](3), options)
    star = hashlib.sha256((tmp_path / "particles.star").read_bytes()).hexdigest()
    assert star == "faf7a12cdda83e3810d35355126ae4e6ca767a5f0359aad64efa9f545eac6400"
    stack = mrcfile.read(tmp_path / "particles.mrcs")
    expected = [0.41783363, 1.32529175, -1.75335133, 1.08061957]
    np.testing.assert_allclose(stack[[0, 50, 100, 159], 7, 20], expected, atol=1e-5)
    assert not (tmp_path / "gt" / "images.txt").exists()
    assert "nuisances" not in (tmp_path / "gt" / "parameters.json").read_text()


def test_the_files_of_a_clean_set_are_its_truth(made: Maker) -> None:
    clean = made()
    found = optics.rotation_matrices(np.stack([clean.truth.rot_deg, clean.truth.tilt_deg, clean.truth.psi_deg], 1))
    np.testing.assert_allclose(found, clean.rotations, atol=1e-6)
    np.testing.assert_allclose(np.stack([clean.truth.x_pixels, clean.truth.y_pixels], 1), clean.translations, atol=1e-5)
    np.testing.assert_array_equal(clean.truth.micrograph, clean.micrograph)
    assert clean.truth.good.all() and np.all(clean.truth.noise_level == 1)


def test_pose_errors_are_in_the_files_alone(made: Maker) -> None:
    clean, wrong = made(), made(rotation_error_deg=2.0, shift_error_pixels=0.7)
    np.testing.assert_array_equal(clean.stack, wrong.stack)
    turn = Rotation.from_matrix(wrong.rotations @ clean.rotations.transpose(0, 2, 1)).as_rotvec(degrees=True)
    shift = wrong.translations - clean.translations
    np.testing.assert_allclose(turn.std(0), 2, rtol=0.15)
    np.testing.assert_allclose(shift.std(0), 0.7, rtol=0.15)
    assert np.abs(turn.mean(0)).max() < 0.4 and np.abs(shift.mean(0)).max() < 0.14
    from_star = optics.rotation_matrices(np.array([row[4:7] for row in wrong.star], float))
    np.testing.assert_allclose(from_star, wrong.rotations, atol=1e-6)
    for name in ("rot_deg", "tilt_deg", "psi_deg", "x_pixels", "y_pixels"):
        np.testing.assert_allclose(getattr(wrong.truth, name), getattr(clean.truth, name), atol=1e-5)


def test_shift_errors_measured_from_the_images(made: Maker) -> None:
    """How far each image lies from where its files say, by its correlation with a noiseless image at the truth."""
    wrong = made(snr=1e6, shift_error_pixels=0.7)
    stated_less_true = wrong.translations - np.stack([wrong.truth.x_pixels, wrong.truth.y_pixels], 1)
    centred = replace(wrong.truth, x_pixels=np.zeros(COUNT), y_pixels=np.zeros(COUNT))
    kx, ky = np.arange(BOX // 2 + 1), np.fft.fftfreq(BOX, 1 / BOX)[:, None]
    for row in range(0, COUNT, 40):
        cross = np.fft.rfft2(wrong.stack[row]) * np.fft.rfft2(_signal(wrong, row, centred)).conj()
        low = np.hypot(kx, ky) < 3
        design = 2 * np.pi / BOX * np.stack(np.broadcast_arrays(kx, ky), -1)[low]
        weight = np.sqrt(np.abs(cross[low]))
        # In two steps: whole pixels by the maximum of the correlation, the rest by the phase that is left.
        peak = np.array(np.unravel_index(np.fft.irfft2(cross).argmax(), (BOX, BOX)))[::-1]
        whole = -((peak + BOX // 2) % BOX - BOX // 2)
        left = np.angle(cross[low] * np.exp(-1j * design @ whole))
        measured = whole + np.linalg.lstsq(weight[:, None] * design, weight * left, rcond=None)[0]
        np.testing.assert_allclose(wrong.translations[row] - measured, stated_less_true[row], atol=0.02)


def test_bad_poses_are_anywhere(made: Maker) -> None:
    clean, wrong = made(), made(bad_pose_share=0.1)
    np.testing.assert_array_equal(clean.stack, wrong.stack)
    bad = wrong.truth.bad_pose
    assert bad.sum() == 40
    np.testing.assert_array_equal(wrong.rotations[~bad], clean.rotations[~bad])
    np.testing.assert_array_equal(wrong.translations[~bad], clean.translations[~bad])
    turn = Rotation.from_matrix(wrong.rotations[bad] @ clean.rotations[bad].transpose(0, 2, 1)).magnitude()
    assert turn.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.3), "the mean angle of a uniform rotation"
    assert np.ptp(wrong.translations[bad] - clean.translations[bad]) > 2


def test_defocus_errors_are_in_the_files_alone(made: Maker) -> None:
    clean, wrong = made(), made(defocus_error_angstrom=400.0)
    np.testing.assert_array_equal(clean.stack, wrong.stack)
    error = wrong.ctf[:, 2:4] - clean.ctf[:, 2:4]
    assert error.std() == pytest.approx(400, rel=0.1) and np.abs(error.mean()) < 80
    np.testing.assert_allclose(error[:, 0], error[:, 1], atol=0.02)
    np.testing.assert_allclose(wrong.truth.defocus_u_angstrom, clean.ctf[:, 2], rtol=1e-6)
    np.testing.assert_allclose([float(row[9]) for row in wrong.star], wrong.ctf[:, 2], rtol=1e-6)


def test_empty_images_hold_no_particle(made: Maker) -> None:
    clean, spoiled = made(snr=1.0), made(snr=1.0, empty_share=0.12)
    empty = spoiled.truth.empty
    assert empty.sum() == 48 and np.all(spoiled.contrast[empty] == 0)
    np.testing.assert_array_equal(spoiled.stack[~empty], clean.stack[~empty])
    rows = np.flatnonzero(empty)[:16]
    signals = np.stack([_signal(clean, row, clean.truth) for row in rows])
    power = (signals**2).sum()
    assert (signals * clean.stack[rows]).sum() / power == pytest.approx(1, abs=0.1)
    assert (signals * spoiled.stack[rows]).sum() / power == pytest.approx(0, abs=0.1)
    assert spoiled.stack[empty].var() == pytest.approx(1, abs=0.05)


def test_a_carbon_edge_is_a_step_of_three(made: Maker) -> None:
    clean, spoiled = made(), made(carbon_edge_share=0.04)
    edge = spoiled.truth.carbon_edge
    added = spoiled.stack - clean.stack
    assert edge.sum() == 16 and np.all(added[~edge] == 0)
    for row in np.flatnonzero(edge):
        low, high = added[row].min(), added[row].max()
        assert high - low == pytest.approx(3, abs=1e-4) and high == pytest.approx(-low, abs=1e-4)
        assert ((added[row] < low + 1e-4) | (added[row] > high - 1e-4)).mean() > 0.9, "flat on both sides"
        raised = added[row] > 0
        angle, offset = np.deg2rad(spoiled.truth.edge_angle_deg[row]), spoiled.truth.edge_offset_pixels[row]
        side = np.cos(angle) * OFFSETS + np.sin(angle) * OFFSETS[:, None] > offset
        assert (raised == side).mean() > 0.99
    assert np.ptp(spoiled.truth.edge_angle_deg[edge]) > 180


def test_a_blob_is_one_bright_spot_of_fifteen(made: Maker) -> None:
    clean, spoiled = made(), made(blob_share=0.05)
    blob = spoiled.truth.blob
    added = spoiled.stack - clean.stack
    assert blob.sum() == 20 and np.all(added[~blob] == 0)
    for row in np.flatnonzero(blob):
        assert 13 < added[row].max() <= 15.0001 and added[row].min() > -1e-4
        y, x = np.unravel_index(added[row].argmax(), (BOX, BOX))
        assert abs(x - BOX // 2 - spoiled.truth.blob_x_pixels[row]) <= 0.5
        assert abs(y - BOX // 2 - spoiled.truth.blob_y_pixels[row]) <= 0.5
        assert 4 < (added[row] > 7.5).sum() < 16, "one spot, a few pixels wide"


def test_noise_differs_by_micrograph(made: Maker) -> None:
    spoiled = made(snr=1e-9, micrograph_noise_sd=0.35)
    numbers = spoiled.micrograph
    assert np.bincount(numbers).min() >= 40 and len(np.unique(numbers)) == 8
    measured = np.array([spoiled.stack[numbers == number].std() for number in np.unique(numbers)])
    stated = np.array([spoiled.truth.noise_level[numbers == number] for number in np.unique(numbers)])
    assert np.all(np.ptp(stated, axis=1) == 0)
    np.testing.assert_allclose(measured, stated[:, 0], rtol=0.02)
    sets = [made(seed=seed, snr=1e-9, micrograph_noise_sd=0.35) for seed in range(4)]
    levels = np.concatenate([one.truth.noise_level[::50] for one in sets])
    assert np.log(levels).std() == pytest.approx(0.35, rel=0.4)


def test_orientations_outside_two_views_are_left_out(made: Maker) -> None:
    clean, spoiled = made(), made(kept_view_share=0.3)
    assert len(spoiled.stack) == COUNT

    def outside(rotations: np.ndarray) -> np.ndarray:
        views = rotations[:, 2]
        return np.maximum(views[:, 2], views[:, 0]) < np.cos(np.deg2rad(30))

    caps = 1 - np.cos(np.deg2rad(30))  # of the sphere's area, both together
    assert outside(clean.rotations).mean() == pytest.approx(1 - caps, abs=0.05)
    assert outside(spoiled.rotations).mean() == pytest.approx(0.3 * (1 - caps) / (0.3 * (1 - caps) + caps), abs=0.07)
    same = np.all(clean.rotations == spoiled.rotations, axis=(1, 2))
    assert np.all(same[~outside(clean.rotations)]), "the preferred views stay as they were"
    np.testing.assert_array_equal(clean.stack[same], spoiled.stack[same])


def test_the_grey_scale_is_spread(made: Maker) -> None:
    clean, spoiled = made(), made(scale_sd=0.5)
    for row in range(0, COUNT, 7):
        np.testing.assert_allclose(
            spoiled.stack[row], spoiled.truth.scale[row] * clean.stack[row], rtol=1e-5, atol=1e-5
        )
    measured = np.log(spoiled.stack.std(axis=(1, 2)) / clean.stack.std(axis=(1, 2)))
    assert measured.std() == pytest.approx(0.5, rel=0.15) and abs(measured.mean()) < 0.1


def test_a_gradient_rises_by_its_height_across_the_box(made: Maker) -> None:
    clean, spoiled = made(), made(gradient_height=2.0)
    design = np.stack([g.ravel() for g in np.meshgrid(OFFSETS, OFFSETS)] + [np.ones(BOX**2)], 1)
    planes, rest, *_ = np.linalg.lstsq(design, (spoiled.stack - clean.stack).reshape(COUNT, -1).T, rcond=None)
    assert rest.max() < 1e-6
    np.testing.assert_allclose(BOX * np.hypot(planes[0], planes[1]), 2, rtol=1e-4)
    np.testing.assert_allclose(planes[2], 0, atol=1e-5)
    difference = np.rad2deg(np.arctan2(planes[1], planes[0])) - spoiled.truth.gradient_angle_deg
    np.testing.assert_allclose((difference + 180) % 360, 180, atol=0.01)


@pytest.mark.parametrize("kind", ["atoms", "volume"])
def test_magnification_differs_by_micrograph(made: Maker, kind: str, tmp_path: Path) -> None:
    spoiled = made(snr=1e9, magnification_sd=0.03)
    if kind == "volume":
        options = SimulationOptions(
            n_images=100, box=BOX, pixel_size_angstrom=PIXEL, snr=1e9, nuisances=Nuisances(magnification_sd=0.03)
        )
        simulate(tmp_path, from_files([volume_path(spoiled.folder, 0)]), options)
        spoiled = Set(tmp_path)
    factor = spoiled.truth.magnification
    assert all(np.ptp(factor[spoiled.micrograph == n]) == 0 for n in np.unique(spoiled.micrograph))
    assert 0.005 < np.log(factor).std() < 0.06
    plain = replace(spoiled.truth, magnification=np.ones(len(factor)))
    for row in np.flatnonzero(np.abs(factor - 1) > 0.01)[::29]:
        assert _distance(spoiled.stack[row], _signal(spoiled, row, spoiled.truth)) < 2e-3
        assert _distance(spoiled.stack[row], _signal(spoiled, row, plain)) > 0.02


def test_all_of_them_combine(made: Maker) -> None:
    """What is left of an image without its signal, background and scale is noise of its micrograph's level."""
    spoiled = made(snr=1.0, **_everything())
    truth = spoiled.truth
    assert [truth.empty.sum(), truth.carbon_edge.sum(), truth.blob.sum(), truth.bad_pose.sum()] == [48, 16, 8, 40]
    assert truth.good.sum() == COUNT - 112, "no image is of two kinds"
    left = np.full(COUNT, np.nan)
    kinds = (truth.empty, truth.carbon_edge, truth.blob, truth.bad_pose, truth.good)
    for row in np.concatenate([np.flatnonzero(kind)[:8] for kind in kinds]):
        angle = np.deg2rad([truth.edge_angle_deg[row], truth.gradient_angle_deg[row]])
        edge, ramp = (np.cos(a) * OFFSETS + np.sin(a) * OFFSETS[:, None] for a in angle)
        x, y = OFFSETS - truth.blob_x_pixels[row], OFFSETS[:, None] - truth.blob_y_pixels[row]
        background = 2 / BOX * ramp
        if truth.carbon_edge[row]:
            background += 3 * np.clip(edge - truth.edge_offset_pixels[row], -0.5, 0.5)
        if truth.blob[row]:
            background += 15 * np.exp(-(x**2 + y**2) / (2 * (0.05 * BOX) ** 2))
        rest = spoiled.stack[row] / truth.scale[row] - background - _signal(spoiled, row, truth)
        left[row] = rest.var() / truth.noise_level[row] ** 2
    assert np.nanmean(left) == pytest.approx(1, abs=0.03) and np.nanmax(np.abs(left - 1)) < 0.5


def test_one_nuisance_does_not_move_another(made: Maker) -> None:
    together = made(snr=1.0, **_everything()).truth
    alone = {"noise_level": {"micrograph_noise_sd": 0.35}, "scale": {"scale_sd": 0.5},
             "magnification": {"magnification_sd": 0.03}, "gradient_angle_deg": {"gradient_height": 2.0},
             "tilt_deg": {"kept_view_share": 0.3}}  # fmt: skip
    for column, nuisance in alone.items():
        np.testing.assert_array_equal(getattr(together, column), getattr(made(**nuisance).truth, column))


def test_same_seed_same_set(made: Maker, tmp_path: Path) -> None:
    first = made(snr=1.0, **_everything())
    options = SimulationOptions(
        n_images=COUNT, box=BOX, pixel_size_angstrom=PIXEL, snr=1.0, atom_sigma_angstrom=10.0, nuisances=EVERYTHING
    )
    simulate(tmp_path, BUILT_IN["homogeneous"](1), options)
    np.testing.assert_array_equal(Set(tmp_path).stack, first.stack)
    for name in ("particles.star", "poses.pkl", "ctf.pkl", "gt/images.txt", "gt/contrast.txt", "gt/parameters.json"):
        assert (tmp_path / name).read_bytes() == (first.folder / name).read_bytes()
    other = made(snr=1.0, seed=1, **_everything())
    assert not np.array_equal(other.truth.empty, first.truth.empty)


def test_dark_images_are_the_negative_with_everything_in_them(made: Maker) -> None:
    np.testing.assert_array_equal(
        made(snr=1.0, **_everything()).stack, -made(snr=1.0, dark=True, **_everything()).stack
    )


def test_the_truth_is_read_back(made: Maker, tmp_path: Path) -> None:
    spoiled = made(snr=1.0, **_everything())
    truth = read_truth(spoiled.folder)
    np.testing.assert_array_equal(truth.images.empty, truth.contrast == 0)
    assert truth.images.empty.dtype == np.bool_ and truth.images.micrograph.dtype == np.int64
    assert np.isfinite(truth.images.blob_x_pixels).sum() == truth.images.blob.sum() == 8
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "images.txt").write_text("# rot_deg tilt_deg\n1 2\n")
    with pytest.raises(InvalidInput, match=r"images\.txt, row 1: columns rot_deg tilt_deg"):
        read_image_truth(tmp_path)


def test_euler_angles_are_those_of_the_matrix() -> None:
    angles = np.concatenate([
        optics.draw_angles(200, np.random.default_rng(0)),
        [[10, 0, 20], [10, 180, 20], [-170, 0, 0], [0, 90, -90], [30, 1e-5, 40], [30, 180 - 1e-5, 40]],
    ])  # fmt: skip
    matrices = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(optics.rotation_matrices(angles), matrices, atol=1e-12)
    np.testing.assert_allclose(optics.rotation_matrices(optics.euler_angles(matrices)), matrices, atol=3e-8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"empty_share": 1.2}, "empty share of 1.2"),
        ({"blob_share": -0.1}, "blob share of -0.1"),
        ({"kept_view_share": 2.0}, "kept view share of 2"),
        ({"bad_pose_share": float("nan")}, "bad pose share of nan"),
        ({"empty_share": 0.6, "carbon_edge_share": 0.5}, r"add up to 1\.1"),
        ({"rotation_error_deg": -2.0}, "rotation error deg of -2"),
        ({"defocus_error_angstrom": float("inf")}, "defocus error angstrom of inf"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Nuisances(**values)


def test_a_magnified_particle_must_fit_the_box(tmp_path: Path) -> None:
    options = SimulationOptions(n_images=10, box=32, pixel_size_angstrom=8.0, nuisances=Nuisances(magnification_sd=0.2))
    with pytest.raises(InvalidInput, match="smaller --magnification-error"):
        simulate(tmp_path / "a", BUILT_IN["homogeneous"](1), options)
    assert not (tmp_path / "a").exists()
