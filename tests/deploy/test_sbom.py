"""Bills of materials: valid by CycloneDX's own schema, and of just the packages that an image may install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import sbom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from deployment import REPOSITORY

from covaria.request.stages import STAGES

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@pytest.mark.parametrize("service", sbom.FILES)
def test_a_bill_is_valid_and_names_what_pip_may_install(service: str) -> None:
    words = [sys.executable, REPOSITORY / "deploy" / "sbom.py", service, "1.2.3"]
    text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert VALIDATOR.validate_str(text) is None
    assert json.loads(text) == sbom.bill(service, "1.2.3"), "the same image, the same bill"
    listed = {component["name"]: component for component in json.loads(text)["components"]}
    for file in sbom.FILES[service]:
        lines = (REPOSITORY / "docker" / "requirements" / f"{file}.txt").read_text()
        for name, version in re.findall(r"^([^#\s=]+)==(\S+)", lines, flags=re.MULTILINE):
            assert listed[name]["version"] == version and listed[name]["hashes"]


def test_the_dockerfile_installs_those_files() -> None:
    assert set(sbom.FILES) == {*STAGES, "gateway"}
    stages = re.split(r"^FROM ", (REPOSITORY / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    found: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        base, name = re.match(r"(\S+) AS (\w+)", stage).groups()  # type: ignore[union-attr]
        own = re.findall(r"--require-hashes .*--requirement /build/(\w+)\.txt", stage)
        found[name] = (*found.get(base, ()), *(file for file in own if file != "build"))
    assert {service: found[service] for service in sbom.FILES} == sbom.FILES


@pytest.mark.parametrize(
    "change",
    [{"bomFormat": "SPDX"}, {"serialNumber": "1"}, {"components": [{"type": "library"}]},
     {"components": [{"type": "library", "name": "a", "hashes": [{"alg": "SHA-256", "content": "xyz"}]}]}],
)  # fmt: skip
def test_the_schema_refuses_what_is_no_bill(change: dict[str, Any]) -> None:
    assert VALIDATOR.validate_str(json.dumps(sbom.bill("ingest", "1") | change)) is not None


def test_a_package_without_hashes_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("common", "ingest"):
        (tmp_path / f"{file}.txt").write_text("numpy==2.0\n")
    monkeypatch.setattr(sbom, "REQUIREMENTS", tmp_path)
    with pytest.raises(ValueError, match=r"common\.txt: a line is no package with version and hashes"):
        sbom.components("ingest")
