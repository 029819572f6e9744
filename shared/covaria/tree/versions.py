"""Versions of a growing set: the next one is made in OUT/.covaria/next and takes OUT's place when it is whole."""

from __future__ import annotations

from pathlib import Path

from covaria.errors import InvalidInput
from covaria.tree.own_state import STATE
from covaria.tree.paths import Tree

NEXT = "next"


def next_of(tree: Tree) -> Tree:
    """The output directory in which the next version is made; its pen is its own."""
    return Tree(tree.state / NEXT)


def version_before(memory: Path) -> Tree:
    """The output directory whose memory this is. Raises InvalidInput for a file that is no such thing."""
    real = memory.resolve()
    found = Tree(real.parents[2]) if len(real.parents) > 2 else None
    if found is None or found.growth_memory != real:
        raise InvalidInput("is not what a run keeps for growing", file=memory,
                           hint=f"give OUT/{Tree.growth_memory.pattern}")  # fmt: skip
    return found


def becomes(out: Path) -> Path:
    """Where results that are made in `out` will lie: OUT for OUT/.covaria/next, else `out` itself."""
    return out.parent.parent if out.name == NEXT and out.parent.name == STATE else out


def version_numbers(tree: Tree) -> list[int]:
    """The versions that are on record, ascending."""
    return sorted(
        int(path.parent.name) for path in tree.state.glob("versions/*/version.json") if path.parent.name.isdigit()
    )
