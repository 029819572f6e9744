"""An image's Python packages as a CycloneDX bill of materials: names, versions and the wheels' hashes.

    python deploy/sbom.py SERVICE VERSION > sbom.cdx.json

They are those of docker/requirements, which pip alone may install (`--require-hashes`). What else is in an image
(Debian's packages) stands in the SBOM that BuildKit attaches to it.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[1] / "docker" / "requirements"
FILES = {
    "ingest": ("common", "ingest"),
    "density": ("common", "density"),
    "gateway": ("common", "gateway"),
    "reconstruction": ("common", "torch", "reconstruction"),
    "analysis": ("common", "torch", "reconstruction", "analysis"),
}
"""Service -> what its target in docker/Dockerfile installs."""
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def components(service: str) -> list[dict[str, Any]]:
    """Each package once, by name. Raises ValueError for a line that is no pinned and hashed package."""
    found: dict[str, dict[str, Any]] = {}
    for file in FILES[service]:
        text = (REQUIREMENTS / f"{file}.txt").read_text()
        entries = list(ENTRY.finditer(text))
        if len(entries) != len(re.findall(r"^[^#\s]", text, flags=re.MULTILINE)):
            raise ValueError(f"{file}.txt: a line is no package with version and hashes (`make requirements`)")
        for name, version, hashes in (entry.groups() for entry in entries):
            reference = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
            sums = [{"alg": "SHA-256", "content": content} for content in re.findall(r"[0-9a-f]{64}", hashes)]
            found[name] = {
                "type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference,
                "hashes": sums,
            }  # fmt: skip
    return [found[name] for name in sorted(found)]


def bill(service: str, version: str) -> dict[str, Any]:
    """The document; the same for the same image."""
    parts = components(service)
    image = {"type": "container", "bom-ref": "image", "name": f"covaria-{service}", "version": version}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([image, parts]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": image},
        "components": parts,
    }


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in FILES:
        sys.exit(f"deploy/sbom.py SERVICE VERSION: SERVICE is one of {', '.join(FILES)}")
    print(json.dumps(bill(*sys.argv[1:]), indent=2))
