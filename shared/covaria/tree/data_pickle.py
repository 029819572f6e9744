"""Reading the tree's own pickles: builtins and numpy arrays, and nothing that a file names is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from covaria.errors import InvalidInput, MissingFile


def read_data_pickle(path: Path, *, hint: str = "") -> Any:
    """What `covaria.tree.atomic.write_pickle` (or numpy's own pickling, any protocol) wrote.

    Raises MissingFile, and InvalidInput for a damaged file or one that holds anything but data.
    """
    if not path.is_file():
        raise MissingFile("is not there", file=path, hint=hint)
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError, IndexError) as error:
        raise InvalidInput(f"is not a readable pickle of data: {error}", file=path, hint=hint) from error


class _DataUnpickler(pickle.Unpickler):
    """Builds arrays and nothing else: whatever else a file names is refused before it is imported."""

    allowed = frozenset(
        (module, name)
        for core in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{core}.multiarray", "_reconstruct"),
            (f"{core}.multiarray", "scalar"),
            (f"{core}.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),  # how protocols 0 to 2 write the bytes of an array
        )
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not data")
        return super().find_class(module, name)
