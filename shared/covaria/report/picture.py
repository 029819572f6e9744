"""A figure within the page."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

MEDIA = {".svg": "image/svg+xml", ".png": "image/png", ".gif": "image/gif"}


@dataclass(frozen=True)
class Picture:
    """A figure of OUT: its name beneath OUT, what it shows, and its bytes."""

    name: str
    caption: str
    content: bytes

    @property
    def source(self) -> str:
        """As a data: address: an image, whatever it holds, runs nothing."""
        media = MEDIA["." + self.name.rpartition(".")[2]]
        return f"data:{media};base64,{b64encode(self.content).decode()}"
