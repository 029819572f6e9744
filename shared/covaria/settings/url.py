"""The broker's address: its parts, and how it is shown."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from covaria.json_data import is_text

_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
"""A host name or an address."""


def read_broker_url(url: str) -> SplitResult:
    """The parts of a broker's URL, each of them sound.

    Raises ValueError that shows no part of it: where a password is not quoted, its pieces sit where host, port, path
    or fragment are looked for, and the library's own words would repeat them.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("amqp", "amqps") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        sound = sound and "@" not in parts.path + parts.query + parts.fragment and is_text(url) and url.isprintable()
        sound = sound and _HOST.fullmatch(parts.hostname or "") is not None
    except ValueError:
        sound, parts = False, SplitResult("", "", "", "", "")
    if not sound:
        raise ValueError(
            "must read amqp[s]://user:password@host:port/vhost; in user, password and vhost write / as %2F, # as %23, "
            "? as %3F, @ as %40, [ as %5B, % as %25"
        )
    return parts


def redact_url(url: str) -> str:
    """The URL with the password replaced by ***."""
    parts = read_broker_url(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{parts.username}:***@{host}", parts.path, parts.query, parts.fragment))
