"""Messages of zocalo and cryoem-services (python-workflows): a recipe that travels with its payload, or parameters.

{"recipe": {"1": {"queue": ..., "parameters": {...}, "output": ...}}, "recipe-pointer": 1, "recipe-path": [],
 "environment": {"ID": ...}, "payload": {...}}, with the header workflows-recipe; else {"parameters": {...}}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from covaria.errors import InvalidInput
from covaria.messages.envelope import MAX_BYTES

HEADER = "workflows-recipe"
RECIPE_ID = "recipe_ID"
_YES = (True, "True", "true", 1)


def read_parameters_of(body: bytes, headers: Mapping[str, object]) -> dict[str, Any]:
    """What the step is asked: its recipe's parameters, the payload's before them, `$names` from the environment.

    Raises InvalidInput.
    """
    if len(body) > 4 * MAX_BYTES:
        raise InvalidInput(f"a message of {len(body)} bytes, at most {4 * MAX_BYTES} are read", hint="name files")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput("the message is not JSON", hint="send it as python-workflows does") from None
    if not isinstance(document, dict):
        raise InvalidInput("the message is no object", hint="send it as python-workflows does")
    if headers.get(HEADER) not in _YES:
        return _table(document.get("parameters", document), "parameters")
    recipe = _table(document.get("recipe"), "recipe")
    step = _table(recipe.get(str(document.get("recipe-pointer"))), "the recipe's step")
    payload, environment = document.get("payload"), _table(document.get("environment", {}), "environment")
    asked = {**_table(step.get("parameters", {}), "parameters"), **(payload if isinstance(payload, dict) else {})}
    found = {name: _from(environment, value) for name, value in asked.items()}
    return {**({RECIPE_ID: environment["ID"]} if "ID" in environment else {}), **found}


def wrap(queue: str, parameters: Mapping[str, Any], payload: Mapping[str, Any], identifier: str) -> bytes:
    """A message that begins a recipe of one step, which its service may carry on from part to part."""
    return json.dumps(
        {
            "recipe": {"1": {"queue": queue, "parameters": dict(parameters)}, "start": [[1, []]]},
            "recipe-pointer": 1,
            "recipe-path": [],
            "environment": {"ID": identifier},
            "payload": dict(payload),
        },
        separators=(",", ":"),
    ).encode()


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} is missing or no object", hint="send it as python-workflows does")
    return value


def _from(environment: Mapping[str, Any], value: Any) -> Any:
    """A value `$name` or `${name}` as the environment has it."""
    if isinstance(value, str) and value.startswith("$"):
        return environment.get(value[1:].removeprefix("{").removesuffix("}"), value)
    return value
