"""The signs and frames of aberrations are RELION's: its own projections and reconstructions decide."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from microscope import Microscope, Specimen, radial, write_set, write_stack

from covaria.particles.stacks.mrc import map_images, read_header

ABSENT = shutil.which("relion_project") is None or shutil.which("relion_reconstruct") is None
pytestmark = pytest.mark.skipif(ABSENT, reason="RELION is not installed")
BOX, PIXEL = 32, 4.0
MATRIX = ((1.03, 0.04), (-0.01, 0.98))
MAGNIFIED = tuple((f"MagMat{i}{j}", str(MATRIX[i][j])) for i in (0, 1) for j in (0, 1))
EVEN = {(0, 0): 0.3, (-2, 2): 50.0, (0, 2): -4.0, (2, 2): 60.0, (-4, 4): 900.0, (-2, 4): 500.0, (0, 4): -700.0,
        (2, 4): 400.0, (4, 4): 600.0}  # fmt: skip
ODD = {(-1, 1): 1.0, (1, 1): 2.0, (-3, 3): 300.0, (-1, 3): -250.0, (1, 3): 200.0, (3, 3): 150.0}


def listed(terms):
    return "[" + ",".join(map(str, terms.values())) + "]"


def relion(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def fourier_agreement(first, second):
    """Correlation of two volumes inside two thirds of the band."""
    k = np.fft.fftfreq(BOX, 1 / BOX)
    inside = k[:, None, None] ** 2 + k[:, None] ** 2 + k**2 < (BOX / 3) ** 2
    a, b = np.fft.fftn(first)[inside], np.fft.fftn(second)[inside]
    return float(np.vdot(a, b).real / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def specimen():
    return Specimen.drawn(200, spread=14.0)


def test_even_phases_are_those_of_its_projections(tmp_path):
    """relion_project applies even Zernike terms to the CTF."""
    few = Specimen.drawn(4, spread=14.0)
    optics = Microscope(BOX, PIXEL, even=radial(EVEN), columns=(("EvenZernike", listed(EVEN)),))
    ours = few.images(optics)
    star = write_set(tmp_path, [(few, optics, ours)])
    write_stack(tmp_path / "volume.mrc", few.volume(BOX, PIXEL), PIXEL)
    relion(tmp_path, "relion_project", "--i", "volume.mrc", "--ang", star.name, "--o", "seen", "--ctf",
           "--angpix", str(PIXEL), "--pad", "2")  # fmt: skip
    theirs = np.asarray(map_images(read_header(tmp_path / "seen.mrcs")))
    plain = few.images(Microscope(BOX, PIXEL))
    assert np.linalg.norm(theirs - ours) < 0.06 * np.linalg.norm(ours)
    assert np.linalg.norm(theirs - plain) > 0.3 * np.linalg.norm(ours)


@pytest.mark.parametrize(
    ("optics", "wrong"),
    [
        (
            Microscope(BOX, PIXEL, odd=radial(ODD), columns=(("OddZernike", listed(ODD)),)),
            {"odd": radial({name: -c for name, c in ODD.items()})},
        ),
        (
            Microscope(BOX, PIXEL, matrix=MATRIX, columns=MAGNIFIED),
            {"matrix": tuple(map(tuple, np.linalg.inv(MATRIX)))},
        ),
        (
            Microscope(BOX, PIXEL, matrix=MATRIX, odd=radial(ODD), even=radial(EVEN),
                       columns=(*MAGNIFIED, ("OddZernike", listed(ODD)), ("EvenZernike", listed(EVEN)))),
            {"odd": radial({name: -c for name, c in ODD.items()})},
        ),
        (
            Microscope(BOX, PIXEL, odd=lambda x, y: -tilt(x, y), columns=(("BeamTiltX", "60"), ("BeamTiltY", "-40"))),
            {"odd": lambda x, y: tilt(x, y)},
        ),
    ],
    ids=["odd", "magnification", "all", "beam tilt"],
)  # fmt: skip
def test_its_reconstruction_undoes_our_images(specimen, tmp_path, optics, wrong):
    """relion_reconstruct takes the columns out again: what is left is the particle, and not so with the other sign."""
    truth = specimen.volume(BOX, PIXEL)
    found = []
    for seen in (optics, Microscope(**{**optics.__dict__, **wrong})):
        star = write_set(tmp_path, [(specimen, optics, specimen.images(seen))])
        relion(tmp_path, "relion_reconstruct", "--i", star.name, "--o", "map.mrc", "--ctf")
        found.append(fourier_agreement(np.asarray(map_images(read_header(tmp_path / "map.mrc"))), truth))
    assert found[0] > 0.99
    assert found[1] < found[0] - 0.005, found


def tilt(x, y):
    length = 12.2643247 / np.sqrt(3e5 * (1 + 0.978466e-6 * 3e5))
    return 2e-3 * np.pi * 2.7e7 * length**2 * (x**2 + y**2) * (60 * x - 40 * y)
