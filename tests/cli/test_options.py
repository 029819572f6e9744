"""The options of the commands come from the fields of the request: each is declared once, and none was lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import covaria.cli
from covaria.cli.stages import ALONE
from covaria.errors import InvalidInput
from covaria.request.model import Request
from covaria.request.options import declared, option_of

RELEASED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "0.1.0-options.json").read_text())


def _commands() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(prefix: str, command: Any) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(f"{prefix} {name}".strip(), inner)
        if not hasattr(command, "commands"):
            found[prefix] = command

    walk("", get_command(covaria.cli.application()))
    return found


COMMANDS = _commands()


@pytest.mark.parametrize("command", sorted(RELEASED))
def test_no_released_option_was_lost_or_has_another_default(command: str) -> None:
    now = {
        flag: getattr(parameter.default, "value", parameter.default)
        for parameter in COMMANDS[command].params
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    for flags, default in RELEASED[command].items():
        for flag in flags.split():
            assert now[flag] == default, f"{command} {flag}"


def test_every_field_is_an_option_of_run_with_its_help() -> None:
    helps = {parameter.help for parameter in COMMANDS["run"].params}
    for name, field in declared(Request).items():
        option = option_of(field)
        assert option is not None
        assert name in ALONE or {option.help, option.off_help} - {""} <= helps, name
    helps = {parameter.help for parameter in COMMANDS["analyze"].params}
    assert {option.help for name in ALONE if (option := option_of(declared(Request)[name]))} <= helps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--zdim", ""), "--zdim: needs at least 1"),
        (("run", "--zdim", ",".join(map(str, range(1, 34)))), "--zdim: may have at most 32"),
        (("run", "--zdim", "1,99"), "--zdim: must be at most 64; found '99'"),
        (("run", "--seed", "-1"), "--seed: must be at least 0"),
        (("run", "--seed", 2**63), "--seed: must be at most"),
        (("run", "--Bfactor", "1e300"), "--Bfactor: must be at most 1000"),
        (("run", "--Bfactor", "nan"), "--Bfactor: .*finite"),
        (("run", "--n-vols-along-path", 10**9), "--n-vols-along-path: must be at most"),
        (("run", "--analysis-zdim", 0), "--analysis-zdim: must be at least 1"),
        (("run", "--density-dim", 7), "--density-dim: must be at most 4"),
        (("run", "--voltage", 0), "--voltage: must be more than 0"),
        (("run", "--amplitude-contrast", 10), "--amplitude-contrast: must be at most 1"),
        (("run", "--symmetry", "C" * 99), "--symmetry: may have at most 16 characters"),
        (("run", "--mask", "x" * 5000), "--mask: a path of 5000 characters"),
        (("run", "--downsample", 21), "--downsample: must be a multiple of 2; found '21'\n.*20 and 22"),
        (("downsample", "-D", 21), "-D: must be a multiple of 2; found '21'\n.*20 and 22"),
        (("inspect", "--box", 33), "--box: must be a multiple of 2"),
        (("inspect", "--voltage", 0), "--voltage: must be more than 0"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else "",
)
def test_a_value_that_has_no_meaning_is_refused_by_the_name_of_its_option(
    tmp_path: Path, arguments: tuple[Any, ...], message: str
) -> None:
    command, *options = map(str, arguments)
    out = [] if command == "inspect" else ["-o", str(tmp_path / "out")]
    (tmp_path / "p.star").write_text("data_\n")
    given = [command, str(tmp_path / "p.star"), *out, *options]
    result = CliRunner().invoke(covaria.cli.application(), given)
    assert isinstance(result.exception, InvalidInput)
    with pytest.raises(InvalidInput, match=message):
        raise result.exception
    assert not (tmp_path / "out").exists()
