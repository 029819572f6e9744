"""The runs that are shown: one OUT, or those beneath a folder. A run's name is its path beneath the folder."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.explorer.run_files import RunFiles
from covaria.opening import ANYWHERE, OutsideRoots, Roots
from covaria.operations.jobs_on_disk import find_jobs, view_job
from covaria.plain import explain
from covaria.tree import Tree, record
from covaria.view.accounts import Account

DEPTH = 3
MOST_KEPT = 4
HERE = "."


@dataclass
class Folder:
    """path: an OUT or a folder of some; roots: where files may lie that the runs name; account: who looks, if known."""

    path: Path
    roots: Roots = ANYWHERE
    account: Account | None = None
    kept: OrderedDict[str, tuple[object, RunFiles]] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.path = self.path.resolve()
        if not self.path.is_dir():
            raise MissingFile("no such folder", file=self.path, hint="give the OUT of a run, or a folder of runs")

    def names(self) -> list[str]:
        """Every run's name, sorted."""
        found = [path for path in find_jobs([self.path], DEPTH) if self._may_see(path)]
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def seen_by(self, account: Account | None) -> Folder:
        """The same folder as somebody sees it."""
        return replace(self, account=account)

    def out(self, name: str) -> Path:
        """Where a run lies. Raises OutsideRoots, InvalidInput."""
        path = self.path / name
        if not Roots.of([self.path]).allows(path):
            raise OutsideRoots("lies outside the folder that is shown", file=name, hint="choose a run from the list")
        if not self._may_see(path):
            raise OutsideRoots("may not be seen by this user", file=name, hint="its owner can let you read it")
        if not Tree(path).is_ours:
            raise InvalidInput("is not an output directory of Covaria", file=path, hint="choose a run from the list")
        return path

    def run(self, name: str) -> RunFiles:
        """The files of a run as it is now. Raises CovariaError."""
        out = self.out(name)
        version = self.version(out)
        with self.lock:
            if name in self.kept and self.kept[name][0] == version:
                self.kept.move_to_end(name)
                return self.kept[name][1]
        found = RunFiles(out, self.roots)
        with self.lock:
            self.kept[name] = version, found
            while len(self.kept) > MOST_KEPT:
                self.kept.popitem(last=False)
        return found

    def _may_see(self, path: Path) -> bool:
        if self.account is None:
            return True
        try:
            return self.account.may_see(path.resolve(), self.path)
        except (OSError, ValueError):
            return False

    @staticmethod
    def version(out: Path) -> str:
        """Changes whenever a stage of the run has written."""
        status = Tree(out).job_json.stat() if Tree(out).job_json.is_file() else None
        return "" if status is None else f"{status.st_mtime_ns:x}-{status.st_ino:x}"

    def cards(self) -> list[dict[str, Any]]:
        """What the list shows of each run; one that cannot be read says why."""
        return [self._card(name) for name in self.names()]

    def _card(self, name: str) -> dict[str, Any]:
        card: dict[str, Any] = {"name": name, "label": self.path.name if name == HERE else name}
        try:
            out = self.out(name)
            view, findings = view_job(out), record.read_findings(Tree(out))
            current = view.current
            return card | {
                "status": view.status,
                "submitted_at": view.submitted_at,
                "stage": current.name,
                "stages": [[stage.name, stage.status] for stage in view.stages],
                "progress": current.progress,
                "said": _last_line(Tree(out), current.name) if view.status == "running" else "",
                "error": current.error,
                "headline": findings.headline(),
                "used": findings.used,
                "particles": findings.particles,
                "resolution_angstrom": findings.resolution_angstrom,
                "warnings": list(findings.warnings),
                "version": self.version(out),
                "picture": mean_picture(Tree(out)).is_file(),
            }
        except (CovariaError, OSError) as error:
            told = explain(error)
            return card | {"status": "unreadable", "error": told.message, "hint": told.hint}


def mean_picture(tree: Tree) -> Path:
    """Of the mean map: what a run that goes on shows of it, else its surface among the results; it may not be there."""
    return tree.early_mean_plot if tree.early_mean_plot.is_file() else tree.local_resolution_plot


def _last_line(tree: Tree, stage: str) -> str:
    """What a running stage said last."""
    return record.read_stage_log(tree, stage)[-1000:].decode(errors="replace").strip().rpartition("\n")[2]
