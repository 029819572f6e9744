"""redteam 14, 17: no piece of a password in any text, however it was quoted; no line of a log is another's."""

from __future__ import annotations

import itertools
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from covaria.bus.connect import connection_parameters
from covaria.bus.model import BusError
from covaria.bus.rabbit import RabbitBus
from covaria.errors import CovariaError
from covaria.request.model import IngestOptions, Request
from covaria.request.paths import PathRefused, refuse_outside
from covaria.settings import Settings, load_settings
from covaria.worker.logs import PlainFormatter

PIECE = "s3cr3tw0rd"
TAIL = "54321zz"
JOINTS = (
    "/", "#", "?", "@", ":", "[", "]", "%", "%zz", " ", "\\", "'", '"', "\n", "\x1b", "//", "/@", "#@", "\u2100", "é",
    "\udcff",
)  # fmt: skip
SHAPES: dict[str, Callable[[str], str]] = {
    "as shipped": lambda password: f"amqp://user:{password}@127.0.0.1:1/vhost",
    "tls": lambda password: f"amqps://user:{password}@127.0.0.1:1/vhost",
    "no host": lambda password: f"amqp://user:{password}@/vhost",
    "no user": lambda password: f"amqp://:{password}@127.0.0.1:1",
    "one slash": lambda password: f"amqp:/user:{password}@127.0.0.1:1",
    "no scheme": lambda password: f"user:{password}@127.0.0.1:1",
    "another scheme": lambda password: f"http://user:{password}@127.0.0.1:1",
    "brackets": lambda password: f"amqp://user:[{password}]@127.0.0.1:1/",
    "in the path": lambda password: f"amqp://127.0.0.1:1/user:{password}@",
}


def texts(url: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is ever said of a broker's URL: settings as printed, errors with their tracebacks, the bus's failure."""
    monkeypatch.setenv("COVARIA_BROKER_URL", url.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
    said = []
    try:
        settings = load_settings()
        said += [str(settings), repr(settings), str(settings.redacted())]
        said.append(str(connection_parameters(settings)))
        RabbitBus(settings).open()
    except (CovariaError, BusError) as error:
        said.append("".join(traceback.format_exception(error)))
    return said


@pytest.mark.parametrize("shape", SHAPES)
def test_no_piece_of_a_password_is_said(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = [PIECE + joint + TAIL for joint in JOINTS]
    passwords += [PIECE + first + TAIL + second + PIECE for first, second in itertools.product(JOINTS[:6], repeat=2)]
    passwords += ["54321/" + PIECE, "54321#" + PIECE]
    for password in passwords:
        for text in texts(SHAPES[shape](password), monkeypatch):
            for piece in (PIECE, "54321"):
                assert piece not in text, f"{password!r}: {text}"


@pytest.mark.parametrize("name", ["COVARIA_BROKER_PASSWORD", "COVARIA_BROKER_USERNAME"])
def test_passwords_apart_need_no_quoting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVARIA_BROKER_URL", "amqp://127.0.0.1:1/vhost")
    monkeypatch.setenv("COVARIA_BROKER_USERNAME", "user")
    monkeypatch.setenv("COVARIA_BROKER_PASSWORD", "other")
    monkeypatch.setenv(name, "a/b#c?d@e:f[g]%")
    parameters = connection_parameters(load_settings())
    assert "a/b#c?d@e:f[g]%" in (parameters.credentials.password, parameters.credentials.username)


@pytest.mark.parametrize(
    "url", ["amqp://h", "amqps://u@h:5671", "amqp://u:p@[::1]:5672/%2F", "amqp://u:p%40q@rabbit-0.ns.svc.local/v?a=b"]
)
def test_sound_urls_are_taken(url: str) -> None:
    assert Settings(broker_url=url).amqp_url()  # type: ignore[arg-type]


def test_no_line_of_the_log_is_anothers() -> None:
    """What others name neither commands the terminal that shows a service's log nor begins a line of it."""
    record = logging.LogRecord(
        "covaria", logging.ERROR, "", 1, "out %s", ("x\nINFO all is well\x1b[2J\x9b2J\u202e",), None
    )
    line = PlainFormatter().format(record)
    assert line.count("\n") == 0
    assert line.isprintable()


@pytest.mark.parametrize("name", ["x\x9b2J", "x\ny", "x\x7f"])
def test_no_folder_with_control_characters(tmp_path: Path, name: str) -> None:
    particles = tmp_path / "particles.star"
    request = Request(out=tmp_path / name, ingest=IngestOptions(particles=particles))
    with pytest.raises(PathRefused, match="control characters"):
        refuse_outside(request, [tmp_path])
