"""Hostile messages, thousands a second: a good one spoiled in ways that its JSON schema and a pool of values name.

Each is made from the seed and its number alone, so one that did harm can be made again.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from covaria.messages.envelope import MAX_BYTES
from covaria.messages.ticket import ATTEMPT, FIRST_QUEUED, LAST_ERROR, MEMORY_SCALE, PREEMPTIONS, SEQUENCE

BEYOND, INFINITE, TWICE = "__BEYOND__", "__INFINITE__", "__TWICE__"
"""Stand for what no JSON library writes: 5,001 digits, 1e999, a key a second time."""
HEADERS = (ATTEMPT, SEQUENCE, FIRST_QUEUED, MEMORY_SCALE, LAST_ERROR, PREEMPTIONS, "x-death", "\ud800")

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Hostile:
    """One message's body and headers, and what was done to it."""

    body: bytes
    headers: dict[str, Any]
    how: str


def written(document: object) -> bytes:
    """The document as bytes, with what the stand-ins stand for."""
    text = json.dumps(document).replace(f'"{BEYOND}"', "1" + "0" * 5000).replace(f'"{INFINITE}"', "1e999")
    return text.encode()


def edges(model: type[BaseModel], path: Path = ()) -> dict[Path, list[Any]]:
    """Place -> values beyond what the model takes there, for each place that it describes; the model lies at `path`."""
    schema = model.model_json_schema()
    return _edges(schema, path, schema.get("$defs", {}))


def _edges(schema: dict[str, Any], path: Path, definitions: dict[str, Any]) -> dict[Path, list[Any]]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    found: dict[Path, list[Any]] = {path: _beyond(schema)} if path else {}
    for name, inner in schema.get("properties", {}).items():
        found |= _edges(inner, (*path, name), definitions)
    return found


def _beyond(schema: dict[str, Any]) -> list[Any]:
    """Values that the schema refuses."""
    kinds = schema.get("anyOf", [schema])
    taken = {kind.get("type", "object") for kind in kinds}
    values: list[Any] = [
        value
        for kind, value in (
            ("null", None), ("boolean", True), ("integer", 1), ("number", 0.5), ("string", "x"), ("array", []),
            ("object", {}),
        )
        if kind not in taken and not (kind == "integer" and "number" in taken)
    ]  # fmt: skip
    for kind in kinds:
        for bound, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
            values += [kind[bound] + step, (kind[bound] or 1) * step * 10**30] if bound in kind else []
        if "maxLength" in kind:
            values += ["/" + "a" * kind["maxLength"], "\x00", "\ud800"]
        if "pattern" in kind:
            values += ["\n", "a" * 63 + "\n", "\u0661"]
        if "enum" in kind:
            values += [kind["enum"][0].upper(), kind["enum"][0] + "\n"]
        if kind.get("type") == "array":
            values += [[None], [[]], ["x\x00"] * (kind.get("maxItems", 100) + 1), {"0": 1}]
        if kind.get("type") == "object":
            values += [{"\n": 1}, {"a": {"b": {}}}, {f"k{number}": "" for number in range(70)}]
    return [*values, float("nan"), BEYOND, INFINITE]


class Mutator:
    """Spoils one good document. `values`: what may stand anywhere; `limits`: what `edges` made of its schemas.

    So much of each is spoiled that one in two hundred is still a job, which costs as much as a hundred that are none.
    """

    def __init__(
        self, document: dict[str, Any], limits: dict[Path, list[Any]], values: Sequence[Any], seed: int
    ) -> None:
        self._text, self._values, self._seed = json.dumps(document), values, seed
        self._places = _places(document)
        self._edges = [(path, value) for path, some in limits.items() for value in some]

    def message(self, number: int) -> Hostile:
        """The message with this number."""
        dice = random.Random(f"{self._seed}/{number}")
        document = json.loads(self._text)
        kind = dice.choices(("edge", "value", "shape", "bytes", "headers"), (65, 20, 10, 4.9, 0.1))[0]
        how = [kind]
        if kind == "edge":
            for path, value in dice.choices(self._edges, k=dice.choices((1, 2, 3, 4), (0.3, 3, 3, 3))[0]):
                how.append(f"{'.'.join(map(str, path))} = {str(value)[:80]!r}")
                _put(document, path, value)
        elif kind == "value":
            for path in dice.choices(self._places, k=dice.randint(2, 5)):
                value = dice.choice(self._values)
                how.append(f"{'.'.join(map(str, path))} = {str(value)[:80]!r}")
                _put(document, path, value)
        elif kind == "shape":
            how += [self._reshape(document, dice) for _ in range(6)]
        body = written(document)
        if kind == "bytes" or dice.random() < 0.05:
            body, done = _damaged(body, dice)
            how.append(done)
        headers = self._headers(dice) if kind == "headers" or dice.random() < 0.2 else {}
        return Hostile(body, headers, "; ".join(how))

    def _reshape(self, document: dict[str, Any], dice: random.Random) -> str:
        path = dice.choice(self._places)
        try:
            container = _container(document, path)
            container[path[-1]]
        except (LookupError, TypeError):
            return f"{path} is gone"
        action = dice.choice(("drop", "rename", "wrap", "repeat"))
        if action == "drop":
            del container[path[-1]]
        elif action == "rename" and isinstance(container, dict):
            container[f"{path[-1]}\u200b"] = container.pop(path[-1])
        elif action == "wrap":
            container[path[-1]] = [container[path[-1]]]
        elif isinstance(container, list):
            container += container * (dice.choice((1, 1000)) if len(container) < 100 else 0)
        else:
            container[path[-1]] = {str(path[-1]): container[path[-1]]}
        return f"{action} {'.'.join(map(str, path))}"

    def _headers(self, dice: random.Random) -> dict[str, Any]:
        some = dice.choices(HEADERS, k=dice.randint(1, 4))
        return {name: dice.choice([*self._values[:200], b"\xff\x00", -1, 10**9]) for name in some}


def _places(value: Any, path: Path = ()) -> list[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*path, key), *_places(inner, (*path, key)))]


def _container(document: Any, path: Path) -> Any:
    for part in path[:-1]:
        document = document[part]
    return document


def _put(document: Any, path: Path, value: Any) -> None:
    """Set a place that an earlier change may have taken away: then there is nothing to set."""
    try:
        _container(document, path)[path[-1]] = copy.deepcopy(value) if isinstance(value, list | dict) else value
    except (LookupError, TypeError):
        return


def _damaged(body: bytes, dice: random.Random) -> tuple[bytes, str]:
    where = dice.randrange(len(body))
    match dice.randrange(8):
        case 0:
            return body[:where], "cut"
        case 1:
            return body[:where] + bytes([body[where] ^ 1 << dice.randrange(8)]) + body[where + 1 :], "bit flipped"
        case 2:
            return body[:where] + dice.randbytes(dice.randint(1, 8)) + body[where:], "bytes put in"
        case 3:
            return body + b" " * (MAX_BYTES + 1 - len(body)), "padded"
        case 4:
            deep = dice.choice((40, 900, 30_000))
            return body.replace(b'"job_class"', b'"x": ' + b"[" * deep + b"]" * deep + b', "job_class"'), "deep"
        case 5:
            return body.decode(errors="replace").encode(dice.choice(("utf-16", "utf-32-le", "utf-16-be"))), "recoded"
        case 6:
            return body + body, "twice"
        case _:
            return b"\xef\xbb\xbf" + body, "byte order mark"
