"""ro-crate-metadata.json: OUT as an RO-Crate (https://w3id.org/ro/crate/1.1), after the Process Run Crate profile.

What was read, with its sums; what was asked for, option by option, the seed among them; with which version of Covaria,
in which image, on which Python and torch; what was made, file by file, with its sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from covaria.tree.entry import find
from covaria.tree.paths import Tree

CRATE, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
ENTITY = Mapping[str, Any]
FORMATS = {
    ".mrc": "image/x-mrc", ".mrcs": "image/x-mrc", ".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif",
    ".csv": "text/csv", ".txt": "text/plain", ".log": "text/plain", ".html": "text/html", ".json": "application/json",
    ".star": "text/x-star", ".npy": "application/x-npy", ".npz": "application/x-npz", ".pkl": "application/x-pickle",
    ".parquet": "application/vnd.apache.parquet", ".cxc": "text/plain", ".cs": "application/x-npy",
}  # fmt: skip
STATUS = {
    "succeeded": "http://schema.org/CompletedActionStatus",
    "failed": "http://schema.org/FailedActionStatus",
    "cancelled": "http://schema.org/FailedActionStatus",
    "running": "http://schema.org/ActiveActionStatus",
    "queued": "http://schema.org/PotentialActionStatus",
}
SOFTWARE, ACTION, LICENCE = "#covaria", "#run", "#licence"


def crate(document: Mapping[str, Any], sums: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The metadata file of the OUT whose job.json is `document`; `sums` {size, sha256} of its files by name."""
    files = [_file(name, known) for name, known in sorted(sums.items())]
    inputs = [_input(entry) for entry in document["inputs"]]
    options = list(_options(document["parameters"]))
    surroundings = list(_surroundings(document))
    action = _action(document, files, [*inputs, *options], surroundings)
    graph = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "conformsTo": {"@id": CRATE},
            "about": {"@id": "./"},
        },
        _root(document, [*files, *inputs]),
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        _software(document),
        {
            "@id": LICENCE,
            "@type": "CreativeWork",
            "name": "not stated",
            "description": "Whoever owns the data decides: put the licence here before this is published.",
        },
        action,
        *files, *inputs, *options, *surroundings,
    ]  # fmt: skip
    return {"@context": CONTEXT, "@graph": graph}


def _root(document: Mapping[str, Any], files: Sequence[ENTITY]) -> dict[str, Any]:
    headline = document.get("findings", {}).get("headline", "Conformations of a molecule from its particle images.")
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Covaria run of {Path(document['parameters']['ingest']['particles']).name}",
        "description": headline,
        "datePublished": (document["timing"]["completed_at"] or document["submitted_at"]),
        "license": {"@id": LICENCE},
        "conformsTo": {"@id": PROFILE},
        "hasPart": _references(files),
        "mentions": {"@id": ACTION},
    }


def _software(document: Mapping[str, Any]) -> dict[str, Any]:
    version = document["covaria_version"]
    return {
        "@id": SOFTWARE,
        "@type": "SoftwareApplication",
        "name": "Covaria",
        "description": "Heterogeneity of single particles in cryo-electron microscopy.",
        "softwareVersion": version,
        "version": version,
        "url": "https://pypi.org/project/covaria/",
    }


def _action(
    document: Mapping[str, Any], made: Sequence[ENTITY], read: Sequence[ENTITY], surroundings: Sequence[ENTITY]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@id": ACTION,
        "@type": "CreateAction",
        "name": f"covaria {document['command']}",
        "description": document["command_line"],
        "identifier": document["job_id"],
        "instrument": {"@id": SOFTWARE},
        "object": _references([*read, *surroundings]),
        "result": _references(made),
        "actionStatus": {"@id": STATUS[document["status"]]},
    }
    timing = document["timing"]
    found |= {"startTime": timing["started_at"]} if timing["started_at"] else {}
    found |= {"endTime": timing["completed_at"]} if timing["completed_at"] else {}
    found |= {"error": document["error"]["message"]} if document.get("error") else {}
    return found


def _file(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    path = Path(name)
    row = find(Tree, name)
    entity = {
        "@id": path.as_uri() if path.is_absolute() else name,
        "@type": "File",
        "name": path.name,
        "description": row.meaning if row is not None else "",
        "contentSize": str(known["size"]),
        "sha256": known["sha256"],
        "encodingFormat": FORMATS.get(path.suffix, "application/octet-stream"),
    }
    return {key: value for key, value in entity.items() if value}


def _input(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An input file where it lay; image stacks have no sum, they are large."""
    path = Path(entry["path"])
    form = FORMATS.get(path.suffix, "application/octet-stream")
    entity = {"@id": path.as_uri(), "@type": "File", "name": path.name, "encodingFormat": form}
    entity |= {"contentSize": str(entry["size"])} if "size" in entry else {}
    return entity | ({"sha256": entry["sha256"]} if "sha256" in entry else {})


def _options(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every option and its value, also those that nobody gave."""
    for name, value in request.items():
        if isinstance(value, Mapping):
            for option in _options(value):
                inner = f"{name}.{option['name']}"
                yield {**option, "@id": f"#option-{inner}", "name": inner}
        else:
            yield _property(f"#option-{name}", name, value)


def _surroundings(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, value in document["environment"].items():
        yield _property(f"#environment-{name}", name, value)


def _property(identifier: str, name: str, value: object) -> dict[str, Any]:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return {"@id": identifier, "@type": "PropertyValue", "name": name, "value": text}


def _references(entities: Sequence[ENTITY]) -> list[dict[str, Any]]:
    return [{"@id": entity["@id"]} for entity in entities]
