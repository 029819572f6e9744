"""What Kubernetes clients send besides JSON: a Secret in protobuf, a merge patch."""

from __future__ import annotations

import base64
from typing import Any

PROTOBUF = b"k8s\0"


def fields(data: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a protobuf message: bytes, or an integer."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        value: Any = number()
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        found.append((tag >> 3, value))
    return found


def secret_of(data: bytes) -> dict[str, Any]:
    """A Secret as client-go's typed clients send it; Helm keeps its releases in such."""
    (raw,) = (value for number, value in fields(data.removeprefix(PROTOBUF)) if number == 2)
    secret: dict[str, Any] = {"metadata": {"labels": {}}, "data": {}}
    for number, value in fields(raw):
        if number == 1:
            for part, content in fields(value):
                if part == 1:
                    secret["metadata"]["name"] = content.decode()
                elif part == 11:
                    pair = dict(fields(content))
                    secret["metadata"]["labels"][pair[1].decode()] = pair[2].decode()
        elif number == 2:
            pair = dict(fields(value))
            secret["data"][pair[1].decode()] = base64.b64encode(pair[2]).decode()
        elif number == 3:
            secret["type"] = value.decode()
    return secret


def merge(old: Any, patch: Any) -> Any:
    """RFC 7386's merge."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
