"""Slurm by its commands: workers for messages, one run as a job, what is refused, and a job that is asked to stop."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_slurm
import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria import __version__
from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.model import Outgoing
from covaria.bus.topology import CLASSES, JOBS, build_topology
from covaria.errors import InvalidInput
from covaria.operations.launcher import Launcher, wanted
from covaria.operations.slurm import INTERRUPTED, Resources, Slurm, SlurmRefused, script_of

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def jobs(cluster: Path) -> list[dict[str, Any]]:
    book = cluster / "jobs.json"
    return json.loads(book.read_text()) if book.exists() else []


def launcher(messages: int, **changes: Any) -> Launcher:
    topology = build_topology((1.0,), pools=("density.large",))
    broker = MemoryBroker(time.monotonic)
    broker.declare(topology)
    bus = MemoryBus(broker, time.sleep)
    bus.open()
    for number in range(messages):
        bus.publish(Outgoing(JOBS, "density.bulk", b"{}", str(number), {}))
    values: dict[str, Any] = {"resources": Resources(), "most": 4, **changes}
    return Launcher(bus, "density", CLASSES, **values)


@pytest.mark.parametrize(
    ("ready", "waiting", "running", "most", "each", "added"),
    [(0, 0, 0, 4, 1, 0), (3, 0, 0, 4, 1, 3), (3, 2, 0, 4, 1, 1), (9, 1, 2, 4, 1, 1), (9, 0, 4, 4, 1, 0),
     (9, 0, 0, 8, 4, 3), (1, 3, 0, 4, 1, 0)],
)  # fmt: skip
def test_as_many_jobs_as_messages_need(
    ready: int, waiting: int, running: int, most: int, each: int, added: int
) -> None:
    assert wanted(ready, waiting, running, most, each) == added


def test_a_job_for_each_message_that_nobody_holds(cluster: Path, tmp_path: Path) -> None:
    (cluster / "full").touch()
    (tmp_path / "covaria.sif").touch()
    resources = Resources(
        "main", 2, 8, 64, "0-12:00:00", None, tmp_path / "covaria.sif", (Path("/data"),), ("--qos=a",)
    )
    found = launcher(3, resources=resources)
    assert found.step() == ["1", "2", "3"]
    assert found.step() == [], "those that wait will take them"
    options = jobs(cluster)[0]["options"]
    for option in (
        "--partition=main",
        "--gpus-per-node=2",
        "--mem=64G",
        "--time=0-12:00:00",
        "--no-requeue",
        "--qos=a",
    ):
        assert option in options
    script = (cluster / "1.sh").read_text()
    assert f"apptainer exec --nv --bind /data {tmp_path}/covaria.sif covaria worker density --class both" in script


def test_a_pool_has_queues_and_jobs_of_its_own(cluster: Path) -> None:
    found = launcher(2, pool="large")
    assert found.step() == [], "what waits in the common queues is none of its own"
    found.bus.publish(Outgoing(JOBS, "density.bulk.large", b"{}", "3", {}))
    assert len(found.step()) == 1
    assert jobs(cluster)[0]["name"] == "covaria-density-live-bulk-large"


def test_what_slurm_refuses_is_said_with_the_remedy(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlurmRefused, match=r"(?s)invalid partition.*sinfo"):
        launcher(1, resources=Resources("nowhere")).step()
    stuck = launcher(1, resources=Resources(time="99-0"))
    stuck.step()
    with pytest.raises(SlurmRefused, match="1 not started: PartitionTimeLimit"):
        stuck.step()
    assert len(jobs(cluster)) == 1, "no more of what will not start"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SlurmRefused, match="squeue is not there"):
        launcher(1).step()


def test_a_fault_is_said_once_and_the_next_look_goes_on(
    cluster: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    found, path = launcher(1), os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nowhere")
    for _ in range(3):
        found.patient_step()
    assert len(caplog.records) == 1
    monkeypatch.setenv("PATH", path)
    found.patient_step()
    assert len(jobs(cluster)) == 1


def become(cluster: Path, state: str) -> None:
    book = [job | {"state": state} for job in jobs(cluster)]
    (cluster / "jobs.json").write_text(json.dumps(book))


@pytest.mark.parametrize(
    ("state", "told"),
    [("NODE_FAIL", "lost its node (n1 down*)"), ("PREEMPTED", "was preempted"), ("TIMEOUT", "more with --time"),
     ("OUT_OF_MEMORY", "more with --mem-gb"), ("FAILED", "read its log"), ("PENDING", "waits until 2030")],
)  # fmt: skip
def test_what_becomes_of_a_job_is_told_at_the_next_look(
    cluster: Path, caplog: pytest.LogCaptureFixture, state: str, told: str
) -> None:
    caplog.set_level(logging.WARNING)
    found = launcher(1)
    found.step()
    found.step()
    assert not caplog.records
    found.bus.get("covaria.density.bulk")  # by the job's worker
    if state == "NODE_FAIL":
        (cluster / "n1").write_text("down*")
    become(cluster, state)
    for _ in range(2):
        found.step()
    assert [record.getMessage().startswith("Slurm job 1 ") for record in caplog.records] == [True]
    assert told in caplog.records[0].getMessage()


def test_a_node_that_does_not_answer_is_told_before_slurm_gives_it_up(
    cluster: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    found = launcher(1)
    found.step()
    (cluster / "n1").write_text("allocated*")
    for _ in range(3):
        found.step()
    (record,) = caplog.records
    assert record.getMessage().startswith("n1 allocated*: no answer") and "SlurmdTimeout" in record.getMessage()


def test_one_run_is_followed_to_its_end(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    states = iter(["PENDING", "RUNNING", "PENDING", "RUNNING", "COMPLETED"])
    clock = SimpleNamespace(sleep=lambda seconds: become(cluster, next(states)))
    monkeypatch.setattr("covaria.cli.services.slurm.time", clock)
    words = ["sbatch", "--follow", "density", "out", "--density-dim", "2"]
    done = CliRunner().invoke(covaria.cli.application(), words)
    assert done.exit_code == 0, done.output
    assert "Slurm job 1 was taken off n1 mixed" in done.output and "Slurm job 1 is done" in done.output


def test_jobs_that_end_at_once_are_not_queued_for_ever(cluster: Path) -> None:
    found, refused = launcher(2), []
    for _ in range(30):
        try:
            found.step()
        except SlurmRefused as error:
            refused.append(str(error))
        become(cluster, "FAILED")
    assert "without taking a message" in refused[0]
    assert 6 <= len(jobs(cluster)) <= 10, "three times two, and now and then a trial"


def test_an_image_of_another_version_is_told_here_and_on_the_node(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "covaria.sif").touch()
    apptainer = cluster / "apptainer"
    apptainer.write_text("#!/bin/sh\necho covaria 0.0.9\n")
    apptainer.chmod(0o755)
    resources = Resources(image=tmp_path / "covaria.sif")
    with pytest.raises(InvalidInput, match=r"(?s)covaria.sif.*holds 'covaria 0.0.9', this is covaria.*build the image"):
        Slurm().submit("a", ["covaria", "run"], resources)
    assert not jobs(cluster)
    script = script_of(["covaria", "run"], resources)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "holds 'covaria 0.0.9', the job is of covaria" in done.stderr
    apptainer.write_text(f'#!/bin/sh\n[ "$4" = --version ] && echo covaria {__version__} || echo computed\n')
    Slurm().submit("a", ["covaria", "run"], resources)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "computed\n")


@pytest.mark.parametrize(
    "wrong", [{"options": ("-p",)}, {"options": ("--x y",)}, {"time": "soon"}, {"image": Path("/no.sif")}]
)
def test_resources_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Resources(**wrong)


def test_a_run_is_looked_through_before_it_is_queued(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = covaria.cli.application()
    refused = CliRunner().invoke(app, ["sbatch", "run", "nothing.star", "-o", "out"])
    assert isinstance(refused.exception, InvalidInput) and "nothing.star" in str(refused.exception)
    other = CliRunner().invoke(app, ["sbatch", "cancel", "out"])
    assert isinstance(other.exception, InvalidInput)
    assert not jobs(cluster)
    queued = CliRunner().invoke(app, ["sbatch", "--time", "99-0", "density", "out", "--density-dim", "2"])
    assert queued.exit_code == 0 and "Slurm job 1" in queued.output
    assert "not started: PartitionTimeLimit" in queued.output
    assert "covaria density out --density-dim 2 &" in (cluster / "1.sh").read_text()


def test_a_job_that_is_asked_to_stop_queues_itself_again(cluster: Path, tmp_path: Path) -> None:
    (cluster / "run").touch()
    program = f"trap 'exit {INTERRUPTED}' TERM; touch begun; while :; do sleep 0.05; done"
    (tmp_path / "script.sh").write_text(script_of(["sh", "-c", program], Resources()).replace("sleep 60", "true"))
    process = subprocess.Popen(["sh", "script.sh"], cwd=tmp_path, env=os.environ | {"SLURM_JOB_ID": "7"})
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.02)
    while process.poll() is None:  # dash can miss a signal that comes as it begins to wait
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert process.returncode == INTERRUPTED
    assert (cluster / "requeued").read_text() == "requeue 7"
    assert subprocess.run(["sh", "-c", script_of(["sh", "-c", "exit 3"], Resources())], check=False).returncode == 3


def test_slurm_counts_by_name(cluster: Path) -> None:
    slurm = Slurm()
    slurm.submit("a", ["true"], Resources())
    (cluster / "full").touch()
    slurm.submit("a", ["true"], Resources())
    slurm.submit("b", ["true"], Resources())
    found = slurm.jobs("a")
    assert (found.waiting, found.running, dict(found.stuck)) == (1, 1, {})


def test_the_analysis_image_holds_what_every_stage_needs() -> None:
    def names(*files: str) -> set[str]:
        lines = [
            line for file in files for line in (REPOSITORY / f"docker/requirements/{file}.txt").read_text().splitlines()
        ]
        return {line.partition("==")[0] for line in lines if "==" in line}

    held = names("common", "torch", "reconstruction", "analysis")
    assert names("ingest", "density") <= held
    assert "covaria-analysis" in (REPOSITORY / "deploy/apptainer/covaria.def").read_text()
