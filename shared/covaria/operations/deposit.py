"""Drafts for EMDB and EMPIAR of a finished run: what the run knows is filled in, four fields are left for a person.

empiar.json follows EMPIAR's deposition schema (empiar-depositor 1.6); emdb.json holds what EMDB's form asks for;
fsc.xml is EMDB's form of an FSC curve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import covaria
from covaria.errors import InvalidInput
from covaria.maps import read_volume, resolution_at
from covaria.maps.masks import otsu_threshold
from covaria.particles import Particles, StackImages
from covaria.particles.stacks.mrc import read_header
from covaria.results.parameters import Parameters, read_parameters
from covaria.tree import DepositTree, Tree, atomic, record
from covaria.tree.sums import sum_of

TO_FILL = "TO FILL"
WORDS = {
    "title": "the entry's title, 10 to 255 characters",
    "sample": "what was imaged: name of the molecule and its source organism",
    "authors": "Surname, Initials; Surname, Initials ...",
    "contact": "First name | Surname | organisation | town | postcode | country code | e-mail",
}
VOXELS = {"int8": "T2", "uint16": "T3", "int16": "T4", "float32": "T7"}
CONTACT = ("first_name", "last_name", "organization", "town_or_city", "post_or_zip", "country", "email")


@dataclass(frozen=True)
class People:
    """The four fields that no run knows; None: left to be filled."""

    title: str | None = None
    sample: str | None = None
    authors: str | None = None
    contact: str | None = None

    @property
    def left(self) -> dict[str, str]:
        """What is still to be filled, and how."""
        return {entry.name: WORDS[entry.name] for entry in fields(self) if getattr(self, entry.name) is None}

    def author_names(self) -> list[str]:
        """EMPIAR's form of names. Raises InvalidInput."""
        if self.authors is None:
            return [f"('{TO_FILL}', 'X')"]
        found = []
        for author in self.authors.split(";"):
            surname, comma, initials = (part.strip() for part in author.partition(","))
            if not (surname and comma and initials):
                raise InvalidInput(f"--authors: {author.strip()!r} is no name", hint=WORDS["authors"])
            found.append(f"('{surname}', '{initials}')")
        return found

    def contact_entry(self) -> dict[str, str]:
        """Raises InvalidInput."""
        if self.contact is None:
            return dict.fromkeys(CONTACT, TO_FILL) | {"country": "GB"}  # a code the schema knows, to be filled too
        values = [part.strip() for part in self.contact.split("|")]
        if len(values) != len(CONTACT) or not all(values) or "@" not in values[-1]:
            raise InvalidInput(f"--contact: {self.contact!r} has not its seven parts", hint=WORDS["contact"])
        return dict(zip(CONTACT, values, strict=True))


def draft(tree: Tree, original: Particles, people: People, target: DepositTree) -> None:
    """Write the drafts of OUT's mean map and particles. Raises MissingFile, InvalidInput."""
    parameters = read_parameters(tree)
    atomic.write_json(target.emdb, emdb_entry(tree, original, parameters, people))
    atomic.write_json(target.empiar, empiar_entry(tree, original, people))
    atomic.write_text(target.fsc, fsc_xml(parameters))
    lines = [f"{name}: {how}" for name, how in people.left.items()] or ["nothing"]
    atomic.write_text(target.to_fill, "\n".join(lines) + "\n")


def emdb_entry(tree: Tree, original: Particles, parameters: Parameters, people: People) -> dict[str, Any]:
    """What EMDB asks for of a single-particle map."""
    document, ctf, used = record.job_document(tree), original.ctf, original.used
    defocus = 0.5 * (ctf.defocus_u_angstrom + ctf.defocus_v_angstrom)[used] / 1e4
    findings, asked = document.get("findings", {}), document["parameters"]["ingest"]
    states = sorted(tree.out.glob("analysis_*/kmeans/center???.mrc"))
    return {
        "title": people.title or TO_FILL,
        "authors": people.author_names(),
        "contact_author": people.contact_entry(),
        "sample": {"name": people.sample or TO_FILL},
        "map": _map(tree, tree.mean_filtered) | {"contour_level": _contour(tree)},
        "half_maps": [_map(tree, tree.mean_half(half)) for half in (1, 2)],
        "masks": [_map(tree, tree.mask)],
        "additional_maps": [_map(tree, path) for path in states],
        "microscopy": {
            "acceleration_voltage_kv": sorted(set(ctf.voltage_kv[used].tolist())),
            "nominal_cs_mm": sorted(set(ctf.spherical_aberration_mm[used].tolist())),
            "defocus_range_micrometre": [round(float(defocus.min()), 3), round(float(defocus.max()), 3)],
        },
        "image_processing": {
            "method": "SINGLE PARTICLE",
            "particles_selected": len(original),
            "particles_used": findings.get("used"),
            "point_symmetry": asked.get("symmetry") or "C1",
            "ctf_correction": "none" if asked.get("no_ctf") else "phases and amplitudes, in the reconstruction",
            "resolution_angstrom": resolution_at(parameters.mean_fsc, parameters.voxel_size),
            "resolution_method": "FSC 0.143 CUT-OFF",
            "software": [{"name": "Covaria", "version": covaria.__version__}],
            "details": findings.get("headline", ""),
        },
        "fsc_curve": "fsc.xml",
    }


def empiar_entry(tree: Tree, original: Particles, people: People) -> dict[str, Any]:
    """A deposition of the original particle images, valid by EMPIAR's schema."""
    title = people.title or f"{TO_FILL}: {WORDS['title']}"
    authors = [{"name": name, "order_id": k, "author_orcid": None} for k, name in enumerate(people.author_names())]
    contact = people.contact_entry()
    return {
        "title": title,
        "release_date": "EP",
        "experiment_type": 3,
        "scale": "1",
        "cross_references": [],
        "authors": authors,
        "corresponding_author": contact,
        "principal_investigator": [contact],
        "imagesets": [_image_set(tree, original, people)],
        "citation": [{"authors": authors, "published": False, "j_or_nj_citation": True, "title": title}],
    }


def _image_set(tree: Tree, original: Particles, people: People) -> dict[str, Any]:
    assert isinstance(original.images, StackImages)
    kind = read_header(original.images.paths[int(original.images.file[original.rows[0]])]).dtype.newbyteorder("=").name
    voxel = f"('{VOXELS[kind]}', '')" if kind in VOXELS else f"('OT', '{_in_words(kind)}')"
    return {
        "name": f"Particle images of {people.sample or TO_FILL}"[:200],
        "directory": "/data/particles",
        "category": "('T5', '')",
        "header_format": "('T2', '')",
        "data_format": "('T2', '')",
        "num_images_or_tilt_series": len(original),
        "frames_per_image": 1,
        "frame_range_min": None,
        "frame_range_max": None,
        "voxel_type": voxel,
        "pixel_width": round(float(original.pixel_size_angstrom), 5),
        "pixel_height": round(float(original.pixel_size_angstrom), 5),
        "image_width": original.box,
        "image_height": original.box,
        "details": f"Metadata: {original.source.name}, sha256 {sum_of(original.source)['sha256']}",
        "picked_particles_directory": "/data/particles",
    }


def _in_words(kind: str) -> str:
    return re.sub(r"([a-z]+)(\d+)", r"\2 BIT \1", kind).upper()


def _map(tree: Tree, path: Path) -> dict[str, Any]:
    values, pixel = read_volume(path)
    return {
        "file": path.relative_to(tree.out).as_posix(),
        "sha256": sum_of(path)["sha256"],
        "dimensions": list(values.shape),
        "pixel_spacing_angstrom": pixel,
        "data_type": "IMAGE STORED AS FLOATING POINT NUMBER (4 BYTES)",
        "statistics": {
            "minimum": float(values.min()), "maximum": float(values.max()), "average": float(values.mean()),
            "standard": float(values.std()),
        },
    }  # fmt: skip


def _contour(tree: Tree) -> dict[str, Any]:
    """Where density parts from the rest inside the mask (Otsu's threshold)."""
    values, mask = read_volume(tree.mean_filtered)[0], read_volume(tree.mask)[0]
    return {"level": round(otsu_threshold(values[mask > 0.5]), 6), "source": "SOFTWARE"}


def fsc_xml(parameters: Parameters) -> str:
    """EMDB's form: spatial frequency in 1/angstrom against the correlation inside the mask."""
    box = parameters.volume_shape[0]
    frequency = np.arange(len(parameters.mean_fsc)) / (box * parameters.voxel_size)
    points = [
        f"  <coordinate>\n    <x>{x:.6f}</x>\n    <y>{y:.6f}</y>\n  </coordinate>"
        for x, y in zip(frequency, parameters.mean_fsc, strict=True)
    ]
    head = '<fsc title="FSC of the half-maps" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *points, "</fsc>", ""])
