"""Covaria in Python: `covaria.run` makes an output directory, `covaria.open` reads one."""

from covaria.api.opened import Run, open_run
from covaria.api.start import run
from covaria.api.subset import Subset
from covaria.api.volume import State, Volume

__all__ = ["Run", "State", "Subset", "Volume", "open_run", "run"]
