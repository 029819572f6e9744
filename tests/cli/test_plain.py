"""What a person is told: plain words for every error, text that only shows, no password."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.plain import explain, printable
from covaria.request.model import IngestOptions, Request
from covaria.settings import load_settings
from covaria.tree import Tree, record

HOSTILE = "a\x1b]0;owned\x07b\x9b2Jc\u202edesrever\rx"


def test_what_a_terminal_would_obey_is_only_shown() -> None:
    shown = printable(HOSTILE + "\n\tÅ é 冷 🎉")
    assert shown.isprintable() or not any(c for c in shown if not c.isprintable() and c not in "\n\t")
    assert "\\x1b]0;owned\\x07b\\x9b2Jc\\u202edesrever\\rx" in shown and shown.endswith("\n\tÅ é 冷 🎉")


@pytest.mark.parametrize("command", ["status", "list", "logs"])
def test_a_folder_of_others_cannot_command_the_terminal(tmp_path: Path, command: str) -> None:
    tree = Tree(tmp_path / "out")
    tree.state.mkdir(parents=True)
    facts = {"job_id": HOSTILE, "stages": ["ingest"], "submitted_at": "2026-11-26T00:00:00+00:00", "command": "run",
             "command_line": HOSTILE, "command_lines": [HOSTILE], "request": {}, "inputs": []}  # fmt: skip
    tree.request.write_text(json.dumps(facts))
    state = {"status": "failed", "error": {"type": "x", "message": HOSTILE, "hint": HOSTILE}}
    record.write_stage_state(tree, "ingest", state)
    tree.stage_log("ingest").write_text(HOSTILE)
    result = CliRunner().invoke(covaria.cli.application(), [command, str(tree.out)])
    assert result.exit_code == 0 and "\\x1b]0;owned" in result.output
    assert not any(not character.isprintable() and character != "\n" for character in result.output)


def test_every_command_speaks_through_one_function() -> None:
    """typer.echo, print and sys.stdout would let control characters through."""
    folder = Path(covaria.cli.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("typer.echo", "print", "sys.stdout.write", "sys.stderr.write"), path


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (PermissionError(13, "Permission denied", "closed/out"), "closed/out: may not be read or written"),
        (NotADirectoryError(20, "Not a directory", "afile/out"), "afile/out: lies beneath a file"),
        (FileNotFoundError(2, "No such file", b"x.star"), "x.star: is not there"),
        (OSError(28, "No space left on device", "out/x"), "out/x: the disk is full"),
        (OSError(36, "File name too long", "x" * 10), "too long a name"),
        (MemoryError(), "memory ran out"),
        (np.linalg.LinAlgError("Eigenvalues did not converge"), "have no solution"),
        (IndexError("list index out of range"), "did not foresee"),
        (KeyError("zdim"), "did not foresee"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "is not UTF-8"),
        (RuntimeError("CUDA error: device-side assert triggered\nmore"), "the GPU gave an error"),
        (KeyboardInterrupt(), "stopped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_becomes_what_was_found_and_what_to_do(raised: BaseException, says: str) -> None:
    told = explain(raised)
    assert says in str(told) and told.hint
    for raw in ("Errno", "list index", "Eigenvalues", "codec", "Traceback"):
        assert raw not in str(told)
    assert explain(told) is told


def test_a_refusal_of_the_models_is_no_raw_text() -> None:
    with pytest.raises(ValueError, match="multiple") as caught:
        IngestOptions.model_validate({"particles": "p", "box": 33})
    told = explain(caught.value)
    assert isinstance(told, InvalidInput) and "box: Input should be a multiple of 2; found '33'" in str(told)
    assert "pydantic" not in str(told)


def test_a_configuration_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe")
    done = CliRunner().invoke(covaria.cli.application(), ["run", "p.star", "--config", str(tmp_path / "run.yaml")])
    assert isinstance(done.exception, InvalidInput) and "run.yaml: is no text" in str(done.exception)


def test_the_kind_of_a_files_error_is_kept() -> None:
    assert isinstance(explain(FileNotFoundError(2, "", "x")), MissingFile)
    assert explain(PermissionError(13, "", "x")).exit_code == 2
    assert explain(OSError(28, "", "x")).exit_code == CovariaError.exit_code


def _covaria(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from covaria.cli import main; main()", *map(str, arguments)]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVARIA_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=bare | variables)


@pytest.mark.parametrize("beneath", ["afile/out", "afile"])
def test_an_output_beneath_a_file_is_refused_in_plain_words(tmp_path: Path, beneath: str) -> None:
    (tmp_path / "afile").write_text("x")
    (tmp_path / "p.star").write_text("data_\n")
    done = _covaria("run", tmp_path / "p.star", "-o", tmp_path / beneath, "--device", "cpu")
    assert done.returncode == 2 and "afile" in done.stderr and "->" in done.stderr
    assert "Errno" not in done.stderr and "run.log" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "p.star").write_text("data_\n")
    (tmp_path / "closed").mkdir(mode=0o500)
    done = _covaria("run", tmp_path / "p.star", "-o", tmp_path / "closed" / "out", "--device", "cpu")
    assert done.returncode == 2 and "may not be read or written" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:s3cr/et@broker/",
        "amqp://user:s3cr?et@broker/",
        "amqp://user:s3cr#et@broker/",
        "amqp://user:33333/s3cr@broker/",
        "amqp://user:s3cr@broker:port/",
        "amqp://[user:s3cr@broker/",
        "http://user:s3cr@broker/",
    ],
)
def test_no_part_of_a_password_is_in_any_text(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COVARIA_BROKER_URL", url)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert "s3" not in str(caught.value) and "33333" not in str(caught.value)
    assert "COVARIA_BROKER_URL" in str(caught.value) and "%2F" in str(caught.value)
    done = CliRunner().invoke(covaria.cli.application(), ["doctor"])
    assert "s3" not in done.output and "33333" not in done.output and isinstance(done.exception, InvalidInput)


def test_doctor_passes_on_a_workstation() -> None:
    done = _covaria("doctor", COVARIA_SECRETS_DIR="/nonexistent")
    assert done.returncode == 0 and "no services here" in done.stdout and "FAIL" not in done.stdout
    told = _covaria("doctor", COVARIA_SECRETS_DIR="/nonexistent", COVARIA_ROOTS="/nonexistent")
    assert told.returncode == 1, "who says where the roots are means services"


@pytest.mark.parametrize("damage", ["[]", "5", "", '{"stages": []}', "[" * 100_000, '{"job_id": 3, "stages": 7}'])
def test_a_damaged_folder_does_not_hide_the_others(tmp_path: Path, damage: str, caplog) -> None:
    for name in ("a", "z"):
        request = Request.model_validate({"out": tmp_path / name, "ingest": {"particles": "p.star"}})
        record.write_request(
            Tree(request.out), job_id=name, command="run", command_line="", stages=("ingest",), request=request
        )
    (tmp_path / "m" / ".covaria").mkdir(parents=True)
    Tree(tmp_path / "m").request.write_text(damage)
    for command in (["list"], ["reconcile", "--dry-run", "--older-than", "0"]):
        result = CliRunner().invoke(covaria.cli.application(), [*command, str(tmp_path)])
        assert result.exit_code == 0, result.output
        assert f"{tmp_path / 'm'}: skipped" in caplog.text
    assert f"{tmp_path / 'a'}: not sent" in result.stderr and f"{tmp_path / 'z'}: not sent" in result.stderr


@pytest.mark.parametrize(
    ("host", "says"), [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid", "not known")]
)
def test_a_broker_that_is_away_is_said_in_the_systems_words(host: str, says: str) -> None:
    variables = {"COVARIA_BROKER_URL": f"amqps://user:s3cr@{host}/", "COVARIA_SECRETS_DIR": "/nonexistent"}
    done = _covaria("broker", "status", **variables)
    assert done.returncode != 0 and says in done.stderr
    assert "AMQP" not in done.stderr and "Error(" not in done.stderr and "s3cr" not in done.stdout + done.stderr
