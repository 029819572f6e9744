"""Who asks: a bearer token of a list, or an access token of an OpenID provider. Nobody else is answered.

Tokens are compared as sums, all of them each time: how long it takes tells nothing of them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from covaria.errors import CovariaError, InvalidInput
from covaria.plain import printable
from covaria.request.origin import Origin
from covaria.settings import Settings

FEWEST_LETTERS = 24
MOST_LETTERS = 8192


class Unknown(CovariaError):
    """Nobody who may ask."""


@dataclass(frozen=True)
class Caller:
    """Who asks. visits: of which he may see and start jobs; None: of all."""

    name: str
    visits: frozenset[str] | None = None

    def may(self, origin: Origin) -> bool:
        """Whether jobs of this origin are his."""
        return self.visits is None or origin.visit in self.visits


class Door(Protocol):
    """One way to be known."""

    def caller(self, token: str) -> Caller | None:
        """Who holds this token; None where this door does not know it."""


class Tokens:
    """Tokens of a list, `NAME:TOKEN` each."""

    def __init__(self, text: str) -> None:
        """Raises InvalidInput for an entry without a name or with a token that is too short."""
        self._names: dict[str, bytes] = {}
        for number, word in enumerate(text.split(), 1):
            name, _, token = word.partition(":")
            if not name or len(token) < FEWEST_LETTERS:
                raise InvalidInput(
                    f"COVARIA_GATEWAY_TOKENS, entry {number}: not NAME:TOKEN with a token of {FEWEST_LETTERS} letters",
                    hint="openssl rand -hex 24",
                )
            self._names[name] = _sum(token)

    def caller(self, token: str) -> Caller | None:
        asked, found = _sum(token), None
        for name, known in self._names.items():
            if hmac.compare_digest(known, asked):
                found = Caller(name)
        return found


@dataclass(frozen=True)
class Provider:
    """Access tokens of an OpenID provider. `claims` checks signature, issuer, audience, times; it raises Unknown."""

    claims: Callable[[str], Mapping[str, Any]]
    visits_claim: str = ""

    def caller(self, token: str) -> Caller | None:
        if token.count(".") != 2:
            return None
        claims = self.claims(token)
        name = printable(str(claims["sub"])[:128])
        if not self.visits_claim:
            return Caller(name)
        given = claims.get(self.visits_claim, [])
        words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        return Caller(name, frozenset(str(word) for word in words))


@dataclass(frozen=True)
class Doors:
    """All ways to be known."""

    doors: tuple[Door, ...]

    def caller(self, authorization: str) -> Caller:
        """Who an Authorization header names. Raises Unknown."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MOST_LETTERS:
            raise Unknown("no bearer token", hint="Authorization: Bearer TOKEN")
        for door in self.doors:
            found = door.caller(token.strip())
            if found is not None:
                return found
        raise Unknown("this token is not known here", hint="ask the operator for one")


def token_doors(settings: Settings) -> tuple[Door, ...]:
    """The list of tokens, where one is set."""
    return () if settings.gateway_tokens is None else (Tokens(settings.gateway_tokens.get_secret_value()),)


def _sum(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
