"""What the page sends: bounded, and of the right shape."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from covaria.errors import InvalidInput
from covaria.plain import explain

MOST_BYTES = 64 << 20
T = TypeVar("T")


async def body_of(request: Request) -> bytes:
    """Raises InvalidInput for one that is too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise InvalidInput(
                f"more than {MOST_BYTES >> 20} MB are sent", hint="`covaria subset --index` takes a file"
            )
        parts.append(part)
    return b"".join(parts)


def read(shape: TypeAdapter[T], body: bytes) -> T:
    """The JSON `body` as a value. Raises InvalidInput."""
    try:
        return shape.validate_json(body)
    except (ValidationError, RecursionError) as error:
        raise InvalidInput(f"is not what is asked for: {explain(error).message}", hint="reload the page") from None
