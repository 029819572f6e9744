"""From a request to a message: absolute paths, the job's id, the route, and what can be checked before it is sent."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from covaria.bus.pools import read_pools
from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.messages.envelope import Message, new_message
from covaria.messages.work import JobClass, Work
from covaria.plain import printable
from covaria.request.identity import job_identity
from covaria.request.model import Request
from covaria.request.origin import Origin
from covaria.request.paths import INPUTS, absolute, named_paths
from covaria.request.stages import planned_stages
from covaria.tree import Tree, record


def message_for(
    request: Request,
    *,
    job_class: JobClass = "bulk",
    pool: str = "",
    command_line: str = "",
    job_id: str | None = None,
    origin: Origin | None = None,
    traceparent: str = "",
) -> Message:
    """The message that starts a job.

    The same inputs, options and output folder are the same job; with overwrite each submission is a new one.
    """
    request = absolute(request)
    if job_id is None:
        job_id = job_identity(request) + (f"-{secrets.token_hex(3)}" if request.overwrite else "")
    route = planned_stages(request)
    facts = {"job_class": job_class, "pool": pool, "command_line": command_line, "origin": origin or Origin()}
    work = Work.model_validate({"request": request, "route": route, **facts})
    return new_message(job_id, work, traceparent)


def refuse_unknown_pool(pool: str, pools: Sequence[str]) -> None:
    """Raise InvalidInput for a pool that no stage has."""
    known = {found.name for found in read_pools(pools)}
    if pool and pool not in known:
        names = ", ".join(sorted(known)) or "none are set"
        raise InvalidInput(f"no pool is called {printable(pool[:64])!r}", hint=f"COVARIA_POOLS names them: {names}")


def check_before(message: Message) -> None:
    """Find here what would only fail later. Raises MissingFile, RefusedOutput."""
    for option, path, kind in named_paths(message.work.request):
        if kind in INPUTS and not path.exists():
            raise MissingFile(f"{option} is not there", file=path, hint="check the path; services see the same files")
    tree = Tree(message.work.request.out)
    if not tree.is_empty and not tree.is_ours:
        raise RefusedOutput(
            "is not empty and was not made by Covaria", file=tree.out, hint="give a new or empty folder"
        )
    known = record.read_request(tree)
    if known is not None and known["job_id"] != message.job_id and not message.work.request.overwrite:
        raise RefusedOutput(
            f"holds another job, {known['job_id']}", file=tree.out, hint="give another folder, or --overwrite"
        )
