"""`covaria status | list | logs | cancel | retry | reconcile`: jobs as the disk shows them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli.terminal import say
from covaria.plain import explain, one_line

if TYPE_CHECKING:
    from covaria.operations.jobs_on_disk import JobView, StageView

SERVICES = "Services"
Job = Annotated[Path, typer.Argument(metavar="OUT", help="The job's output folder.")]
Folders = Annotated[
    list[Path] | None, typer.Argument(metavar="FOLDER...", help="Where to look (default: COVARIA_ROOTS).")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    """Add the commands about jobs."""
    for command in (status, logs, cancel, retry, reconcile):
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

    shown = ""
    while True:
        view = view_job(out)
        text = json.dumps(_plain(view)) if as_json else "\n".join(_lines(view))
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
    as_json: AsJson = False,
) -> None:
    """Every job beneath some folders, with its state."""
    for view in _views(folders):
        if state is not None and view.status != state:
            continue
        if as_json:
            say(json.dumps(_plain(view)))
        else:
            when = one_line(view.submitted_at[:19])
            say(f"{view.status:10} {view.current.name:15} {when} {one_line(view.job_id)}  {one_line(str(view.out))}")


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


def cancel(out: Job) -> None:
    """Cancel a job: whoever runs it stops at its next step; a waiting one ends when its turn comes."""
    from covaria.operations.jobs_on_disk import cancel as cancel_job

    cancel_job(out)
    say(f"{out} will be cancelled; `covaria retry` takes that back")


def retry(out: Job) -> None:
    """Send a failed, parked or cancelled job again; finished stages and steps are kept."""
    from covaria.operations.jobs_on_disk import clear_failure, message_to_resume

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Send again every job that waits or runs on disk, whose lease is dead or free: for a queue that was lost.

    A message that was not lost after all makes a copy, and copies do no harm.
    """
    from covaria.bus.model import BrokerAway
    from covaria.operations.jobs_on_disk import abandoned, message_to_resume
    from covaria.settings import load_settings

    found = abandoned(list(_views(folders)), older_than_s=older_than, dead_after_s=load_settings().lease_dead_s)
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


def _send(message: Any) -> None:
    from covaria.cli.services.submit import send

    send(message)


def _views(folders: list[Path] | None) -> list[JobView]:
    from covaria.errors import InvalidInput
    from covaria.operations.jobs_on_disk import find_jobs, view_job
    from covaria.settings import load_settings

    settings = load_settings()
    places = folders or list(settings.roots)
    if not places:
        raise InvalidInput("no folder to look in", hint="name one, or set COVARIA_ROOTS")
    found = []
    for out in find_jobs(places, settings.scan_depth):
        try:
            found.append(view_job(out))
        except Exception as error:  # whatever a folder holds must not hide the others
            say(one_line(f"{out}: skipped: {explain(error).message}"), err=True)
    return found


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


def _plain(view: JobView) -> dict[str, Any]:
    return {**asdict(view), "out": str(view.out)}
