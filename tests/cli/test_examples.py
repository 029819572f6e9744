"""Every command line that help, documents and hints show is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import covaria.cli
from covaria.cli.examples import EXAMPLES, add_examples
from covaria.cli.services.slurm import ALLOWED

REPOSITORY = Path(__file__).resolve().parents[2]
APPLICATION = get_command(covaria.cli.application())
ENDS = {"&&", "|", "&", ">", ";", "\\"}


def _commands(command: Any, prefix: str = "") -> dict[str, Any]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return {prefix: command}
    return {
        name: leaf for word, each in inner.items() for name, leaf in _commands(each, f"{prefix} {word}".strip()).items()
    }


COMMANDS = _commands(APPLICATION)


def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    app = typer.Typer()
    app.command(name="new")(lambda: None)
    with pytest.raises(KeyError):
        add_examples(app)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    line = EXAMPLES[name]
    words = shlex.split(line)
    assert words[: 1 + len(name.split())] == ["covaria", *name.split()]
    shown = CliRunner().invoke(covaria.cli.application(), [*name.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.output.rstrip().endswith(f"Example: {line}")
    context = COMMANDS[name].make_context(name, words[1 + len(name.split()) :])
    assert all(context.get_parameter_source(parameter.name) is not None for parameter in COMMANDS[name].params)


def _shown_lines() -> list[tuple[str, str]]:
    """(where, command line) of what documents and hints show."""
    found = []
    files = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")]
    files += [*(REPOSITORY / "shared").rglob("*.py"), *(REPOSITORY / "services").rglob("*.py")]
    for file in files:
        text = file.read_text()
        spans = re.findall(r"`(covaria [a-z][^`\n]*)`", text)
        if file.suffix == ".md":
            spans += re.findall(r"^(?:    |exec )?(?:\.venv/bin/)?(covaria [a-z].*)$", text, re.MULTILINE)
        found += [(file.name, span.split("  #")[0].strip()) for span in spans]
    return found


def test_commands_in_documents_and_hints_exist_with_their_options() -> None:
    lines = _shown_lines()
    assert len(lines) > 50
    wrong = []
    for where, line in lines:
        words = line.split()[1:]
        words = words[: next((place for place, word in enumerate(words) if word in ENDS), len(words))]
        if words[0] == "sbatch":  # what follows is another command with its own options
            words = words[: next((place for place, word in enumerate(words) if word in ALLOWED), len(words))]
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]).rstrip(",") in COMMANDS), None)
        if name is None:
            group = getattr(APPLICATION, "commands", {}).get(words[0])
            if group is None or not hasattr(group, "commands"):
                wrong.append(f"{where}: {line}")
            continue
        known = {flag for item in COMMANDS[name].params for flag in (*item.opts, *item.secondary_opts)} | {"--help"}
        options = {
            word.split("=")[0].rstrip(",") for word in words if word.startswith("-") and not re.match(r"-\d", word)
        }
        wrong += [f"{where}: {line}: {option}" for option in options - known]
    assert wrong == []
