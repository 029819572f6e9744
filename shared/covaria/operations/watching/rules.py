"""What is watched for and what becomes of it: one rule for each instrument and kind of folder, from YAML.

rules:
  - name: m01-refinements
    folder: /data/m01
    pattern: "{visit}/processing/**/Refine3D/*/*.star"
    into: "/data/m01/{visit}/processed/covaria/{stem}"
    class: live
    origin: {instrument: m01}
    options: {downsample: 128, zdim: [1, 2, 4]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from covaria.errors import InvalidInput
from covaria.messages.envelope import first_problem
from covaria.messages.work import JobClass, PoolName
from covaria.operations.watching.places import Found, Pattern, session_of
from covaria.operations.yaml_files import read_yaml
from covaria.request.model import NOT_OF_A_STREAM, Request
from covaria.request.options import declared, option_of
from covaria.request.origin import Origin

SAID_BY_PATH = ("root", "folder", "name", "stem", "parent", "session")
"""Words that every template may use: the rule's root and folder; of the set its path as one name, its name without
suffix, the name of its folder, its EPU or SerialEM session."""
ORIGIN_WORDS = ("proposal", "visit", "instrument", "sample")
_WORD = re.compile(r"\{([^{}]*)\}")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Rule(BaseModel):
    """Which sets are taken, and as which jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Name
    folder: Path
    pattern: str = "**/*.star"
    into: str
    """The output folder: a template."""
    root: Path | None = None
    job_class: JobClass = Field(default="live", alias="class")
    pool: PoolName = ""
    origin: dict[str, str] = Field(default_factory=dict)
    """Whose the jobs are: templates. Words of the pattern called proposal, visit, instrument, sample count too."""
    metadata: dict[str, str] = Field(default_factory=dict)
    settle_s: Annotated[float, Field(ge=0)] = 60.0
    marker: Annotated[str, Field(pattern=r"^[^/\x00]+$")] | None = None
    """A file of this name beside a set says: complete."""
    again: Literal["replace", "beside", "never"] = "replace"
    """What becomes of a new version of a set: it replaces the results, once they are whole; it gets a folder of its own
    beside them; it is left."""
    options: dict[str, Any] = Field(default_factory=dict)
    """As `covaria submit` names them, without dashes in front."""

    @field_validator("folder", "root", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError(f"{str(path)!r} is not an absolute path")
        return path

    @model_validator(mode="after")
    def _known_words(self) -> Self:
        try:
            known = (*SAID_BY_PATH, *Pattern(self.pattern).words)
            options = _by_field(self.options)
            self.request(Path("/particles.star"), Path("/out"), options=options)
        except InvalidInput as error:
            raise ValueError(error.message) from None
        if unknown := sorted(set(self.origin) - set(ORIGIN_WORDS)):
            raise ValueError(f"origin: {unknown[0]!r} is none of {', '.join(ORIGIN_WORDS)}")
        for template in (self.into, *self.origin.values(), *self.metadata.values()):
            unknown = [word for word in _WORD.findall(template) if word not in known]
            if unknown:
                raise ValueError(f"{template!r}: {{{unknown[0]}}} is none of {', '.join(sorted(known))}")
        return self

    def words(self, found: Found) -> dict[str, str]:
        """What the path of a set says, for templates."""
        parts = found.relative.split("/")
        stem = Path(parts[-1]).stem
        name = "__".join([*parts[:-1], stem]).lstrip(".")
        session = session_of(found.path, self.folder) if "{session}" in self._templates() else ""
        fixed = {"root": str(self.root or self.folder), "folder": str(self.folder), "name": name, "session": session}
        return {**found.words, **fixed, "stem": stem.lstrip("."), "parent": found.path.parent.name}

    def output(self, words: Mapping[str, str]) -> Path:
        """The output folder that the template gives. Raises InvalidInput where a word of it is empty."""
        return Path(_filled(self.into, words))

    def whose(self, words: Mapping[str, str]) -> Origin:
        """Whose the job is. Raises InvalidInput."""
        said = {name: words[name] for name in ORIGIN_WORDS if name in words}
        said |= {name: _filled(template, words) for name, template in self.origin.items()}
        labels = {name: _filled(template, words) for name, template in self.metadata.items()}
        try:
            return Origin(metadata=labels, **said)
        except ValidationError as error:
            raise InvalidInput(
                f"origin of rule {self.name}: {first_problem(error)}", hint="rename the folder, or change the rule"
            ) from None

    def request(
        self,
        particles: Path,
        out: Path,
        passthrough: tuple[Path, ...] = (),
        *,
        overwrite: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> Request:
        """What is asked for, of one set. Raises InvalidInput."""
        document: dict[str, Any] = {"out": out, "overwrite": overwrite}
        for option, value in (_by_field(self.options) if options is None else options).items():
            part, _, field = option.rpartition(".")
            (document.setdefault(part, {}) if part else document)[field] = value
        own: dict[str, Any] = {"particles": particles} | ({"passthrough": passthrough} if passthrough else {})
        document["ingest"] = document.get("ingest", {}) | own
        try:
            return Request.model_validate(document)
        except ValidationError as error:
            raise InvalidInput(f"options of rule {self.name}: {first_problem(error)}", hint="see --help") from None

    def _templates(self) -> str:
        return " ".join((self.into, *self.origin.values(), *self.metadata.values()))


class _Rules(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {twice[0]!r}")
        return self


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a file. Raises MissingFile, InvalidInput that names what is wrong."""
    return read_yaml(path, _Rules, of="rules", chapter="Triggers").rules


def _by_field(options: Mapping[str, Any]) -> dict[str, Any]:
    """part.field -> value, of options by the names that the command line gives them."""
    known: dict[str, str] = {}
    turned_off: dict[str, tuple[str, bool | None]] = {}
    for field, info in declared(Request).items():
        option = option_of(info)
        if option is None or field in NOT_OF_A_STREAM:
            continue
        flags = option.flags or ("--" + (option.name or field.rpartition(".")[2]),)
        known |= {_plain(flag): field for flag in (*flags, field)}
        if option.off:
            turned_off[_plain(option.off)] = (field, False if info.annotation is bool else None)
    values: dict[str, Any] = {}
    for name, value in options.items():
        if _plain(name) in turned_off and value is True:
            field, off = turned_off[_plain(name)]
            values[field] = off
        elif _plain(name) in known:
            values[known[_plain(name)]] = value
        else:
            raise InvalidInput(f"options: {name!r} is no option of a stream of sets", hint="see covaria submit --help")
    return values


def _plain(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _filled(template: str, words: Mapping[str, str]) -> str:
    def word(match: re.Match[str]) -> str:
        value = words[match.group(1)]
        if not value:
            raise InvalidInput(f"its path gives no {match.group(1)} for {template!r}", hint="change the rule")
        return value

    return _WORD.sub(word, template)
