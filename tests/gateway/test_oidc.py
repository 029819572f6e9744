"""Access tokens of a provider that is played here: its keys over HTTP, good tokens, and every way to be wrong."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from covaria.errors import InvalidInput
from covaria.gateway.callers import Caller, Doors, Unknown
from covaria.gateway.oidc import provider
from covaria.settings import Settings

KEY, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    public = {**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "one", "use": "sig", "alg": "RS256"}

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[index]
            page = {"jwks_uri": f"{here}/keys"} if self.path.startswith("/.well-known/") else {"keys": [public]}
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def token(issuer: str, key: Any = KEY, algorithm: str = "RS256", kid: str = "one", **changes: Any) -> str:
    claims = {"iss": issuer, "aud": "covaria", "sub": "ada", "exp": time.time() + 60, "visits": ["cm1-2"], **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


def doors(issuer: str, visits: str = "") -> Doors:
    return Doors((provider(Settings(
        gateway_oidc_issuer=issuer, gateway_oidc_audience="covaria", gateway_oidc_visits=visits
    )),))  # fmt: skip


def test_a_good_token(issuer: str) -> None:
    assert doors(issuer).caller(f"Bearer {token(issuer)}") == Caller("ada")
    assert doors(issuer, "visits").caller(f"Bearer {token(issuer)}") == Caller("ada", frozenset({"cm1-2"}))
    assert doors(issuer, "scope").caller(f"Bearer {token(issuer, scope='a b')}") == Caller("ada", frozenset("ab"))
    assert doors(issuer, "none").caller(f"Bearer {token(issuer)}") == Caller("ada", frozenset())


def test_every_way_to_be_wrong(issuer: str) -> None:
    bad = [
        token(issuer, exp=time.time() - 60), token(issuer, aud="other"), token("http://127.0.0.1:1"),
        token(issuer, OTHER), token(issuer, nbf=time.time() + 600),
        token(issuer, exp=None), token(issuer, sub=None), token(issuer, kid="two"),
        token(issuer, "x" * 32, "HS256"), jwt.encode({"sub": "ada"}, None, algorithm="none"), "a.b.c", "", "x" * 9000,
    ]  # fmt: skip
    for text in bad:
        with pytest.raises(Unknown):
            doors(issuer).caller(f"Bearer {text}")
    for header in ("", "Basic x", token(issuer)):
        with pytest.raises(Unknown):
            doors(issuer).caller(header)


def test_a_provider_that_is_away_lets_nobody_in() -> None:
    away = "http://127.0.0.1:1"
    with pytest.raises(Unknown):
        doors(away).caller(f"Bearer {token(away)}")


def test_settings_that_cannot_be_right() -> None:
    with pytest.raises(InvalidInput, match="not https"):
        doors("http://provider.example")
    with pytest.raises(ValueError, match="belong together"):
        Settings(gateway_oidc_issuer="https://provider.example")
