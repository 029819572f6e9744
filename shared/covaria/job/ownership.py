"""Who owns OUT: what may be written there, what is finished, what an overwrite replaces.

Nothing finished is removed before what replaces it is whole: each stage's results change places with the old ones at
its end, and what the new job does not make goes when all of it has succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covaria import __version__
from covaria.errors import RefusedOutput
from covaria.request.identity import stage_fingerprint
from covaria.request.model import Request
from covaria.request.stages import STAGES, in_order
from covaria.stage import Job
from covaria.tree import Tree, record
from covaria.tree.entry import rows
from covaria.tree.folders import Documents
from covaria.tree.own_state import STATE


def refuse_foreign(tree: Tree) -> None:
    """Raise RefusedOutput for an OUT that Covaria may not write in."""
    if tree.out.exists() and not tree.out.is_dir():
        raise RefusedOutput("is a file", file=tree.out, hint="give a folder")
    if tree.is_empty or tree.is_ours:
        return
    if tree.state.is_symlink() or tree.state.exists():
        raise RefusedOutput(
            "is a link, a file or somebody else's folder", file=tree.state, hint="give a new or an empty folder"
        )
    raise RefusedOutput("is not empty and was not made by Covaria", file=tree.out, hint="give a new or an empty folder")


def refuse_finished(tree: Tree, request: Request, stages: Sequence[str], *, whole_run: bool) -> None:
    """Raise RefusedOutput where `stages` are done already, with any options, and may not be replaced."""
    if request.overwrite:
        return
    if whole_run:
        finished = record.read_request(tree) is not None and record.job_document(tree)["status"] == "succeeded"
    else:
        finished = all(_is_finished(tree, stage, request) for stage in stages)
    if finished:
        what = "a finished run" if whole_run else f"a finished {stages[-1]}"
        hint = _instead(tree, request, stages, whole_run=whole_run)
        raise RefusedOutput(f"holds {what}", file=tree.out, hint=hint)


def _instead(tree: Tree, request: Request, stages: Sequence[str], *, whole_run: bool) -> str:
    """What does what was meant."""
    if not whole_run and stages[-1] == "analysis":
        return "--name NAME (or -o DIR) puts another analysis beside it, --overwrite replaces it"
    if not whole_run:
        later = _words(STAGES[STAGES.index(stages[-1]) + 1 :])
        return f"--overwrite replaces it: what was made of it, {later}, is then to be made again"
    again = to_renew(tree, request.model_copy(update={"overwrite": True}), stages, "", whole_run=True)
    kept = [stage for stage in stages if stage not in again]
    if not kept:
        return "give another folder, or --overwrite to make all of it again"
    made = [stage for stage in stages if stage in again]
    return f"give another folder, or --overwrite: it makes {_words(made)} again and keeps {_words(kept)}"


def _words(stages: Sequence[str]) -> str:
    return ", ".join(stages[:-1]) + (f" and {stages[-1]}" if stages[1:] else "".join(stages))


def to_renew(tree: Tree, request: Request, stages: Sequence[str], job_id: str, *, whole_run: bool) -> tuple[str, ...]:
    """Which stages an overwrite does afresh. One that was interrupted goes on: only what it has not done is left.

    Of a whole run, stages before the first that has other options, inputs or another version of Covaria are kept; where
    none has, all are done afresh.
    """
    if not request.overwrite:
        return ()
    before = record.read_request(tree)
    if before is None:
        return ()
    unfinished = whole_run and before["job_id"] == job_id and before.get("replaces", False)
    if unfinished and record.job_document(tree)["status"] != "succeeded":
        return ()
    first = STAGES.index(stages[0])
    if whole_run:
        known = in_order({*stages, *before["stages"]})
        changed = [STAGES.index(stage) for stage in known if not _is_unchanged(tree, stage, request)]
        first = min(changed, default=first)
    return STAGES[first:]


def _is_unchanged(tree: Tree, stage: str, request: Request) -> bool:
    state = record.read_stage_state(tree, stage)
    if state is None or state.get("environment", {}).get("covaria") != __version__:
        return False
    return is_done(tree, stage, stage_fingerprint(stage, request))


def prune(tree: Tree) -> None:
    """After the last stage of a job that replaces another: remove the results of ours that it did not make."""
    request = record.read_request(tree)
    if request is None or not request.get("replaces", False):
        return
    states = [record.read_stage_state(tree, stage) for stage in request["stages"]]
    if not all(state is not None and state["status"] == "succeeded" for state in states):
        return
    made = {name.split("/")[0] for state in states if state is not None for name in state.get("files", {})}
    documents = {Path(path).name for path in (Documents.job_json.pattern, Documents.command_txt.pattern)}
    documents |= {Documents.run_log.pattern, Documents.readme.pattern}
    for path in list(tree.owned()):
        if path.name not in made | documents | {STATE}:
            tree.pen.remove(path)
    for stage in set(STAGES) - set(request["stages"]):
        tree.pen.remove(tree.stage_dir(stage))
    record.note_replaced(tree)


def is_done(tree: Tree, stage: str, fingerprint: str) -> bool:
    """Whether `stage` has finished with exactly these options and inputs."""
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded" and state.get("fingerprint") == fingerprint


def stage_folder(stage: str, request: Request) -> Path | None:
    """The folder that `stage` makes alone and that carries its own job.json."""
    tree = Tree(request.out)
    if stage == "density":
        return tree.density
    if stage == "analysis":
        return request.analysis.output or tree.analysis(request.analysis_zdim, request.analysis.name)
    return None


def refuse_anothers(folder: Path, job: Job, tree: Tree) -> None:
    """Raise RefusedOutput where `folder`, which a user named, is another's, or is where this run's other results lie.

    A folder of its own may be replaced with --overwrite; one in another job's OUT never.
    """
    document = record.read_folder_document(folder)
    around = folder.resolve().parent
    within_another = Tree(around).is_ours and around != tree.out.resolve()
    anothers = document is not None and document["job_id"] != job.job_id
    if document is not None and anothers and (within_another or not job.request.overwrite):
        raise RefusedOutput(
            f"holds results of another job, {document['job_id']}", file=folder, hint="give another folder with -o"
        )
    refuse_over_results(folder, tree)


def refuse_over_results(folder: Path, tree: Tree) -> None:
    """Raise RefusedOutput where `folder` lies in another job's OUT, or where other results of this one belong."""
    real, out = folder.resolve(), tree.out.resolve()
    around = next((place for place in (real, *real.parents) if Tree(place).is_ours), None)
    if around not in (None, out):
        raise RefusedOutput(f"lies in the folder of another job, {around}", file=folder, hint="give another folder")
    tops = {row.pattern.split("/")[0] for row in rows(Tree)} - {"analysis_{}{label}"}
    if out.is_relative_to(real) or (real.is_relative_to(out) and real.relative_to(out).parts[0] in tops):
        raise RefusedOutput("holds other results of this run", file=folder, hint="give the analysis its own folder")


def _is_finished(tree: Tree, stage: str, request: Request) -> bool:
    """Finished with any options: replacing it needs --overwrite."""
    if stage == "analysis":
        folder = stage_folder(stage, request)
        return folder is not None and Tree(folder).job_json.is_file()
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded"
