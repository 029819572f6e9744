"""How a service is configured: from COVARIA_* variables and secret files."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from covaria.errors import InvalidInput
from covaria.settings.model import PREFIX, Settings
from covaria.settings.url import read_broker_url, redact_url

__all__ = ["PREFIX", "SECRETS_DIR", "Settings", "load_settings", "read_broker_url", "redact_url"]

SECRETS_DIR = "COVARIA_SECRETS_DIR"
"""Folder of secret files, /run/secrets when unset: one file a setting, for example covaria_broker_password."""


def load_settings() -> Settings:
    """From the environment and the secrets folder. Raises InvalidInput that names the variable."""
    folder = Path(os.environ.get(SECRETS_DIR) or "/run/secrets")
    try:
        if folder.is_dir():
            return Settings(_secrets_dir=folder)  # type: ignore[call-arg]
        return Settings()
    except ValidationError as error:
        problems = []
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = PREFIX + str(item["loc"][0]).upper() if item["loc"] else "settings"
            problems.append(f"{name}: {item['msg']}")
        raise InvalidInput("; ".join(problems), hint="docs/settings.md lists every setting") from None
