"""Chromium without a network, and a window that remembers what it asked and said."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

BROWSER = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


def launched() -> Iterator[Any]:
    """A browser that reaches nobody but this machine; skips the test where there is none."""
    if BROWSER is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=BROWSER, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


class Asked:
    """A window of the browser: what it asked, and what its console said."""

    def __init__(self, browser: Any, address: str = "about:blank", **options: Any) -> None:
        options = {"viewport": {"width": 1100, "height": 700}, "accept_downloads": True, **options}
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.set_default_timeout(60_000)
        self.tab.goto(address)

    def picture(self, place: Any) -> np.ndarray:
        """(height, width, 3) of an element."""
        return np.asarray(imread(io.BytesIO(place.screenshot()))[..., :3])
