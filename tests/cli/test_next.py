"""Every command that is printed as the next one works, as a shell takes it; README.txt names only what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DENSITY_BYTES = 10 << 20
"""What a plan sets aside for the density, which this chain leaves out."""
SMALL = "--zdim 1,2 --n-clusters 3 --n-vols-along-path 2 --skip-umap --device cpu --memory-gb 2"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory):
    """Run a line in a shell that has `covaria`, in a folder whose name has a space; its standard output."""
    where = tmp_path_factory.mktemp("a shell")
    program = where / "bin" / "covaria"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom covaria.cli import main\nmain()\n")
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def run(line: str, code: int = 0) -> str:
        done = subprocess.run(line, shell=True, cwd=where, env=environment, capture_output=True, text=True, timeout=250)
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run.where = where
    return run


def _next(text: str) -> list[str]:
    return [line.removeprefix("next").strip() for line in text.splitlines() if line.startswith("next ")]


def _names_only_what_is_there(folder: Path) -> None:
    text = (folder / "README.txt").read_text().split("What each file is")[1].split("\nNext\n")[0]
    named = set(re.findall(r"[\w.-]+/[\w/.-]+\.(?:mrcs?|npy|npz|pkl|png|star|txt|json)\b", text))
    assert named and all((folder / name).is_file() for name in named), named


def test_each_command_leads_to_the_next(shell) -> None:
    """simulate -> run's mean -> the motion -> analyze -> state, trajectory and subset, each line as it was printed."""
    where: Path = shell.where
    (run,) = _next(shell("covaria simulate 'my set' --states presence --n-images 400 --box 32 --snr 1"))
    assert run == "covaria run 'my set/particles.star' -o 'my set-run' --no-downsample"
    planned = shell(f"{run} --dry-run {SMALL}")
    (reconstruct,) = _next(shell(f"{run} --only-mean {SMALL}"))
    out = where / "my set-run"
    assert "open output/volumes/mean_filt.mrc" in (out / "README.txt").read_text()
    _names_only_what_is_there(out)
    for command in ("analyze", "density"):
        shell(f"covaria {command} {str(out)!r}", code=2)
    (analyze,) = _next(shell(reconstruct))
    assert analyze.startswith("covaria analyze ")
    more = _next(shell(f"{analyze} --n-clusters 3 --n-vols-along-path 2 --skip-umap"))
    assert [line.split()[1] for line in more] == ["state", "trajectory", "subset"]
    for line in more:
        shell(line)
    assert (where / "my set-run-states" / "state002.mrc").is_file()
    assert (where / "my set-run-path" / "path.json").is_file()
    assert (where / "my set-run-cluster0" / "particles.star").is_file()
    for folder in (out, out / "analysis_2"):
        _names_only_what_is_there(folder)
    made = sum(path.stat().st_size for path in out.rglob("*") if path.is_file() and ".covaria" not in path.parts)
    expected = re.search(r"disk +([\d.]+) MB needed", planned)
    assert expected is not None and 0.5 < made / (1e6 * float(expected[1]) - DENSITY_BYTES) < 1.2, (planned, made)
    lines = (out / "README.txt").read_text().split("\nNext\n")[1].splitlines()
    assert [line.strip() for line in lines] == more, "README.txt says the same"
