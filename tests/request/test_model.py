"""One model says everything: what a request's JSON is, what it refuses, and that no path in it can go unseen."""

from __future__ import annotations

import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from covaria.messages.envelope import BadMessage, unseal
from covaria.reference.export import work_schema
from covaria.request.identity import job_identity, stage_fingerprint
from covaria.request.model import MASK_WORDS, ReconstructionOptions, Request
from covaria.request.options import InputFile, Kind, Option, Part, declared, option_of, path_kind
from covaria.request.paths import absolute, input_files, named_paths
from covaria.tree.sums import inputs_of

GOLDEN = Path(__file__).parent / "golden"
NEWER = {
    "class_number",
    "defocus_errors",
    "focus_parts",
    "motion_weights",
    "name",
    "no_ctf",
    "path_spacing",
    "refine_poses",
    "sensitivity",
}
"""Options since then; a request that does not use them is what it was."""
REQUESTS: dict[str, Any] = json.loads((GOLDEN / "0.1.0-requests.json").read_text())
EVERY = Request.model_validate(REQUESTS["every_option"]["given"])


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_request_is_what_it_was_in_the_first_release(name: str) -> None:
    """Its JSON, its job's id and its stages' fingerprints: a finished run is known again."""
    golden = REQUESTS[name]
    request = Request.model_validate(golden["given"])
    assert json.dumps(request.model_dump(mode="json")) == json.dumps(golden["json"])
    assert job_identity(request) == golden["job"]
    assert {stage: stage_fingerprint(stage, request) for stage in golden["stages"]} == golden["stages"]
    assert Request.model_validate_json(request.model_dump_json()) == request


def test_the_schema_differs_from_the_first_release_by_bounds_alone() -> None:
    bounds = {"minimum", "maximum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"}

    def reduced(value: Any, old: Any, named: bool = False) -> Any:
        """Without bounds, and without the options and models that came since: what does not use them is what it was."""
        if isinstance(value, dict):
            return {
                name: reduced(item, old.get(name, {}), name in ("properties", "$defs"))
                for name, item in value.items()
                if name not in bounds and (name in old or not named)
            }
        if isinstance(value, list):
            return [reduced(one, before) for one, before in zip_longest(value, old, fillvalue={})]
        return value

    released = json.loads((GOLDEN / "0.1.0-work.schema.json").read_text())
    assert json.dumps(reduced(work_schema(), released)) == json.dumps(reduced(released, released))


# ---- paths
def test_the_walk_finds_every_path_with_its_kind() -> None:
    kinds = {name: path_kind(field) for name, field in declared(Request).items()}
    newer = EVERY.reconstruction.model_copy(
        update={"focus_parts": (Path("/data/part.mrc"),), "motion_weights": Path("/data/w.mrc")}
    )
    later = {"tomograms": Path("/data/tomograms.star"), "grown_from": Path("/data/out/.covaria/growth/memory.npz")}
    ingest = EVERY.ingest.model_copy(update=later)
    every = named_paths(EVERY.model_copy(update={"reconstruction": newer, "ingest": ingest}))
    assert {name for name, kind in kinds.items() if kind is not None} == {named.option for named in every}
    assert {(named.option, named.kind) for named in every} <= set(kinds.items())
    assert [named.option for named in every if named.kind is Kind.OUTPUT] == ["out", "analysis.output"]


def _part(annotation: Any) -> type[Part]:
    return type("Mistaken", (Part,), {"__annotations__": {"field": Annotated[annotation, Option("help", "panel")]}})


def repr_without_addresses(annotation: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(annotation))


@pytest.mark.parametrize(
    "annotation",
    [
        Path,
        Path | None,
        tuple[Path, ...],
        tuple[InputFile | Path, ...],
        dict[str, Path],
        list[InputFile],
        Any,
        object,
        BaseModel,
    ],
    ids=repr_without_addresses,
)
def test_a_path_that_does_not_say_its_kind_cannot_be_declared(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"Mistaken\.field"):
        _part(annotation)


def test_a_kind_given_to_the_field_instead_of_the_path_does_not_count() -> None:
    with pytest.raises(TypeError, match="no kind"):
        _part(Annotated[Path | None, Kind.INPUT_FILE])


def test_an_option_without_help_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match="no Option"):
        type("Mistaken", (Part,), {"__annotations__": {"field": int}})


def test_the_record_of_inputs_is_the_same_walk(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("p.cs", "pass.cs", "poses.pkl", "mask.mrc", "focus.mrc", "d.pkl")}
    for name, path in files.items():
        path.write_text(name)
    request = Request.model_validate(
        {
            "out": tmp_path / "out",
            "ingest": {"particles": files["p.cs"], "poses": files["poses.pkl"], "passthrough": [files["pass.cs"]],
                       "datadir": tmp_path},
            "reconstruction": {"mask": files["mask.mrc"], "focus_mask": files["focus.mrc"]},
            "analysis": {"density": files["d.pkl"], "output": tmp_path / "an"},
        }
    )  # fmt: skip
    recorded = inputs_of(request)
    assert {entry["path"] for entry in recorded} == {str(path) for path in files.values()}
    assert [entry["path"] for entry in recorded] == [str(named.path) for named in input_files(request)]
    assert all(("sha256" in entry) == (not entry["path"].endswith(".mrc")) for entry in recorded)


# ---- the mask: a word or a path by its type
@pytest.mark.parametrize("word", MASK_WORDS)
def test_a_mask_is_a_word_or_a_path_by_its_type(word: str) -> None:
    assert ReconstructionOptions.model_validate({"mask": word}).mask == word
    file = ReconstructionOptions(mask=Path(word))
    assert file.mask == Path(word), "a file of that name, given as a path"
    assert ReconstructionOptions.model_validate_json(file.model_dump_json()) == file
    for text in (f"./{word}", f"/data/{word}", word.upper(), f"{word}.mrc"):
        mask = ReconstructionOptions.model_validate({"mask": text}).mask
        assert isinstance(mask, Path) and mask == Path(text)


def test_absolute_leaves_words_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    request = Request.model_validate({"out": "out", "ingest": {"particles": "p"}, "reconstruction": {"mask": "none"}})
    assert absolute(request).reconstruction.mask == "none" and absolute(request).out == tmp_path / "out"


# ---- bounds
OUTSIDE: list[tuple[str, Any]] = [
    ("reconstruction.zdim", []),
    ("reconstruction.zdim", [2, 2]),
    ("reconstruction.zdim", [0]),
    ("reconstruction.zdim", [65]),
    ("reconstruction.zdim", list(range(1, 34))),
    ("reconstruction.mask_dilate_iter", -1),
    ("reconstruction.mask_dilate_iter", 10**6),
    ("reconstruction.mask", "/" + "x" * 5000),
    ("reconstruction.mask", 5),
    ("analysis.b_factor", 1001),
    ("analysis.b_factor", -1e4),
    ("analysis.n_vols_along_path", 1),
    ("analysis.n_vols_along_path", 10**9),
    ("analysis.n_clusters", 0),
    ("analysis.n_clusters", 10**9),
    ("analysis.n_trajectories", 10**9),
    ("analysis.zdim", 1000),
    ("analysis.output", "/data/" + "é" * 200),
    ("density.dim", 5),
    ("density.zdim", 65),
    ("ingest.downsample", 21),
    ("ingest.downsample", 10**6),
    ("ingest.box", 33),
    ("ingest.n_images", 10**12),
    ("ingest.pixel_size", 0),
    ("ingest.pixel_size", 1e9),
    ("ingest.voltage", 0),
    ("ingest.voltage", 300000),
    ("ingest.cs", -1),
    ("ingest.amplitude_contrast", 10),
    ("ingest.strip_prefix", "x" * 5000),
    ("ingest.symmetry", "C" * 100),
    ("ingest.passthrough", ["/p.cs"] * 2000),
    ("seed", -1),
    ("seed", 2**63),
]


@pytest.mark.parametrize(("option", "value"), OUTSIDE, ids=lambda value: str(value)[:30])
def test_a_message_with_a_value_that_has_no_meaning_is_of_the_wrong_schema(option: str, value: Any) -> None:
    envelope = json.loads((GOLDEN.parents[1] / "messages" / "golden" / "0.1.0-every_option.json").read_text())
    part, _, field = option.rpartition(".")
    request = envelope["data"]["request"]
    (request[part] if part else request)[field] = value
    with pytest.raises(BadMessage) as caught:
        unseal(json.dumps(envelope).encode())
    assert caught.value.reason == "schema" and field in caught.value.message


def test_every_number_and_text_has_bounds() -> None:
    """A new option cannot be without: an unbounded number in a message is time or memory without end."""
    schema = work_schema()["$defs"]
    unbounded = []
    for name, field in declared(Request).items():
        part, _, own = name.rpartition(".")
        model = {"": "Request"}.get(part, f"{part.capitalize()}Options")
        stated = schema[model]["properties"][own]
        for kind in stated.get("anyOf", [stated]):
            if kind.get("type") in ("integer", "number"):
                low, high = kind.keys() & {"minimum", "exclusiveMinimum"}, kind.keys() & {"maximum", "exclusiveMaximum"}
                unbounded += [name] if not low or not high else []
            elif kind.get("type") == "string":
                unbounded += [name] if not kind.keys() & {"maxLength", "enum"} else []
            elif kind.get("type") == "array":
                unbounded += [name] if "maxItems" not in kind else []
        assert option_of(field) is not None
    assert unbounded == []


def test_zdim_is_a_set_in_ascending_order() -> None:
    assert ReconstructionOptions.model_validate({"zdim": [4, 1]}).zdim == (1, 4)
    with pytest.raises(ValidationError, match="a number twice"):
        ReconstructionOptions.model_validate({"zdim": [4, 1, 4]})
