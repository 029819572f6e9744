"""Print what Covaria and the named extras require of others, extras of extras included, one a line.

python3 requirements.py pyproject.toml EXTRA...
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """Third-party requirements, in the order of the file. Raises KeyError for an unknown extra."""
    name, table = project["name"], project["optional-dependencies"]
    assert isinstance(table, dict)
    assert isinstance(project["dependencies"], list)
    found = list(project["dependencies"])
    for extra in extras:
        for entry in table[extra]:
            own = re.fullmatch(rf"{name}\[([a-z, ]+)\]", entry)
            found += requirements(project, re.split(r", *", own[1])) if own else [entry]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    print("\n".join(requirements(tomllib.loads(Path(sys.argv[1]).read_text())["project"], sys.argv[2:])))
