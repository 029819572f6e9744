"""Who owns OUT: what may be written there, what is finished, what an overwrite removes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covaria.errors import RefusedOutput
from covaria.request.model import Request
from covaria.request.stages import STAGES
from covaria.tree import Tree, record
from covaria.tree.publish import remove


def claim(tree: Tree, request: Request, stages: Sequence[str], *, whole_run: bool) -> None:
    """Make OUT ready for `stages`, or refuse. An interrupted OUT is resumed; only the tree's own paths are removed."""
    out = tree.out
    if out.exists() and not out.is_dir():
        raise RefusedOutput("is a file", file=out, hint="give a folder")
    if not tree.is_empty and not tree.is_ours:
        raise RefusedOutput("is not empty and was not made by Covaria", file=out, hint="give a new or an empty folder")
    if whole_run:
        finished = record.read_request(tree) is not None and record.job_document(tree)["status"] == "succeeded"
    else:
        finished = all(_is_finished(tree, stage, request) for stage in stages)
    if request.overwrite:
        if whole_run:
            tree.clear()
        for stage in STAGES[STAGES.index(stages[0]) :]:
            remove(tree.stage_dir(stage))
            remove(tree.checkpoints(stage))
    elif finished:
        what = "a finished run" if whole_run else f"a finished {stages[-1]}"
        raise RefusedOutput(f"holds {what}", file=out, hint="give another folder, or --overwrite to replace it")
    tree.state.mkdir(parents=True, exist_ok=True)
    remove(tree.cancel)


def is_done(tree: Tree, stage: str, fingerprint: str) -> bool:
    """Whether `stage` has finished with exactly these options and inputs."""
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded" and state["fingerprint"] == fingerprint


def stage_folder(stage: str, request: Request) -> Path | None:
    """The folder that `stage` makes alone and that carries its own job.json."""
    tree = Tree(request.out)
    if stage == "density":
        return tree.density
    if stage == "analysis":
        return request.analysis.output or tree.analysis(request.analysis_zdim)
    return None


def _is_finished(tree: Tree, stage: str, request: Request) -> bool:
    """Finished with any options: replacing it needs --overwrite."""
    if stage == "analysis":
        folder = stage_folder(stage, request)
        return folder is not None and Tree(folder).job_json.is_file()
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded"
