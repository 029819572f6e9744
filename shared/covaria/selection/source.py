"""The columns of the file that a run was made from, by the names that selections use: rlnDefocusU, ctf_df1_A,
cisTEMScore."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.opening import ANYWHERE, Roots
from covaria.particles.cryosparc.table import CsTable
from covaria.particles.par import ParTable
from covaria.particles.read import kind_of, read_metadata
from covaria.particles.star import cistem
from covaria.particles.star.grammar import read_star
from covaria.particles.star.relion import MICROGRAPH, find_tables
from covaria.particles.star.table import StarTable
from covaria.request.model import IngestOptions

Values = NDArray[Any]


class SourceColumns:
    """Each column, (N,) over the source's rows, is read when it is first asked for."""

    def __init__(self, ingest: IngestOptions, roots: Roots = ANYWHERE) -> None:
        self.ingest, self.roots = ingest, roots

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A STAR's labels without their underscore; a .cs file's fields of one value with _ for /; a .par's names."""
        if self._star is not None:
            return tuple(label.removeprefix("_") for label in self._star.labels)
        if self._par is not None:
            return self._par.names
        return tuple(self._fields)

    def column(self, name: str) -> Values:
        """Numbers as float64 where every value is one, else texts."""
        if self._star is not None:
            return _numbers_or_texts(self._star.columns([f"_{name}"], [])[f"_{name}"])
        if self._par is not None:
            return self._par.column(name)
        assert self._cs is not None
        values = self._cs.get(self._fields[name])
        assert values is not None
        return values.astype(str) if values.dtype.kind == "S" else values

    def micrograph(self) -> Values:
        """Names as the source writes them. Raises InvalidInput where it names none."""
        for label in (MICROGRAPH, cistem.MICROGRAPH):
            if self._star is not None and label in self._star:
                return np.asarray(self._star.columns([label], [])[label])
        described = read_metadata(self.ingest, roots=self.roots).metadata
        if described.micrograph is None:
            raise InvalidInput("the source names no micrographs", file=self.ingest.particles)
        return np.array(described.micrograph_names, dtype=object)[described.micrograph]

    @cached_property
    def _star(self) -> StarTable | None:
        path = self.ingest.particles
        return find_tables(read_star(path, self.roots), path).particles if kind_of(path) == "star" else None

    @cached_property
    def _par(self) -> ParTable | None:
        path = self.ingest.particles
        return ParTable(path, self.roots) if kind_of(path) == "par" else None

    @cached_property
    def _cs(self) -> CsTable | None:
        path = self.ingest.particles
        if kind_of(path) != "cs":
            return None
        return CsTable(path, self.ingest.passthrough, self.roots)

    @cached_property
    def _fields(self) -> dict[str, str]:
        if self._cs is None:
            return {}
        found = {}
        for field in self._cs.names:
            values = self._cs.get(field)
            if values is not None and values.ndim == 1:
                found[field.replace("/", "_")] = field
        return found


def _numbers_or_texts(values: Values) -> Values:
    try:
        return values.astype(np.float64)
    except ValueError:
        return values
