"""Aberrated images, read: the same pixels and the same CTF as without the aberration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from microscope import Microscope, Specimen, radial, wavelength, write_set

from covaria.errors import InvalidInput
from covaria.imaging.images import read_images
from covaria.imaging.recorded import contradictions
from covaria.particles import read_particles
from covaria.request.model import IngestOptions

ODD = {(-1, 1): 1.0, (1, 1): 2.0, (-3, 3): 60.0, (-1, 3): -50.0, (1, 3): 40.0, (3, 3): 30.0}
EVEN = {(0, 0): 0.3, (-2, 2): 5.0, (0, 2): -4.0, (2, 2): 6.0, (-4, 4): 200.0, (-2, 4): 100.0, (0, 4): -150.0,
        (2, 4): 80.0, (4, 4): 120.0}  # fmt: skip
"""In RELION's order."""
MATRIX = ((1.03, 0.04), (-0.01, 0.98))


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return Specimen.drawn(8)


def listed(terms: dict[tuple[int, int], float]) -> str:
    return "[" + ",".join(map(str, terms.values())) + "]"


def tilted(x_mrad: float, y_mrad: float, kv: float = 300.0, cs: float = 2.7):
    """RELION's sign (tests/optics/test_relion.py)."""
    size = -2e-3 * np.pi * cs * 1e7 * wavelength(kv) ** 2
    return lambda x, y: size * (x**2 + y**2) * (x_mrad * x + y_mrad * y)


TILT = (("BeamTiltX", "8"), ("BeamTiltY", "-5"))
CASES = {
    "odd": Microscope(odd=radial(ODD), columns=(("OddZernike", listed(ODD)),)),
    "tilt": Microscope(odd=tilted(8, -5), columns=TILT),
    "both": Microscope(
        odd=lambda x, y: tilted(8, -5)(x, y) + radial(ODD)(x, y), columns=(*TILT, ("OddZernike", listed(ODD)))
    ),
    "even": Microscope(even=radial(EVEN), columns=(("EvenZernike", listed(EVEN)),)),
    "flipped": Microscope(applied=1, columns=(("CtfDataArePhaseFlipped", "1"),)),
    "magnified too": Microscope(
        matrix=MATRIX,
        odd=radial(ODD),
        even=radial(EVEN),
        columns=(
            *((f"MagMat{i}{j}", str(MATRIX[i][j])) for i in (0, 1) for j in (0, 1)),
            ("OddZernike", listed(ODD)),
            ("EvenZernike", listed(EVEN)),
        ),
    ),
    "200 kV": Microscope(kv=200, cs=1.4, odd=tilted(8, -5, 200, 1.4), columns=TILT),
}


def loaded(star, **options):
    """Pixels (N, n) of the set in grey levels, their CTF (N, n), and the plane."""
    images = read_images(read_particles(IngestOptions(particles=star, **options)))
    slots = np.argsort(images.mine)
    pixels = torch.view_as_complex(images.store.take(slots, len(images.plane), images.device)) * images.scale
    return pixels.numpy(), images.ctf.evaluate(np.arange(len(images)), images.plane).numpy(), images.plane


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def expected_of(specimen: Specimen, optics: Microscope, tmp_path):
    """Pixels of centred images under the same CTF and nothing else, and that CTF."""
    bare = Microscope(box=optics.box, pixel_size=optics.pixel_size, kv=optics.kv, cs=optics.cs, even=optics.even)
    star = write_set(tmp_path / "bare", [(specimen, bare, specimen.images(bare))])
    return loaded(star)[0]


@pytest.mark.parametrize("case", CASES)
def test_an_aberration_is_undone(specimen, tmp_path, case):
    optics = CASES[case]
    star = write_set(tmp_path / "set", [(specimen, optics, specimen.images(optics))])
    pixels, ctf, plane = loaded(star)
    assert difference(pixels, expected_of(specimen, optics, tmp_path)) < (0.01 if "magnified" in case else 1e-4)
    x, y = plane.kx / (64 * 2.0), plane.ky / (64 * 2.0)
    for row in range(len(ctf)):
        np.testing.assert_allclose(ctf[row], specimen._ctf(row, optics, x, y), atol=2e-3)


def test_an_aberration_matters(specimen, tmp_path):
    """The cases above would not pass unread: without its columns each set is far from the plain one."""
    for optics in CASES.values():
        unsaid = Microscope(kv=optics.kv, cs=optics.cs)
        star = write_set(tmp_path / "set", [(specimen, unsaid, specimen.images(optics))])
        plain = write_set(tmp_path / "plain", [(specimen, unsaid, specimen.images(unsaid))])
        assert difference(loaded(star)[0], loaded(plain)[0]) > 0.05


def test_premultiplied_images_are_divided(specimen, tmp_path):
    """With noise, that was multiplied too: all but what lies where nothing is seen comes back."""
    rng = np.random.default_rng(1)
    said = (("CtfDataAreCtfPremultiplied", "1"),)
    optics = Microscope()
    noise = rng.normal(0, 1, (8, 64, 64)).astype(np.float32)
    recorded = specimen.images(optics) + noise
    plain = write_set(tmp_path / "plain", [(specimen, optics, recorded)])
    x, y = np.meshgrid(np.arange(33) / 128, np.fft.fftfreq(64) / 2)
    ctf = np.stack([specimen._ctf(row, optics, x, y) for row in range(8)])
    multiplied = np.fft.irfft2(np.fft.rfft2(recorded) * ctf, s=(64, 64)).astype(np.float32)
    star = write_set(tmp_path / "set", [(specimen, Microscope(columns=said), multiplied)])
    found, ctf_found, _ = loaded(star)
    expected, seen = loaded(plain)[0], np.abs(ctf_found) > 0.051
    assert difference(found[seen], expected[seen]) < 1e-3
    assert np.mean(np.abs(found) ** 2) / np.mean(np.abs(expected) ** 2) == pytest.approx(1, abs=0.03)


def test_scale_and_b_factor_of_each_particle(specimen, tmp_path):
    rng = np.random.default_rng(2)
    scale, b_factor = rng.uniform(0.5, 1.5, 8).round(4), rng.uniform(0, 60, 8).round(3)
    optics = Microscope()
    star = write_set(tmp_path / "set", [(specimen, optics, specimen.images(optics, scale, b_factor))],
                     {"CtfScalefactor": scale, "CtfBfactor": b_factor})  # fmt: skip
    pixels, ctf, plane = loaded(star)
    bare, bare_ctf, _ = loaded(write_set(tmp_path / "bare", [(specimen, optics, specimen.images(optics))]))
    s2 = (plane.kx**2 + plane.ky**2) / 128.0**2
    envelope = scale[:, None] * np.exp(-b_factor[:, None] * s2 / 4)
    np.testing.assert_allclose(ctf, bare_ctf * envelope, atol=1e-4)
    assert difference(pixels, bare * envelope) < 1e-4


def test_groups_differ(specimen, tmp_path):
    """Each row has its group's phases."""
    kinds = [CASES["odd"], CASES["200 kV"], CASES["even"]]
    sets = [(specimen.take(rows), optics, specimen.take(rows).images(optics))
            for rows, optics in zip((slice(0, 3), slice(3, 5), slice(5, 8)), kinds, strict=True)]  # fmt: skip
    columns = sorted({label for _, optics, _ in sets for label, _ in optics.columns})
    neutral = {label: "[0]" if "Zernike" in label else "0" for label in columns}
    said = [(s, Microscope(kv=o.kv, cs=o.cs, columns=tuple((neutral | dict(o.columns)).items())), i)
            for s, o, i in sets]  # fmt: skip
    pixels = loaded(write_set(tmp_path / "set", said))[0]
    start = 0
    for part, optics, images in sets:
        expected = expected_of(part, optics, tmp_path)
        assert difference(pixels[start : start + len(images)], expected) < 1e-4
        start += len(images)


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("CtfDataAreCtfPremultiplied", "2", "neither 0 nor 1"),
        ("CtfDataArePhaseFlipped", "nan", "neither 0 nor 1"),
        ("BeamTiltX", "nan", "not finite"),
        ("OddZernike", "[1,inf]", "not a list of coefficients"),
    ],
)
def test_what_makes_no_sense_is_refused(specimen, tmp_path, column, value, found):
    optics = Microscope(columns=((column, value),))
    star = write_set(tmp_path / "set", [(specimen, optics, specimen.images(Microscope()))])
    with pytest.raises(InvalidInput, match=found) as refused:
        read_particles(IngestOptions(particles=star))
    assert column in str(refused.value) and "row 1" in str(refused.value)


def test_flipped_and_premultiplied_contradict(specimen, tmp_path):
    said = (("CtfDataArePhaseFlipped", "1"), ("CtfDataAreCtfPremultiplied", "1"))
    star = write_set(tmp_path / "set", [(specimen, Microscope(columns=said), specimen.images(Microscope()))])
    with pytest.raises(InvalidInput, match="phase-flipped and multiplied"):
        read_particles(IngestOptions(particles=star))


def test_a_name_that_the_power_contradicts_is_spoken_of(tmp_path):
    """Plain images said to be multiplied, multiplied ones said to be plain, and both as they are."""
    many = Specimen.drawn(40)
    rng = np.random.default_rng(7)
    plain = many.images(Microscope()) + rng.normal(0, 3, (40, 64, 64)).astype(np.float32)
    x, y = np.meshgrid(np.arange(33) / 128, np.fft.fftfreq(64) / 2)
    ctf = np.stack([many._ctf(row, Microscope(), x, y) for row in range(40)])
    multiplied = np.fft.irfft2(np.fft.rfft2(plain) * ctf, s=(64, 64)).astype(np.float32)
    for images, flag, words in (
        (plain, "0", None),
        (multiplied, "1", None),
        (plain, "1", "are said to be multiplied by their CTF"),
        (multiplied, "0", "as if they had been multiplied by it"),
    ):
        optics = Microscope(columns=(("CtfDataAreCtfPremultiplied", flag),))
        found = contradictions(read_particles(IngestOptions(particles=write_set(tmp_path, [(many, optics, images)]))))
        assert len(found) == (words is not None), (flag, found)
        assert words is None or words in found[0]
