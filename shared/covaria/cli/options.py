"""From the fields of a request to the options of a command, and the few options that no request holds.

`@takes("ingest", "seed")` gives a command the options of those fields; what was said arrives as one `Chosen`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer
from pydantic.fields import FieldInfo

from covaria.cli.config import load_config
from covaria.errors import InvalidInput
from covaria.request.model import Request
from covaria.request.options import RUNNING, Option, declared, leaf_types, option_of

KEYWORD = inspect.Parameter.KEYWORD_ONLY

Finished = Annotated[Path, typer.Argument(metavar="OUT", help="The output directory of an earlier run.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:n]", help="Where to compute.", rich_help_panel=RUNNING)]
Gpus = Annotated[
    str | None,
    typer.Option(metavar="N|all", help="Share the reconstruction between so many GPUs, a process for each.",
                 rich_help_panel=RUNNING),
]  # fmt: skip
MemoryGb = Annotated[
    float | None, typer.Option(help="Memory budget, GB (default: 60 % of what is free).", rich_help_panel=RUNNING)
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show every line of run.log too.", rich_help_panel=RUNNING)
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress.", rich_help_panel=RUNNING)]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.yaml", help="Options from a file; the command line wins.", is_eager=True,
                 callback=load_config, rich_help_panel=RUNNING),
]  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """A field of the request as one command takes it."""

    field: str
    """part.field"""
    info: FieldInfo
    option: Option
    name: str
    """The parameter."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Its options; none for an argument."""
        return () if self.option.argument else self.option.flags or ("--" + self.name.replace("_", "-"),)

    @property
    def off_name(self) -> str:
        """The parameter of the option that says no, or ""."""
        return self.option.off.lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class Chosen:
    """What a command was told, by part.field. `given`: on the command line or in a configuration file."""

    values: Mapping[str, Any]
    given: Mapping[str, Any]
    flags: Mapping[str, str]
    """part.field -> how a person names it."""

    def of(self, part: str) -> dict[str, Any]:
        """The values of one part, by field."""
        return {
            name.removeprefix(f"{part}."): value for name, value in self.values.items() if name.startswith(f"{part}.")
        }


def takes(
    *names: str, without: Sequence[str] = (), renamed: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter `options: Chosen` of a command by the options of parts ("ingest") and fields ("seed").

    `renamed` gives a field another parameter, and so another option, on this command.
    """
    wanted = [
        Taken(field, info, option, (renamed or {}).get(field) or option.name or field.rpartition(".")[2])
        for field, info in declared(Request).items()
        if (field in names or field.partition(".")[0] in names) and field not in without
        if (option := option_of(info)) is not None
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        taken = [_without_flags(item, _flags_of(own)) for item in wanted]
        inserted = {name: parameter for item in taken for name, parameter in _parameters(item)}

        @functools.wraps(function)
        def command(context: typer.Context, **parameters: Any) -> None:
            told = {name: parameters.pop(name) for name in inserted if name in parameters}
            sources = {name: context.get_parameter_source(name) for name in told}
            given = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
            if "context" in own.parameters:
                parameters["context"] = context
            flags = {item.field: (item.flags or (item.option.metavar or item.name,))[-1] for item in taken}
            chosen = Chosen(_values(taken, told), _values(taken, {name: told[name] for name in given}), flags)
            function(**parameters, options=chosen)

        parameters = {"context": inspect.Parameter("context", KEYWORD, annotation=typer.Context)}
        for name, parameter in own.parameters.items():
            parameters |= inserted if name == "options" else {name: parameter.replace(kind=KEYWORD)}
        command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
        return command

    return decorate


def _flags_of(own: inspect.Signature) -> set[str]:
    """The options that a command's own parameters have."""
    return {
        flag
        for parameter in own.parameters.values()
        for said in getattr(parameter.annotation, "__metadata__", ())
        for flag in (getattr(said, "default", None), *(getattr(said, "param_decls", None) or ()))
        if isinstance(flag, str)  # typer keeps the first option of an annotation as its default
    }


def _without_flags(item: Taken, used: set[str]) -> Taken:
    """The field without the short names that mean something else on this command."""
    return replace(item, option=replace(item.option, flags=tuple(f for f in item.option.flags if f not in used)))


def _parameters(item: Taken) -> Iterator[tuple[str, inspect.Parameter]]:
    """The parameters of a field, as typer reads them: its value, and what says no."""
    option, required = item.option, item.info.is_required()
    kind, default = _as_typed(item.info)
    if option.help:
        flags = () if kind is bool and default is True else item.flags  # typer makes --x / --no-x by itself
        said = (
            typer.Argument(metavar=option.metavar, help=option.help)
            if option.argument
            else typer.Option(*flags, help=option.help, metavar=option.metavar, rich_help_panel=option.panel)
        )
        yield item.name, _parameter(item.name, kind, said, inspect.Parameter.empty if required else default)
    if option.off:
        no = typer.Option(option.off, help=option.off_help, rich_help_panel=option.panel)
        yield item.off_name, _parameter(item.off_name, bool, no, default=False)


def _parameter(name: str, kind: Any, said: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, KEYWORD, annotation=Annotated[kind, said], default=default)


def _as_typed(info: FieldInfo) -> tuple[Any, Any]:
    """(type, default) of a field on a command line: several files by repetition, several numbers by commas."""
    leaves, default = leaf_types(info), info.default
    if get_origin(info.annotation) is tuple:
        return (list[Path] | None, None) if leaves == [Path] else (str, ",".join(map(str, default)))
    if len(leaves) > 1:
        return str, default
    return (leaves[0] | None if default is None else leaves[0]), default


def _values(taken: Sequence[Taken], told: Mapping[str, Any]) -> dict[str, Any]:
    """part.field -> value, of the parameters in `told`; what nobody said and has no default is left out."""
    values: dict[str, Any] = {}
    for item in taken:
        value = told.get(item.name)
        if isinstance(value, str) and get_origin(item.info.annotation) is tuple:
            value = _numbers(value, item.flags[-1])
        if value is not None:
            values[item.field] = value
        if told.get(item.off_name):
            values[item.field] = False if item.info.annotation is bool else None
    return values


def _numbers(text: str, flag: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(word) for word in text.split(",") if word.strip()}))
    except ValueError:
        raise InvalidInput(f"{flag} {text}: not numbers", hint=f"for example {flag} 1,2,4,10") from None
