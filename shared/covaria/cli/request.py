"""From a command's options to a Request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.request.model import Request

FIELDS = {
    "ingest": (
        "particles", "poses", "ctf", "ind", "halfsets", "passthrough", "datadir", "strip_prefix", "n_images",
        "downsample", "box", "pixel_size", "voltage", "cs", "amplitude_contrast", "symmetry",
    ),
    "reconstruction": (
        "zdim", "mask", "focus_mask", "mask_dilate_iter", "uninvert_data", "correct_contrast", "only_mean",
    ),
    "density": ("enabled", "density_dim", "density_zdim"),
    "analysis": (
        "analysis_zdim", "n_clusters", "n_trajectories", "n_vols_along_path", "b_factor", "skip_umap", "density",
        "output",
    ),
}  # fmt: skip
"""Which stage reads which option; a prefix (density_dim, analysis_zdim) is dropped in the stage's own model."""


def given(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what the user said, on the command line or in the configuration file."""
    return {
        name: value
        for name, value in values.items()
        if (source := context.get_parameter_source(name)) is not None and source.name != "DEFAULT"
    }


def build_request(out: Path, values: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Request:
    """A Request from options by their parameter names, over an earlier run's request where there is one.

    Raises InvalidInput for a value that the models refuse.
    """
    from pydantic import ValidationError

    from covaria.request.model import Request

    document: dict[str, Any] = {stage: dict((stored or {}).get(stage, {})) for stage in FIELDS}
    document |= {"out": out, "overwrite": values.get("overwrite", False)}
    document["seed"] = values.get("seed", (stored or {}).get("seed", 0))
    for stage, fields in FIELDS.items():
        for field in fields:
            if field in values and values[field] is not None:
                document[stage][field.removeprefix(f"{stage}_")] = _plain(field, values[field])
    if values.get("no_downsample"):
        document["ingest"]["downsample"] = None
    if values.get("no_density"):
        document["density"]["enabled"] = False
    try:
        request = Request.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][-1] if isinstance(first["loc"][-1], str) else first["loc"][-2]).replace(
            "_", "-"
        )
        raise InvalidInput(f"{option}: {first['msg']}; found {first['input']!r}", hint="see --help") from error
    asked = request.analysis.zdim
    if asked is not None and asked not in request.reconstruction.zdim and not stored:
        raise InvalidInput(
            f"--analysis-zdim {asked} is not among --zdim {','.join(map(str, request.reconstruction.zdim))}",
            hint="add it to --zdim",
        )
    return request


def stored_request(out: Path) -> dict[str, Any]:
    """What an earlier command asked for in OUT. Raises InvalidInput where OUT is not Covaria's."""
    from covaria.tree import Tree, record

    found = record.read_request(Tree(out))
    if found is None:
        raise InvalidInput(
            "is not an output directory of Covaria", file=out, hint="run `covaria ingest PARTICLES -o OUT` first"
        )
    result: dict[str, Any] = found["request"]
    return result


def _plain(field: str, value: Any) -> Any:
    if field == "zdim":
        try:
            return tuple(sorted({int(item) for item in str(value).split(",") if item.strip()}))
        except ValueError:
            raise InvalidInput(f"--zdim {value}: not numbers", hint="for example --zdim 1,2,4,10") from None
    if field == "mask" and value not in ("from_halfmaps", "sphere", "none"):
        return str(Path(value).absolute())
    if field == "passthrough":
        return tuple(path.absolute() for path in value)
    if isinstance(value, Path) and field != "output":
        return value.absolute()
    return getattr(value, "value", value)
