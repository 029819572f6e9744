"""`covaria view --browser` where no browser is: the address is told all the same."""

import webbrowser

import pytest

from covaria.cli import view


def test_without_a_screen_none_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser in the terminal would hold the server up."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(view.sys, "platform", "linux")
    monkeypatch.setattr(view.webbrowser, "open", lambda address: pytest.fail(f"{address} was opened"))
    assert not view._opened("http://127.0.0.1:1/")


@pytest.mark.parametrize("found", [True, False])
def test_what_the_browser_says_counts(monkeypatch: pytest.MonkeyPatch, found: bool) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(view.webbrowser, "open", lambda address: found)
    assert view._opened("http://127.0.0.1:1/") is found


def test_one_that_fails_to_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(address: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(view.webbrowser, "open", fails)
    assert not view._opened("http://127.0.0.1:1/")
