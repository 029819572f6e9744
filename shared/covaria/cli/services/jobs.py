"""`covaria status | list | logs | cancel | retry | reconcile`: jobs as the disk shows them."""

from __future__ import annotations

import json
import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli.services.submit import JobClass, JobClassChoice
from covaria.cli.terminal import say
from covaria.plain import explain, one_line

if TYPE_CHECKING:
    from covaria.operations.jobs_on_disk import JobView, StageView

SERVICES = "Services"
Job = Annotated[Path, typer.Argument(metavar="OUT", help="The job's output folder.")]
Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="FOLDER...", help="Where to look (default: COVARIA_ROOTS).")
]
OverBus = Annotated[
    str | None,
    typer.Option("--over-bus", metavar="JOB", help="Ask the services to do it, by the job's id."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Walk = Annotated[bool, typer.Option("--walk", help="Look through all folders, whatever the ledger says.")]


class OwnerChoice(StrEnum):
    """Whom a job belongs to."""

    PROPOSAL = "proposal"
    VISIT = "visit"
    INSTRUMENT = "instrument"
    SAMPLE = "sample"


def register(app: typer.Typer) -> None:
    """Add the commands about jobs."""
    for command in (status, logs, cancel, retry, priority, reconcile, account):
        app.command(name=command.__name__, rich_help_panel=SERVICES)(command)
    app.command(name="list", rich_help_panel=SERVICES)(list_jobs)


def status(
    *,
    out: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and show progress until the job ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stage, step, rate and time left of one job."""
    from covaria.operations.jobs_on_disk import ENDED, view_job
    from covaria.operations.ledger.rows import plain

    shown = ""
    while True:
        view = view_job(out)
        text = json.dumps(plain(view)) if as_json else "\n".join(_lines(view))
        if text != shown:
            say(text if not follow or not shown or as_json else _current(view.current))
            shown = text
        if not follow or view.status in (*ENDED, "parked"):
            return
        time.sleep(1.0)


def list_jobs(
    *,
    folders: Folders = None,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    walk: Walk = False,
    as_json: AsJson = False,
) -> None:
    """Every job beneath some folders, with its state: from the ledger where COVARIA_LEDGER names one."""
    from covaria.operations.ledger.reading import jobs
    from covaria.settings import load_settings

    for job in jobs(load_settings(), folders, state, walk=walk):
        if as_json:
            say(json.dumps(job))
            continue
        stage = next((stage for stage in job["stages"] if stage["status"] != "succeeded"), job["stages"][-1])
        words = f"{job['status']:10} {stage['name']:15} {job['submitted_at'][:19]} {job['job_id']}"
        say(one_line(f"{words}  {job['out']}"))


def logs(
    *,
    out: Job,
    stage: Annotated[str | None, typer.Option(help="Of this stage only.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay and show new lines.")] = False,
) -> None:
    """The log of a job, as its stages write it."""
    from covaria.errors import InvalidInput
    from covaria.operations.jobs_on_disk import ENDED, view_job
    from covaria.request.stages import STAGES
    from covaria.tree import Tree, record

    if stage is not None and stage not in STAGES:
        raise InvalidInput(f"no stage {stage!r}", hint=f"one of {', '.join(STAGES)}")
    tree, shown = Tree(out), dict.fromkeys(STAGES, 0)
    while True:
        ended = view_job(out).status in (*ENDED, "parked")
        for name in [stage] if stage else STAGES:
            for data in record.read_stage_log_on(tree, name, shown[name]):
                shown[name] += len(data)
                say(data.decode("utf-8", "replace"), nl=False)
        if not follow or ended:
            return
        time.sleep(1.0)


def cancel(*, out: Job, over_bus: OverBus = None) -> None:
    """Cancel a job: whoever runs it stops at its next step; a waiting one ends when its turn comes."""
    from covaria.operations.jobs_on_disk import cancel as cancel_job

    if over_bus is not None:
        _order("cancel", out, over_bus)
        return
    cancel_job(out)
    say(f"{out} will be cancelled; `covaria retry` takes that back")


def priority(
    *,
    out: Job,
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as `submit` printed it.")],
    job_class: JobClass = JobClassChoice.live,
) -> None:
    """Ask the services to put a job into the other class: what waits of it now, and its later stages."""
    _order("priority", out, job_id, job_class.value)


def retry(*, out: Job, over_bus: OverBus = None) -> None:
    """Send a failed, parked or cancelled job again; finished stages and steps are kept."""
    from covaria.operations.jobs_on_disk import clear_failure, message_to_resume

    if over_bus is not None:
        _order("retry", out, over_bus)
        return
    message = message_to_resume(out)
    if message is None:
        say(f"{out} has succeeded; nothing to do")
        return
    clear_failure(out)
    _send(message)
    say(f"job {message.job_id}: sent again from {message.stage}")


def reconcile(
    *,
    folders: Folders = None,
    older_than: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Leave alone what changed since.")
    ] = 3600.0,
    walk: Walk = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Send again every job that waits or runs on disk, whose lease is dead or free: for a queue that was lost.

    A message that was not lost after all makes a copy, and copies do no harm. With --walk the ledger is made to say
    what the folders say.
    """
    from covaria.bus.model import BrokerAway
    from covaria.operations.jobs_on_disk import abandoned, message_to_resume
    from covaria.operations.ledger.reading import moving, rebuild
    from covaria.settings import load_settings

    settings = load_settings()
    count = rebuild(settings, folders) if walk and not dry_run else None
    if count is not None:
        say(f"the ledger says what {count} folders say")
    views = moving(settings, folders, walk=walk)
    found = abandoned(views, older_than_s=older_than, dead_after_s=settings.lease_dead_s)
    for view in found:
        try:
            message = message_to_resume(view.out)
            if message is not None and not dry_run:
                _send(message)
        except BrokerAway:
            raise
        except Exception as error:  # one that cannot be sent must not keep the others
            say(f"{one_line(str(view.out))}: not sent: {one_line(explain(error).message)}", err=True)
            continue
        if message is not None:
            sent = "would send" if dry_run else "sent"
            say(f"{sent} {message.job_id} from {message.stage}: {one_line(str(view.out))}")
    say(f"{len(found)} jobs")


def _order(action: str, out: Path, job_id: str, job_class: str | None = None) -> None:
    import getpass

    from pydantic import ValidationError

    from covaria.cli.services.submit import dispatching
    from covaria.errors import InvalidInput
    from covaria.messages.control import Order
    from covaria.messages.envelope import first_problem

    try:
        order = Order.model_validate(
            {"job_id": job_id, "action": action, "out": str(out.absolute()), "job_class": job_class,
             "by": getpass.getuser()}
        )  # fmt: skip
    except ValidationError as error:
        raise InvalidInput(first_problem(error), hint="the id as `covaria submit` and `covaria list` show it") from None
    with dispatching() as dispatch:
        dispatch.order(order)
    say(f"asked for: {action} of job {job_id}; its events tell what came of it")


def _send(message: Any) -> None:
    from covaria.cli.services.submit import send

    send(message)


def _lines(view: JobView) -> list[str]:
    lines = [one_line(f"{view.out}: {view.status}   job {view.job_id}, submitted {view.submitted_at[:19]}")]
    if view.lease is not None and not view.lease.released:
        lines.append(one_line(f"  held by {view.lease.owner}"))
    return lines + [f"  {_current(stage)}" for stage in view.stages]


def _current(stage: StageView) -> str:
    parts = [f"{stage.name:15} {stage.status:10}"]
    if stage.attempt is not None and stage.attempt > 1:
        parts.append(f"attempt {stage.attempt}")
    progress = stage.progress
    if progress is not None:
        unit = progress.get("unit", "")
        parts.append(f"{progress['step']} {progress['done']:,}/{progress['total']:,} {unit}")
        if progress.get("per_second"):
            parts.append(f"{progress['per_second']:,.0f} {unit}/s")
        if progress.get("seconds_left"):
            parts.append(f"{_duration(progress['seconds_left'])} left in this step")
    elif stage.seconds is not None and stage.status == "succeeded":
        parts.append(_duration(stage.seconds))
    if stage.error:
        parts.append(stage.error)
    return one_line("  ".join(parts))


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"


def account(
    *,
    folders: Folders = None,
    by: Annotated[OwnerChoice, typer.Option(help="Whose use is added up.")] = OwnerChoice.PROPOSAL,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only jobs submitted on that day (UTC) or later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Who used what: jobs, GPU hours, CPU hours, TB on the disk. In a ledger deleted jobs keep what they cost."""
    from covaria.operations.ledger.reading import account as used
    from covaria.settings import load_settings

    begin = "" if since is None else since.date().isoformat()
    if not as_json:
        say(f"{by.value:32} {'jobs':>8} {'GPU h':>10} {'CPU h':>10} {'TB':>8}")
    for owner, jobs, gpu_s, cpu_s, size in used(load_settings(), folders, by.value, begin):
        if as_json:
            row = {by.value: owner, "jobs": jobs, "gpu_hours": gpu_s / 3600, "cpu_hours": cpu_s / 3600, "bytes": size}
            say(json.dumps(row))
        else:
            name = one_line(owner or "(not said)")[:32]
            say(f"{name:32} {jobs:>8} {gpu_s / 3600:>10.2f} {cpu_s / 3600:>10.2f} {size / 1e12:>8.3f}")
