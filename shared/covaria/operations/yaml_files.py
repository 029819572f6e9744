"""Files that an operator writes in YAML, read as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from covaria.errors import InvalidInput
from covaria.messages.envelope import first_problem
from covaria.opening import Roots

MOST_BYTES = 1 << 20
Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, kind: type[Model], *, of: str, chapter: str) -> Model:
    """A file of `of`, as docs/operations.md describes it under `chapter`. Raises MissingFile, InvalidInput that names
    what is wrong."""
    with Roots().open(path, most_bytes=MOST_BYTES, hint=f"a YAML file of {of}") as file:
        body = file.read()
    try:
        document = yaml.safe_load(body)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        row = None if mark is None else mark.line + 1
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InvalidInput(f"no valid YAML: {problem}", file=path, row=row, hint=f"{of}: and a list of them") from None
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(first_problem(error), file=path, hint=f"docs/operations.md, {chapter}") from None
