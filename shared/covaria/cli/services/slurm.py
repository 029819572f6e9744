"""`covaria sbatch` and `covaria launcher slurm`: the same program where a cluster's GPUs stand under Slurm."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli.services.worker import ClassChoice, StageChoice
from covaria.cli.terminal import say
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.operations.slurm import Slurm

SLURM = "Slurm"
LOOK_AFTER_S = 2.0
"""By then Slurm has looked at a new job."""
FOLLOW_EVERY_S = 5.0
SHARING = ("run", "reconstruct")
"""What several nodes can share."""
ALLOWED = ("run", "ingest", "reconstruct", "density", "analyze", "state", "trajectory")

Partition = Annotated[str | None, typer.Option(help="Slurm's partition.", rich_help_panel=SLURM)]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs of each node.", rich_help_panel=SLURM)]
Cpus = Annotated[int, typer.Option(min=1, help="CPU cores of each node.", rich_help_panel=SLURM)]
Memory = Annotated[int, typer.Option("--mem-gb", min=1, help="Memory of each node, GB.", rich_help_panel=SLURM)]
Time = Annotated[
    str | None,
    typer.Option("--time", help="Longest time, D-HH:MM:SS; what is left is resumed.", rich_help_panel=SLURM),
]
Account = Annotated[str | None, typer.Option(help="Slurm's account.", rich_help_panel=SLURM)]
Image = Annotated[
    Path | None, typer.Option(help="Apptainer image (default: the covaria on the node's PATH).", rich_help_panel=SLURM)
]
Bind = Annotated[
    list[Path] | None, typer.Option(help="Folder that the container sees; repeatable.", rich_help_panel=SLURM)
]
Extra = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="--NAME=VALUE", help="Any of sbatch's; repeatable.", rich_help_panel=SLURM),
]

launcher = typer.Typer(no_args_is_help=True, help="Start workers where messages wait.")


def register(app: typer.Typer) -> None:
    """Add sbatch and launcher."""
    app.command("sbatch", rich_help_panel="Services", context_settings={"allow_interspersed_args": False})(sbatch)
    launcher.command("slurm")(launch)
    app.add_typer(launcher, name="launcher", rich_help_panel="Services")


def sbatch(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="A command of covaria: run, density, ...")],
    *,
    partition: Partition = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that share the run.", rich_help_panel=SLURM)] = 1,
    gpus: Gpus = 0,
    cpus: Cpus = 4,
    mem_gb: Memory = 32,
    time_limit: Time = None,
    account: Account = None,
    image: Image = None,
    bind: Bind = None,
    option: Extra = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and tell what becomes of the job; exit 0 when it is done.")
    ] = False,
) -> None:
    """Queue one command of covaria in Slurm, without a broker; it goes on by itself after a preemption or its time.

    `run` is looked through first (--dry-run), so that what would be refused is refused here.
    """
    from covaria.operations.slurm import Resources, Slurm

    if command[0] not in ALLOWED:
        raise InvalidInput(f"{command[0]!r} is not run in a batch job", hint=f"one of {', '.join(ALLOWED)}")
    if nodes > 1 and command[0] not in SHARING:
        raise InvalidInput(
            f"--nodes {nodes}: {command[0]} runs on one", hint=f"only {' and '.join(SHARING)} are shared"
        )
    resources = Resources(
        partition, gpus, cpus, mem_gb, time_limit, account, image, tuple(bind or ()), tuple(option or ()), nodes
    )
    if command[0] == "run" and "--dry-run" not in command:
        _look_through(command)
    slurm, name = Slurm(), f"covaria-{command[0]}-{secrets.token_hex(4)}"
    number = slurm.submit(name, ["covaria", *command], resources)
    say(f"Slurm job {number}: covaria {shlex.join(command)}")
    say(f"its words go to slurm-{number}.out; `squeue --job {number}` follows it, `scancel {number}` ends it")
    time.sleep(LOOK_AFTER_S)
    jobs = slurm.jobs(name)
    if jobs.stuck:
        say(f"{jobs}. As it was asked for it will not start: `scancel {number}`; `sinfo` shows what there is", err=True)
    elif follow:
        _follow(slurm, name)


def _follow(slurm: Slurm, name: str) -> None:
    """Tell what becomes of a job until it has ended."""
    from covaria.operations.slurm import SlurmRefused
    from covaria.operations.slurm_news import News

    news, said = News(slurm, name), ""
    while True:
        try:
            jobs = slurm.jobs(name)
            for line in news.of(jobs):
                say(line)
            if not news.alive:
                raise typer.Exit(not any(row.state == "COMPLETED" for row in jobs.rows))
        except SlurmRefused as refused:  # the controller is away for a moment: the job is not
            if str(refused) != said:
                say(f"{refused}", err=True)
            said = str(refused)
        time.sleep(FOLLOW_EVERY_S)


def launch(
    stage: Annotated[StageChoice, typer.Argument(help="The stage to serve.")],
    *,
    job_class: Annotated[ClassChoice, typer.Option("--class", help="Queues to serve.")] = ClassChoice.both,
    most: Annotated[int, typer.Option(min=1, help="Jobs at a time, waiting and running.")] = 4,
    max_jobs: Annotated[int, typer.Option(min=1, help="Messages that one job deals with.")] = 1,
    idle_exit: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="A job ends after this long without one.")
    ] = 60.0,
    every: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How often to look.")] = 15.0,
    log_file: Annotated[str, typer.Option(help="Of each job; %j is its number.")] = "slurm-%j.out",
    once: Annotated[bool, typer.Option("--once", help="Look once; an error is the exit code.")] = False,
    partition: Partition = None,
    gpus: Gpus = 0,
    cpus: Cpus = 4,
    mem_gb: Memory = 32,
    time_limit: Time = None,
    account: Account = None,
    image: Image = None,
    bind: Bind = None,
    option: Extra = None,
) -> None:
    """Queue a worker of STAGE in Slurm for every message that waits for one; runs until SIGTERM. Takes COVARIA_*."""
    import signal
    import threading

    from covaria.bus.rabbit import RabbitBus
    from covaria.bus.topology import CLASSES
    from covaria.operations.launcher import Launcher
    from covaria.operations.slurm import Resources
    from covaria.settings import load_settings
    from covaria.worker.logs import set_up_logging

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    resources = Resources(
        partition, gpus, cpus, mem_gb, time_limit, account, image, tuple(bind or ()), tuple(option or ())
    )
    classes = CLASSES if job_class is ClassChoice.both else (job_class.value,)
    bus, ends = RabbitBus(settings), (most, max_jobs, idle_exit, log_file)
    found = Launcher(bus, stage.value, classes, resources, *ends, pool=settings.pool)
    if once:
        found.bus.open()
        for number in found.step():
            say(f"Slurm job {number}")
        found.bus.close()
        return
    stopped = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopped.set())
    while not stopped.is_set():
        found.patient_step()
        stopped.wait(every)
    found.bus.close()


def _look_through(command: list[str]) -> None:
    """Raises InvalidInput where the command would be refused at its start."""
    # No shell: the words go to this program's own parser.
    this = [sys.executable, "-c", "from covaria.cli import main; main()"]
    done = subprocess.run([*this, *command, "--dry-run"], capture_output=True, text=True, check=False)  # nosec B603
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise InvalidInput(f"covaria {command[0]} would be refused:\n{said}", hint="correct it; nothing was queued")
