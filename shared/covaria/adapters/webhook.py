"""Events to an HTTP address of the facility, signed as Standard Webhooks has it: webhook-id, -timestamp, -signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from covaria.adapters.listening import Later, Unwanted
from covaria.bus.connect import is_loopback
from covaria.bus.model import CONTENT_TYPE
from covaria.errors import InvalidInput
from covaria.settings import Settings

NAME = "webhook"
PATIENCE_S = 20
FEWEST_LETTERS = 24
TRY_AGAIN = (408, 409, 425, 429)
"""Beside all from 500: the address may take it later."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A signed event goes to the address that was named, nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class Webhook:
    """Posts events."""

    address: str
    secret: bytes
    now: Callable[[], float] = time.time

    @classmethod
    def of(cls, settings: Settings) -> Webhook:
        """Raises InvalidInput for an address that is not https, or a secret that is missing or short."""
        parts = urlsplit(settings.webhook_url)
        if not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))):
            raise InvalidInput("COVARIA_WEBHOOK_URL is no https address", hint="https://lims.example/covaria")
        secret = "" if settings.webhook_secret is None else settings.webhook_secret.get_secret_value().strip()
        if len(secret) < FEWEST_LETTERS:
            raise InvalidInput(
                f"COVARIA_WEBHOOK_SECRET has fewer than {FEWEST_LETTERS} letters", hint="openssl rand -hex 24"
            )
        return cls(settings.webhook_url, secret.encode())

    def deliver(self, key: str, event: dict[str, Any]) -> None:
        """Post an event. Raises Later, Unwanted."""
        body = json.dumps(event, ensure_ascii=False).encode()
        identifier, moment = f"{event.get('id', '')}/{event.get('time', '')}", str(int(self.now()))
        headers = {
            "content-type": CONTENT_TYPE,
            "webhook-id": identifier,
            "webhook-timestamp": moment,
            "webhook-signature": sign(self.secret, identifier, moment, body),
            "x-covaria-event": key,
        }
        request = urllib.request.Request(self.address, body, headers, method="POST")
        try:
            with urllib.request.build_opener(_NoRedirect()).open(request, timeout=PATIENCE_S):  # nosec B310
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code >= 500 or error.code in TRY_AGAIN:
                    raise Later(f"it answers {error.code}") from None
                raise Unwanted(f"it answers {error.code}", hint="does it know this secret and these events?") from None
        except (OSError, ValueError) as error:
            raise Later(str(error)) from None


def sign(secret: bytes, identifier: str, moment: str, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over id, time and body, divided by dots."""
    content = b".".join((identifier.encode(), moment.encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
