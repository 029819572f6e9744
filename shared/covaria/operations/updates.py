"""Updates of a growing set as jobs: what is asked for, and the message that has the services do what `grow` does."""

from __future__ import annotations

from pathlib import Path

from covaria.errors import InvalidInput, RefusedOutput
from covaria.messages.envelope import Message
from covaria.messages.work import JobClass
from covaria.operations.submit import message_for
from covaria.request.identity import job_identity
from covaria.request.model import Request
from covaria.request.origin import Origin
from covaria.request.paths import absolute
from covaria.tree import Tree, record
from covaria.tree.versions import next_of


def next_request(tree: Tree, particles: Path) -> Request:
    """What OUT's run asked for, of another particle file. Raises InvalidInput, RefusedOutput."""
    asked = record.read_request(tree)
    if asked is None:
        raise InvalidInput("is not an output directory of Covaria", file=tree.out, hint="give the OUT of a run")
    status = record.job_document(tree)["status"]
    if status != "succeeded":
        raise RefusedOutput(f"holds a run that is {status}", file=tree.out, hint="finish it: the same command resumes")
    before = Request.model_validate(asked["request"], extra="ignore")
    if not before.ingest.growing or not tree.growth_memory.is_file():
        raise InvalidInput(
            "was not made to grow", file=tree.out, hint="run its particles with --growing into a new folder first"
        )
    ingest = before.ingest.model_copy(update={"particles": particles.absolute(), "grown_from": None})
    analysis = before.analysis.model_copy(update={"output": None})
    changes = {"out": tree.out, "ingest": ingest, "analysis": analysis, "overwrite": False}
    return before.model_copy(update=changes)


def made_next(final: Request) -> Request:
    """The same request in the folder where the next version is made."""
    tree = Tree(final.out)
    ingest = final.ingest.model_copy(update={"grown_from": tree.growth_memory})
    return final.model_copy(update={"out": next_of(tree).out, "ingest": ingest})


def update_message(
    final: Request, *, job_class: JobClass = "live", pool: str = "", command_line: str = "",
    origin: Origin | None = None,
) -> Message:  # fmt: skip
    """The message for the version that `final` asks for. The same version of the file is the same job.

    origin: by default, that of OUT. A message that comes while another update of the set is under way waits, and of
    those that wait the newest is made.
    """
    final = absolute(final)
    before = record.read_request(Tree(final.out)) or {}
    origin = origin or Origin.model_validate(before.get("origin", {}))
    asked = made_next(final).model_copy(update={"overwrite": True})  # of an update that has failed there
    return message_for(
        asked, job_class=job_class, pool=pool, command_line=command_line, job_id=job_identity(final), origin=origin
    )


def grows_into(request: Request) -> bool:
    """Whether OUT is a finished version of a growing set that these very options made: an update will do."""
    tree = Tree(request.out)
    if not request.ingest.growing or not tree.is_ours or not tree.growth_memory.is_file():
        return False
    asked = record.read_request(tree)
    if asked is None or record.job_document(tree)["status"] != "succeeded":
        return False
    plain = request.model_copy(update={"overwrite": False}).model_dump(mode="json")
    before = {**asked["request"], "overwrite": False}
    for one in (plain, before):
        one["ingest"] = {**one["ingest"], "particles": "", "passthrough": []}
    return plain == before
