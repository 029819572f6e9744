"""The same numbers as cryoDRGN 4.3.1 for the same files.

cryoDRGN's -D and --Apix replace what the file says; ours only fill what it lacks. Where a golden file was made with
them, the column that they replace is taken out of the STAR file first.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from covaria.particles.cryodrgn.export import ctf_table, pose_tables
from covaria.particles.metadata import Metadata
from covaria.particles.read import read_metadata
from covaria.request.model import IngestOptions

TOLERANCE = 4e-6

CASES = [
    ("cryodrgn/FinalRefinement-OriginalParticles-PfCRT.star", "D300", {"box": 300, "amplitude_contrast": 0.1}),
    ("cryodrgn/FinalRefinement-OriginalParticles-PfCRT.star", "D128", {"box": 128, "amplitude_contrast": 0.1}),
    *[
        case
        for name in ("relion31.star", "relion31.v2.star")
        for case in (
            (f"cryodrgn/{name}", "noargs", {}),
            (f"cryodrgn/{name}", "D128", {"box": 128}),
            (f"cryodrgn/{name}", "Apix1.5", {"pixel_size": 1.5}),
            (f"cryodrgn/{name}", "D256_Apix3", {"box": 256, "pixel_size": 3.0}),
        )
    ],
    ("cryodrgn/empiar_10076_7.star", "D320", {"box": 320, "pixel_size": 1.31}),
    ("aspire/rln_proj_64_centered.star", "noargs", {}),
    ("aspire/rln_proj_64_shifted.star", "noargs", {}),
    ("simplecryoem/pyem_onerow.star", "noargs", {}),
    ("cryodrgn/cryosparc_P12_J24_001_particles.cs", "D180", {}),
    ("cryodrgn/cryosparc_P12_J24_001_particles.cs", "noargs", {}),
    ("cryodrgn/cryosparc_P12_J24_001_particles.cs", "D90_Apix5.9", {}),  # cryoDRGN ignores both for .cs
    ("cryodrgn/empiar_10076_7.cs", "noargs", {}),
]
REPLACED = {"box": "_rlnImageSize", "pixel_size": "_rlnImagePixelSize"}


def without_column(text: str, label: str) -> str:
    """The STAR text with one optics column taken out."""
    before, optics = text.split("data_optics", 1)
    labels = [line.split()[0] for line in optics.split("data_")[0].splitlines() if line.startswith("_")]
    if label not in labels:
        return text
    lines = []
    inside = True
    for line in optics.splitlines():
        words = line.split()
        inside = inside and not line.startswith("data_")
        if inside and words and words[0] == label:
            continue
        if inside and len(words) == len(labels):
            del words[labels.index(label)]
            line = " ".join(words)
        lines.append(line)
    return before + "data_optics" + "\n".join(lines) + "\n"


def metadata_of(path: Path, given: dict, folder: Path) -> Metadata:
    if path.suffix == ".star":
        text = path.read_text()
        for option in given:
            if option in REPLACED and "data_optics" in text:
                text = without_column(text, REPLACED[option])
        path = folder / path.name
        path.write_text(text)
    return read_metadata(IngestOptions(particles=path, **given)).metadata


@pytest.mark.parametrize(("name", "options", "given"), CASES)
def test_poses_and_ctf_equal_those_of_cryodrgn(shared_data, tmp_path, name, options, given):
    folder, file = name.split("/")
    metadata = metadata_of(shared_data(folder, file), given, tmp_path)
    stem = f"{folder}__{file}__{options}"
    compared = 0
    golden = shared_data("golden") / f"{stem}.pose.pkl"
    if golden.exists():
        rotations, translations = pickle.loads(golden.read_bytes())
        ours = pose_tables(metadata, metadata.box, metadata.pixel_size_angstrom)
        np.testing.assert_allclose(ours[0], rotations, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(ours[1], translations, rtol=0, atol=TOLERANCE)
        compared += 1
    golden = shared_data("golden") / f"{stem}.ctf.pkl"
    if golden.exists():
        expected = pickle.loads(golden.read_bytes())
        ours = ctf_table(metadata, metadata.box, metadata.pixel_size_angstrom)
        if "phase_shift_rad" not in metadata.ctf:
            assert np.isnan(expected[:, 8]).all()
            expected[:, 8] = 0.0  # absent: cryoDRGN writes NaN, we 0
        np.testing.assert_allclose(ours, expected, rtol=TOLERANCE, atol=TOLERANCE)
        compared += 1
    assert compared


def test_no_golden_parse_is_left_out(shared_data):
    """Each golden table belongs to a case above, or to the two ASPIRE cases whose pixel size contradicts the file."""
    known = {f"{name.replace('/', '__')}__{options}" for name, options, _ in CASES}
    known |= {f"aspire__rln_proj_64_{kind}.star__D64" for kind in ("centered", "shifted")}
    found = {re.sub(r"\.(pose|ctf)\.pkl$", "", path.name) for path in shared_data("golden").glob("*.pkl")}
    assert found <= known


@pytest.mark.parametrize("kind", ["centered", "shifted"])
def test_a_pixel_size_in_place_of_the_files_own_equals_cryodrgn(shared_data, tmp_path, kind):
    name = f"rln_proj_64_{kind}.star"
    text = without_column(shared_data("aspire", name).read_text(), "_rlnImagePixelSize")
    (tmp_path / name).write_text(text)
    metadata = read_metadata(IngestOptions(particles=tmp_path / name, pixel_size=1.338)).metadata
    rotations, translations = pickle.loads((shared_data("golden") / f"aspire__{name}__D64.pose.pkl").read_bytes())
    expected = pickle.loads((shared_data("golden") / f"aspire__{name}__D64.ctf.pkl").read_bytes())
    expected[:, 8] = 0.0
    ours = pose_tables(metadata, 64, 1.338)
    np.testing.assert_allclose(ours[0], rotations, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours[1], translations, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ctf_table(metadata, 64, 1.338), expected, rtol=TOLERANCE)


@pytest.mark.parametrize(("first", "pose", "ctf"), [(200, "pose.cs.pkl", "ctf2.pkl")])
def test_cs_equals_the_tables_that_cryodrgn_ships(shared_data, first, pose, ctf):
    metadata = read_metadata(IngestOptions(particles=shared_data("variants", "cs_base.cs"))).metadata
    rotations, translations = pickle.loads(shared_data("cryodrgn", pose).read_bytes())
    ours = pose_tables(metadata, metadata.box, metadata.pixel_size_angstrom)
    np.testing.assert_allclose(ours[0], rotations[:first], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours[1], translations[:first], rtol=0, atol=TOLERANCE)
    expected = pickle.loads(shared_data("cryodrgn", ctf).read_bytes())[:first]
    table = ctf_table(metadata, metadata.box, metadata.pixel_size_angstrom)
    np.testing.assert_allclose(table, expected, rtol=TOLERANCE, atol=TOLERANCE)
