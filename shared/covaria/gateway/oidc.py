"""Access tokens of an OpenID provider, by PyJWT: signed by the provider's published keys, for us, in time."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt

from covaria.bus.connect import is_loopback
from covaria.errors import InvalidInput
from covaria.gateway.callers import Provider, Unknown
from covaria.settings import Settings

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Public keys alone: no `none`, no shared secret."""
LEEWAY_S = 30
PATIENCE_S = 10
MOST_BYTES = 1 << 20
WELL_KNOWN = "/.well-known/openid-configuration"


def provider(settings: Settings) -> Provider:
    """Raises InvalidInput for an issuer whose address is not safe. The provider is asked when the first token comes."""
    issuer = settings.gateway_oidc_issuer
    _refuse_unsafe(issuer)
    clients: list[jwt.PyJWKClient] = []

    def keys() -> jwt.PyJWKClient:
        if not clients:
            document = json.loads(_fetch(issuer.rstrip("/") + WELL_KNOWN))
            _refuse_unsafe(str(document["jwks_uri"]))
            clients.append(jwt.PyJWKClient(document["jwks_uri"], timeout=PATIENCE_S))
        return clients[0]

    def claims(token: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = jwt.decode(
                token, keys().get_signing_key_from_jwt(token), algorithms=ALGORITHMS, issuer=issuer,
                audience=settings.gateway_oidc_audience, leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except (jwt.PyJWTError, OSError, ValueError, KeyError) as error:
            raise Unknown(f"this access token is refused: {type(error).__name__}", hint="sign in again") from error
        return found

    return Provider(claims, settings.gateway_oidc_visits)


def _refuse_unsafe(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise InvalidInput(f"COVARIA_GATEWAY_OIDC_ISSUER: {address[:200]!r} is not https", hint="https://provider.example")


def _fetch(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:  # nosec B310
        found: bytes = answer.read(MOST_BYTES)
        return found
