"""`--config FILE.yaml`: a command's options from a file, by their long names; what the command line says wins."""

from __future__ import annotations

from pathlib import Path

import typer

from covaria.errors import InvalidInput, MissingFile


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """An eager option callback: the file's values become this command's defaults. Raises MissingFile, InvalidInput."""
    if path is None:
        return None
    names = {
        option.lstrip("-").replace("-", "_"): parameter.name
        for parameter in context.command.params
        for option in [parameter.name or "", *parameter.opts, *parameter.secondary_opts]
    }
    repeated = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    defaults: dict[str, object] = dict(context.default_map or {})
    for key, value in _read(path).items():
        name = names.get(str(key).replace("-", "_"))
        if name is None or name == "config":
            known = ", ".join(sorted({(n or "").replace("_", "-") for n in names.values()} - {"config", "help", ""}))
            raise InvalidInput(f"unknown option {key!r}", file=path, hint=f"known here: {known}")
        if isinstance(value, list) and name not in repeated:
            value = ",".join(str(item) for item in value)
        defaults[name] = value
    context.default_map = defaults
    return path


def _read(path: Path) -> dict[object, object]:
    import yaml

    if not path.is_file():
        raise MissingFile("no such configuration file", file=path, hint="give a YAML file of option: value lines")
    try:
        values = yaml.safe_load(path.read_text())
    except UnicodeDecodeError:
        raise InvalidInput("is no text in UTF-8", file=path, hint="one option: value a line") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        row = mark.line + 1 if mark is not None else None
        problem = getattr(error, "problem", None) or str(error)
        raise InvalidInput(f"no valid YAML: {problem}", file=path, row=row, hint="one option: value a line") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidInput(f"holds a {type(values).__name__}", file=path, hint="one option: value a line")
    return values
